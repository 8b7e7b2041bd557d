"""Measurements against peers, side by side in one run, with equality checked in that run."""
