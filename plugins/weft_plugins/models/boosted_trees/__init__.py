"""Boosted trees that forecast whether a price falls, stays or rises."""
