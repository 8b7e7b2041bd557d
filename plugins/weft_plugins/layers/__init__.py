"""Layers: each scores every symbol from -100 to +100."""
