"""News from RSS and Atom feeds."""
