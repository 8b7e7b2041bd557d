"""The concepts of the field: instruments, candles, metrics, signals. No input or output."""
