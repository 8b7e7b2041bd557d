"""Boosted trees that say whether a price will fall, stay or rise."""
