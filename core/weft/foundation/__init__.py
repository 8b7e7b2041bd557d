"""The foundation, without any notion of markets: errors, times, clocks, arrays, plugin calls."""
