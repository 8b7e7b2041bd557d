"""The engine: one composition over one store, and what reports on it."""
