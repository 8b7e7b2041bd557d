"""A transformer that forecasts the next candles from a window of candles."""
