"""A transformer over windows of candles."""
