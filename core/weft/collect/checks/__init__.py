"""The checks that all candles and observations pass before they are stored."""
