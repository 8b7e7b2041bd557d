"""Texts: which assets they are about, read in one way for sources and for layers."""
