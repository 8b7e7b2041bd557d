"""Features: indicators as one step on a small state."""
