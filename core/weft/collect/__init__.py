"""Collect: ask providers for data, check the rows, and store them."""
