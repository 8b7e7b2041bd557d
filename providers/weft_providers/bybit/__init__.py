"""Bybit: candles and derivatives."""
