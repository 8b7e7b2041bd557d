"""Market regimes by a hidden Markov model."""
