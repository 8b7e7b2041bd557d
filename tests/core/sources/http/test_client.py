"""The client as a provider uses it: responses, ages, shared limits and status."""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.core.sources.http.server import NOW, aio, client, reply, serving
from weft.foundation.clock import SimulatedClock, SystemClock
from weft.foundation.times import SECOND
from weft.sources import http as package
from weft.sources.http.api import Api, Headers, RateLimit
from weft.sources.http.cache import ResponseCache
from weft.sources.http.errors import (
    MalformedError,
    RateLimitedError,
    SchemaChangedError,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.http.status import SourceState

OK = reply({"a": 1})


@aio
async def test_a_response_is_cached_for_its_ttl_then_revalidated(tmp_path: Path) -> None:
    clock = SimulatedClock(NOW)
    first = reply({"a": 1}, etag='"v1"', last_modified="Mon, 01 Sep 2025 00:00:00 GMT")
    async with (
        ResponseCache(tmp_path) as cache,
        serving(first, reply(raw=b"", status=304)) as server,
        client(server, clock, cache=cache) as http,
    ):
        for _ in range(3):
            answer = await http.get("/x", params={"b": 2, "a": 1}, ttl=60)
            assert (answer.json, answer.stale, answer.not_modified) == ({"a": 1}, False, False)
        assert len(server.seen) == 1
        assert (await http.get("/x", params={"a": 1, "b": 2}, ttl=60)).fetched_at == NOW
        clock.advance_to(NOW + 60 * SECOND)
        answer = await http.get("/x", params={"a": 1, "b": 2}, ttl=60)
        assert (answer.json, answer.not_modified, answer.stale) == ({"a": 1}, True, False)
        assert (answer.fetched_at, answer.unchanged_since) == (NOW + 60 * SECOND, NOW)
        assert server.seen[1].headers["if-none-match"] == '"v1"'
        assert server.seen[1].headers["if-modified-since"].startswith("Mon, 01 Sep")
        assert (await http.get("/x", params={"a": 1, "b": 2}, ttl=60)).age_seconds == 0
        status = http.status()
        assert (len(server.seen), status.cache_hits, status.requests) == (2, 4, 6)


@aio
async def test_different_requests_have_different_cache_entries(tmp_path: Path) -> None:
    async with (
        ResponseCache(tmp_path) as cache,
        serving(*(reply({"n": n}) for n in range(6))) as server,
        client(server, cache=cache) as http,
        client(server.url + "/other", cache=cache) as other,
    ):
        for _ in range(2):
            answers = [
                await http.get("/x", ttl=60),
                await http.get("/x", params={"a": 1}, ttl=60),
                await http.get("/x", headers={"range": "1"}, ttl=60),
                await http.post("/x", json={"q": 1}, ttl=60),
                await http.post("/x", json={"q": 2}, ttl=60),
                await other.get("/x", ttl=60),
            ]
            assert [answer.json["n"] for answer in answers] == list(range(6))


def _codes(status: int, body: Any, headers: Headers) -> type[SourceError] | None:
    if "errors" in body:
        return {"limit": RateLimitedError}.get(body["errors"][0]["code"], UnlistedSymbolError)
    return UnlistedSymbolError if status == 400 and body["code"] == -1121 else None


@aio
async def test_a_feed_is_returned_as_text_and_bytes() -> None:
    feed = "<rss>ü</rss>"
    latin = reply(raw=feed.encode("latin-1"), kind="text/xml; charset=ISO-8859-1")
    odd = reply(raw=b"\xef\xbb\xbfa,b\n1,\xff", kind="text/csv; charset=klingon")
    async with serving(latin, odd) as server, client(server, classify=_codes) as http:
        answer = await http.get("/feed", form="bytes")
        assert (answer.text, answer.json) == (feed, None)
        assert (await http.get("/csv", form="bytes")).text == "a,b\n1,\ufffd"


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (reply({"code": -1121, "msg": "Invalid symbol."}, 400), UnlistedSymbolError),
        (reply({"errors": [{"code": "gone"}]}), UnlistedSymbolError),
        (reply({"errors": [{"code": "limit"}]}, retry_after="900"), RateLimitedError),
        (reply({"errors": []}), SchemaChangedError),
        (reply({"errors": None}), SchemaChangedError),
        (reply(raw=b"<html>"), MalformedError),
        (reply(raw=b"<html>", status=400), SourceError),
    ],
)
def test_the_classifier_maps_error_codes_of_the_api(step: bytes, kind: type[SourceError]) -> None:
    @aio
    async def check() -> None:
        async with serving(step) as server, client(server, classify=_codes) as http:
            with pytest.raises(kind):
                await http.get("/x")
            assert len(server.seen) == 1

    check()


@aio
async def test_rate_limits_are_shared_and_follow_the_server() -> None:
    clock = SimulatedClock(NOW)
    weight = RateLimit(100, 60, name="weight", used="X-MBX-USED-WEIGHT-1M")
    calls = RateLimit(10, 1, name="calls", per_request=True)
    step = reply({}, X_MBX_USED_WEIGHT_1M="80")
    async with serving(step) as server, client(server, clock, limits=(weight, calls)) as http:
        await http.get("/x", cost=5)
        assert http.status().left == {"weight": 20, "calls": 9}
        await asyncio.gather(*(http.get("/x", cost=5) for _ in range(4)))
        assert clock.now() == NOW
        assert http.status().left == {"weight": 0, "calls": 5}
        await http.get("/x", cost=5)
        assert clock.now() == NOW + 60 * SECOND


@aio
async def test_concurrent_requests_are_limited() -> None:
    now = most = 0

    async def slow(writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        writer.write(reply({}, connection="close"))

    async with serving(slow) as server, client(server, concurrent=3) as http:
        await asyncio.gather(*(http.get("/x") for _ in range(12)))
    assert most == 3


@aio
async def test_status_reports_state_counts_and_limits() -> None:
    async with serving(OK, reply({"code": -1121}, 400), reply({}, 404), OK) as server:
        async with client(server, classify=_codes) as http:
            status = http.status()
            assert (status.state, status.last_success) == (SourceState.IDLE, None)
            await http.get("/x")
            status = http.status()
            assert (status.state, status.last_success) == (SourceState.OK, NOW)
            assert status.latency_seconds == 0
            with pytest.raises(UnlistedSymbolError):
                await http.get("/x")
            status = http.status()
            assert status.state is SourceState.OK
            assert status.last_error is not None
            assert status.last_error.startswith(
                "UnlistedSymbolError: vendor: GET /x answered HTTP 400"
            )
        http.note(SchemaChangedError("another form", where="vendor"))
        status = http.status()
        assert status.state is SourceState.DEGRADED
        assert str(status.last_error).startswith("SchemaChangedError: vendor: another form")
        assert repr(http) == f"Http('vendor', '{server.url}')"


@aio
async def test_a_cancelled_request_frees_its_turn() -> None:
    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serving(silent) as server, client(server, concurrent=1) as http:
        asking = asyncio.create_task(http.get("/x"))
        while not server.seen:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.001)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.then(OK)
        assert (await http.get("/x")).json == {"a": 1}


@aio
async def test_the_client_works_with_the_system_clock() -> None:
    clock = SystemClock()
    limits = (RateLimit(2, 0.2),)
    async with serving(OK) as server, client(server, clock, limits=limits) as http:
        began = clock.now()
        await asyncio.gather(*(http.get("/x") for _ in range(5)))
        assert clock.now() - began >= 0.4 * SECOND
        server.then(reply({}, 429, retry_after="0.1"), OK)
        await http.get("/x")
        latency = http.status().latency_seconds
        assert latency is not None
        assert latency > 0


def test_declaring_an_api_imports_no_http_library() -> None:
    script = (
        "import sys\nfrom weft.sources.http import Api, HeaderKey, UnavailableError, SourceStatus\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"httpx", "diskcache", "tenacity", "orjson", "polars", "numpy"})


def test_every_name_in_the_stub_can_be_imported() -> None:
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = importlib.import_module("weft.sources.http").no_such_name


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"deadline_seconds": -1}])
def test_an_invalid_api_declaration_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Api(base_url="", **wrong)
    with pytest.raises(ValueError, match="positive"):
        RateLimit(0, 1)
    with pytest.raises(ValueError, match="share a name"):
        Api(base_url="", limits=(RateLimit(1, 1), RateLimit(1, 1)))
