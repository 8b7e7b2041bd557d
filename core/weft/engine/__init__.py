"""The engine: one composition over one store, and reports on its parts."""
