"""H4, H5, H16: slow, hanging, untrusted and redirected connections."""

import asyncio
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import trustme

from tests.core.sources.http.server import aio, client, reply, serving, trusting
from weft.sources.http.errors import (
    InsecureError,
    RefusedError,
    UnavailableError,
)

OK = reply({"a": 1})


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@aio
async def test_a_slow_body_ends_at_the_deadline_without_retry() -> None:
    async with serving(_drip) as server, client(server, deadline_seconds=0.3) as http:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"did not finish in 0\.3 s"):
            await http.get("/x")
        assert time.monotonic() - began < 10
        assert len(server.seen) == 1


async def _silent(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


@aio
async def test_a_silent_server_times_out() -> None:
    async with serving(_silent) as server:
        async with client(server, read_seconds=0.1, attempts=2) as http:
            with pytest.raises(UnavailableError, match=r"silent for 0\.1 s"):
                await http.get("/x")
        assert len(server.seen) == 2


@aio
async def test_a_connection_that_hangs_is_given_up() -> None:
    async with serving(_silent) as server:
        # Nothing answers the handshake.
        url = server.url.replace("http:", "https:")
        async with client(url, connect_seconds=0.1, attempts=1) as http:
            with pytest.raises(UnavailableError, match=r"no connection within 0\.1 s"):
                await http.get("/x")


@aio
async def test_a_closed_port_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    async with client(url, attempts=1) as http:
        with pytest.raises(UnavailableError, match="no connection"):
            await http.get("/x")


@aio
async def test_an_unresolvable_host_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with client("https://vendor.invalid", attempts=1) as http:
        with pytest.raises(UnavailableError, match="host name does not resolve"):
            await http.get("/x")


@pytest.mark.parametrize(
    ("host", "expired", "trusted", "message"),
    [
        ("127.0.0.1", False, True, None),
        ("127.0.0.1", True, True, "expired"),
        ("another.example", False, True, "mismatch"),
        ("127.0.0.1", False, False, "self-signed|unable to get"),
    ],
)
def test_an_untrusted_certificate_is_refused(
    host: str, expired: bool, trusted: bool, message: str | None
) -> None:
    ca = trustme.CA()
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, not_after=until).configure_cert(context)

    @aio
    async def check() -> None:
        async with (
            serving(OK, tls=context) as server,
            client(server, tls=trusting(ca if trusted else None)) as http,
        ):
            if message is None:
                assert (await http.get("/x")).json == {"a": 1}
                return
            with pytest.raises(InsecureError, match=message):
                await http.get("/x")
            assert http.status().retries == 0

    check()


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/",
        "https://vendor.example/x",
        "//vendor.example/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://[::1",
    ],
)
def test_a_redirect_elsewhere_is_refused(to: str) -> None:
    @aio
    async def check() -> None:
        async with serving(reply({}, 302, location=to)) as server, client(server) as http:
            with pytest.raises((RefusedError, UnavailableError)):
                await http.get("/x")
            assert {seen.target for seen in server.seen} == {"/x"}

    check()


@aio
async def test_a_redirect_from_https_to_http_is_refused() -> None:
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    async with serving(OK) as plain, serving(b"", tls=context) as server:
        for place in (plain.url, server.url.replace("https:", "http:")):
            server.then(reply({}, 301, location=f"{place}/y"))
            async with client(server, tls=trusting(ca)) as http:
                with pytest.raises(RefusedError, match=r"did not follow"):
                    await http.get("/x")
        assert not plain.seen


@aio
async def test_redirects_within_the_host_are_followed_up_to_three() -> None:
    on = reply({}, 301, location="/y?b=2")
    async with serving(on, on, on, OK) as server, client(server) as http:
        assert (await http.get("/x", params={"a": 1})).json == {"a": 1}
        assert [seen.target for seen in server.seen] == ["/x?a=1", "/y?b=2", "/y?b=2", "/y?b=2"]
    async with serving(on) as server, client(server) as http:
        with pytest.raises(RefusedError, match="more than 3 times"):
            await http.get("/x")


@aio
async def test_a_post_follows_only_redirects_that_keep_its_body() -> None:
    async with serving(reply({}, 307, location="/y"), OK) as server, client(server) as http:
        await http.post("/x", json={"query": "q"})
        assert [seen.body for seen in server.seen] == [b'{"query":"q"}'] * 2
        server.then(reply({}, 302, location="/y"))
        with pytest.raises(RefusedError, match="would drop its body"):
            await http.post("/x", json={})


@aio
async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    async with serving(OK) as server, client(server, tls=None) as http:
        assert (await http.get("/x")).json == {"a": 1}
