"""Candles and observations from files on this machine."""
