"""What knows nothing of markets: errors, times, clocks, arrays, and calls of plugin code."""
