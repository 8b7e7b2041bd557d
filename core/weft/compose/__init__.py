"""Composing: turns a view into signals, without I/O."""
