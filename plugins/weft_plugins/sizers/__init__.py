"""Sizers: the fraction of equity to hold in each signal."""
