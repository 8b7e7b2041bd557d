"""Binance: spot and USDT-M futures."""
