"""Levels and losses by simulated prices."""
