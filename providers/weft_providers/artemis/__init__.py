"""Artemis: fundamentals of chains and protocols."""
