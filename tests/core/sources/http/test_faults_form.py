"""H6: responses cut off, too large or malformed; and random faults."""

import asyncio
import gzip
import random
from pathlib import Path
from typing import Any

import pytest

from tests.core.sources.http.server import NOW, Step, aio, client, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import SECOND
from weft.sources.http.cache import ResponseCache
from weft.sources.http.errors import (
    CircuitOpenError,
    ForbiddenError,
    MalformedError,
    RateLimitedError,
    UnavailableError,
)

OK = reply({"a": 1})


async def _cut(writer: asyncio.StreamWriter) -> None:
    writer.write(OK[:-3])


async def _cut_chunked(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[1, 2")


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize(
    "act",
    [
        _cut,
        _cut_chunked,
        _hang_up,
        _garbage,
        reply(raw=gzip.compress(b'{"a": 1}')[:-6], content_encoding="gzip"),
    ],
)
def test_a_response_cut_off_is_retried(act: Any) -> None:
    @aio
    async def check() -> None:
        async with serving(act, OK) as server, client(server) as http:
            assert (await http.get("/x")).json == {"a": 1}
            assert len(server.seen) == 2
        async with serving(act) as server, client(server, attempts=2) as http:
            with pytest.raises(UnavailableError, match=r"cut off|ends early"):
                await http.get("/x")

    check()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (reply(raw=b'{"a": 1'), "broken JSON"),
        (reply(raw=b""), "broken JSON"),
        (reply(raw=b'{"a": NaN}'), "broken JSON"),
        (reply(raw=b"1e400"), "broken JSON"),
        (reply(raw=b"[" * 1_000_000), "broken JSON"),
        (reply(raw=b"<html>log in</html>", kind="text/html"), "a page, not data"),
        (reply(raw=b" <!DOCTYPE html>"), "a page, not data"),
        (reply(raw=b"x", content_encoding="br"), "does not accept"),
        (reply(raw=b"x" * 2_000_000), "larger than 1048576 bytes"),
        (reply(raw=gzip.compress(bytes(20 << 20), 1), content_encoding="gzip"), "larger than"),
        (reply(raw=b"", content_length="1000000000"), "larger than"),
        (reply(raw=b"", status=304), "no response is cached"),
    ],
)
def test_a_malformed_response_is_not_retried(step: bytes, message: str) -> None:
    @aio
    async def check() -> None:
        async with (
            serving(step, OK) as server,
            client(server, largest_bytes=1 << 20) as http,
        ):
            with pytest.raises(MalformedError, match=message):
                await http.get("/x")
            assert len(server.seen) == 1
            assert (await http.get("/x")).json == {"a": 1}

    check()


@pytest.mark.parametrize(
    "step",
    [
        reply({"a": 1}, kind="text/html"),
        reply({"a": 1}, kind=""),
        reply(raw=b'\xef\xbb\xbf{"a": 1}'),
        reply(raw=b'{"a": 2, "a": 1}'),
        reply(raw=gzip.compress(b'{"a": 1}'), content_encoding="gzip"),
    ],
)
def test_unusual_valid_responses_are_accepted(step: bytes) -> None:
    @aio
    async def check() -> None:
        async with serving(step) as server, client(server) as http:
            assert (await http.get("/x")).json == {"a": 1}

    check()


@aio
async def test_random_faults_give_a_response_or_a_typed_error(tmp_path: Path) -> None:
    rng = random.Random(3)
    bad: list[Step] = [
        _cut,
        _cut_chunked,
        _hang_up,
        _garbage,
        reply({}, 500),
        reply({}, 429),
        reply({}, 403),
    ]
    clock = SimulatedClock(NOW)
    async with (
        ResponseCache(tmp_path) as cache,
        serving(OK) as server,
        client(server, clock, cache=cache) as http,
    ):
        for _ in range(60):
            server.then(rng.choice(bad), rng.choice([OK, *bad]), OK)
            try:
                assert (await http.get("/x", ttl=rng.choice([0, None]))).json == {"a": 1}
            except (UnavailableError, RateLimitedError, ForbiddenError, CircuitOpenError):
                clock.advance_to(clock.now() + 10 * SECOND)
        status = http.status()
        assert status.requests == 60
        assert status.last_success is not None
