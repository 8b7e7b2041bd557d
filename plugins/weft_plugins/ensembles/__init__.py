"""Ensembles: fuse what the layers say."""
