"""Data providers, one module or folder for each vendor."""
