"""A provider and a layer for Weft."""
