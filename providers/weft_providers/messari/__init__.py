"""Messari: unlocks, supply and fundamentals."""
