"""Santiment: social, development and on-chain metrics."""
