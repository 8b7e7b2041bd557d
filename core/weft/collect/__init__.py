"""Collecting: asks providers, checks what they bring, and stores it."""
