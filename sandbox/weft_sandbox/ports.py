"""Ports that the sandbox listens on."""

SANDBOX_PORT = 8390
"""Port of the sandbox. It is fixed, because Weft stores sandbox data under its address."""

SANDBOX_PORTS = 10
"""How many ports are tried, from the first on, where another program listens."""
