"""Risk models: levels, and what can be lost."""
