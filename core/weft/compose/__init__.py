"""Composing: from a view to signals. Pure."""
