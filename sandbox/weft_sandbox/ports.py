"""Ports of the sandbox."""

SANDBOX_PORT = 8390
"""Port of the sandbox. It is fixed, because Weft stores sandbox data under its address."""

SANDBOX_PORTS = 10
"""Number of ports to try, from the first one, if another program listens there."""
