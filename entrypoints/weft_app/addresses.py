"""Where Weft listens: which addresses are its own machine's, and which are free."""

import socket
from ipaddress import ip_address


def try_to_listen(host: str, port: int) -> None:
    """Return where an address can be listened on.

    Raises:
        OSError: it cannot; with ``errno.EADDRINUSE`` somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def shown(host: str) -> str:
    """Return a host as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
