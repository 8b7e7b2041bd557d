"""The sentiment layer."""
