"""Measurements of Weft and of peers in one run, which also checks that their results agree."""
