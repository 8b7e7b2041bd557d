"""Spot and USDT-M futures from Binance."""
