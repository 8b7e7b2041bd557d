"""Models: trained on history, they forecast returns."""
