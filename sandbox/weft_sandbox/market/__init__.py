"""The simulated market: prices, order books, derivatives, metrics and news, all from a seed."""
