"""What is known about the market at an instant: instruments, candles, metrics, and the view."""
