"""H5: connections that hang, and hosts that TLS does not vouch for, as an engine meets them."""

import http.server
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import certifi
import pytest
import trustme

from tests.faults.http.world import Desk
from tests.support import PATIENCE_SECONDS
from weft.sources.http import connection

Open: TypeAlias = Callable[..., Desk]


@pytest.fixture(autouse=True)
def _authorities_read_anew() -> Iterator[None]:
    """Whom to trust is read once in a process; here it differs from test to test."""
    connection._public_authorities.cache_clear()
    yield
    connection._public_authorities.cache_clear()


@contextmanager
def full_house() -> Iterator[int]:
    """A port at which no connection comes about: its queue is full, and nobody takes from it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        try:
            yield listening.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


@contextmanager
def serving_tls(host: str, ca: trustme.CA, *, expired: bool = False) -> Iterator[str]:
    """A server that answers everything with an empty list, under a certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    ca.issue_cert(host, not_after=until).configure_cert(context)
    server = _Server(("127.0.0.1", 0), _Empty)
    # Whoever does not shake hands must not keep the others waiting.
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: handshakes fail here on purpose."""


class _Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's own name
        """Say nothing."""


def at(desk: Open, url: str, **web: float) -> Desk:
    """Collect once from Binance at another address."""
    there = f"providers.binance.base_url={url}"
    one = desk("binance", overrides=(there,), attempts=1, **web)
    one.collect()
    return one


def test_h5_a_connection_that_hangs_is_given_up(desk: Open) -> None:
    with full_house() as port:
        began = monotonic()
        one = at(desk, f"http://127.0.0.1:{port}", connect_seconds=0.2)
    assert monotonic() - began < PATIENCE_SECONDS
    assert "no connection within 0.2 s" in one.troubles()["binance"]
    assert one.rows() == set()


def test_h5_nobody_at_the_port_is_told(desk: Open) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one = at(desk, f"http://127.0.0.1:{port}")
    assert "no connection" in one.troubles()["binance"]
    assert one.rows() == set()


@pytest.mark.parametrize(
    ("host", "expired", "trusted", "told"),
    [
        ("127.0.0.1", False, True, None),
        ("127.0.0.1", True, True, "TLS: certificate has expired"),
        ("another.example", False, True, "TLS: IP address mismatch"),
        ("127.0.0.1", False, False, "TLS: self-signed certificate|TLS: unable to get"),
    ],
)
def test_h5_a_host_that_tls_does_not_vouch_for_is_asked_for_nothing(
    desk: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    expired: bool,
    trusted: bool,
    told: str | None,
) -> None:
    ca = trustme.CA()
    if trusted:
        authorities = tmp_path / "authorities.pem"
        ca.cert_pem.write_to_path(str(authorities))
        monkeypatch.setattr(certifi, "where", lambda: str(authorities))
    with serving_tls(host, ca, expired=expired) as url:
        one = at(desk, url)
    troubles = one.troubles()["binance"]
    assert ("TLS" in troubles) is (told is not None)
    assert told is None or re.search(told, troubles)
    assert one.rows() == set()
