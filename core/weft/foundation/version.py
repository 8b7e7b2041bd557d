"""The version of Weft, and of the contracts that plugins are written for."""

__version__ = "0.1.0"

API_VERSION = (1, 0)
"""Version of the plugin contracts: (breaking, additive)."""
