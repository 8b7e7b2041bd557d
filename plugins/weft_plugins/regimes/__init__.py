"""Regime detectors: where the market stands, told from the past alone."""
