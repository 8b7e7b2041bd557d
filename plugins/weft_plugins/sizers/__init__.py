"""Sizers: how much of a signal to hold."""
