"""Regime detectors: the state of the market, inferred from the past only."""
