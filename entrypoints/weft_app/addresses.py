"""Addresses to listen on: whether one is free, and whether other machines can reach it."""

import socket
from ipaddress import ip_address


def try_to_listen(host: str, port: int) -> None:
    """Check that an address is free to listen on.

    Raises:
        OSError: it is not; `errno.EADDRINUSE` means that another program listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def url_host(host: str) -> str:
    """Return a host as written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
