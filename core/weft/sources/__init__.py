"""Asking the world outside: HTTP, streams, and the bases of providers."""
