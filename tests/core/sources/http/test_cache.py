"""Answers, bans and refusals on disk."""

import asyncio
import contextlib
import os
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import diskcache  # type: ignore[import-untyped]  # it publishes no types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.core.sources.http.server import NOW, Server, aio, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND
from weft.sources.http.api import Api, HeaderKey
from weft.sources.http.cache import (
    CachedResponse,
    Note,
    ResponseCache,
    StandingNotes,
    _pack,
    _unpack,
)
from weft.sources.http.client import Http
from weft.sources.http.errors import BannedError, RateLimitedError, UnauthorisedError

LARGE = os.urandom(200_000)


def cached_response(body: bytes = b'{"a": 1}') -> CachedResponse:
    return CachedResponse(NOW, NOW - 5, 1.5, {"etag": '"x"'}, body)


@pytest.mark.parametrize("body", [b"", b"small\nwith lines\n", LARGE])
def test_a_cached_response_is_readable_by_another_process(tmp_path: Path, body: bytes) -> None:
    @aio
    async def check() -> None:
        async with ResponseCache(tmp_path) as first, ResponseCache(tmp_path) as other:
            await first.put("k", cached_response(body))
            assert await other.get("k") == cached_response(body)
            assert await other.get("another") is None

    check()
    script = (
        "import asyncio, sys, pathlib\nfrom weft.sources.http.cache import ResponseCache\n"
        "async def main():\n"
        "    async with ResponseCache(pathlib.Path(sys.argv[1])) as c:\n"
        "        print(len((await c.get('k')).body))\n"
        "asyncio.run(main())"
    )
    if body is LARGE:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == str(len(body))


@given(data=st.data())
def test_a_changed_cache_record_is_refused(data: st.DataObject) -> None:
    record = _pack("k", cached_response())
    assert _unpack("k", record) == cached_response()
    at = data.draw(st.integers(0, len(record) - 1))
    changed = data.draw(
        st.sampled_from([record[:at], record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]])
    )
    with pytest.raises(ValueError, match=r"incomplete|unexpected|zero"):
        _unpack("k", changed)
    with pytest.raises(ValueError, match="another"):
        _unpack("other", record)


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, ("unpickled",)


@aio
async def test_a_pickle_in_the_folder_is_a_miss_and_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache"
    async with ResponseCache(folder) as cache:
        await cache.put("small", cached_response())
        await cache.put("large", cached_response(LARGE))
    with contextlib.closing(diskcache.Cache(str(folder))) as raw:
        raw["small"] = Bomb()
        raw["large"] = [Bomb()] * 10_000
        raw["text"], raw["number"] = "text", 5
    assert pickle.dumps(Bomb())
    async with ResponseCache(folder) as cache:
        for key in ("small", "large", "text", "number"):
            assert await cache.get(key) is None
        await cache.put("small", cached_response())
        assert await cache.get("small") == cached_response()
    assert not (tmp_path / "unpickled").exists()


def _cut_values(folder: Path) -> None:
    for file in folder.rglob("*.val"):
        file.write_bytes(file.read_bytes()[:1000])


def _remove_values(folder: Path) -> None:
    for file in folder.rglob("*.val"):
        file.unlink()


def _point_elsewhere(folder: Path) -> None:
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as db, db:
        db.execute("UPDATE Cache SET filename = '/etc/hostname' WHERE filename IS NOT NULL")


def _break_database(folder: Path) -> None:
    for file in folder.glob("cache.db*"):
        file.write_bytes(b"no database " * 1000)


def _make_unusable(folder: Path) -> None:
    _break_database(folder)
    (folder / "cache.db").unlink()
    (folder / "cache.db").mkdir()


@pytest.mark.parametrize(
    "harm", [_cut_values, _remove_values, _point_elsewhere, _break_database, _make_unusable]
)
def test_a_broken_cache_is_a_miss(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    @aio
    async def check() -> None:
        async with ResponseCache(tmp_path) as cache:
            await cache.put("k", cached_response(LARGE))
        harm(tmp_path)
        async with ResponseCache(tmp_path) as cache:
            assert await cache.get("k") is None
            await cache.put("k", cached_response(LARGE))
            await cache.get("k")

    check()


@aio
async def test_a_full_cache_evicts_the_oldest(tmp_path: Path) -> None:
    async with ResponseCache(tmp_path, size_limit_bytes=1 << 20) as cache:
        for number in range(30):
            await cache.put(str(number), cached_response(LARGE))
        assert await cache.get("0") is None
        assert await cache.get("29") == cached_response(LARGE)
    assert len(list(tmp_path.rglob("*.val"))) < 10  # noqa: ASYNC240  # a few files


@aio
async def test_concurrent_cache_access_is_safe(tmp_path: Path) -> None:
    async with ResponseCache(tmp_path) as first, ResponseCache(tmp_path) as other:
        await asyncio.gather(
            *(c.put(str(n % 5), cached_response(LARGE)) for n in range(20) for c in (first, other))
        )
        for n in range(5):
            assert await first.get(str(n)) == await other.get(str(n)) == cached_response(LARGE)


OK = reply({"a": 1})


def until_of(body: Any, _: Any, now: int) -> float | None:
    """Return the seconds until the end that a body states in milliseconds."""
    return float(body["until"] / 1e3 - now / SECOND)


@asynccontextmanager
async def process(
    server: Server, folder: Path, at: int, key: str = "one", *, ask_anew: bool = False
) -> AsyncIterator[Http]:
    """Return a client as a new process would open it."""
    api = Api(base_url=server.url, key=HeaderKey("x-key"), waits=until_of, attempts=1)
    async with (
        ResponseCache(folder, ask_anew=ask_anew) as cache,
        Http(
            api,
            name="vendor",
            clock=SimulatedClock(at),
            rng=Random(1),
            key=SecretStr(key),
            cache=cache,
        ) as http,
    ):
        yield http


@aio
async def test_a_ban_named_in_the_body_is_kept_to_by_the_next_process(tmp_path: Path) -> None:
    message = reply({"until": (NOW + 2 * HOUR) // 1_000}, 418)
    async with serving(message, OK) as server:
        async with process(server, tmp_path, NOW) as http:
            with pytest.raises(BannedError) as caught:
                await http.get("/x")
            assert caught.value.retry_after_seconds == 7_200
        for key, ask_anew in (("one", False), ("another", False), ("one", True)):
            at = NOW + 2 * HOUR - SECOND
            async with process(server, tmp_path, at, key, ask_anew=ask_anew) as http:
                with pytest.raises(BannedError):
                    await http.get("/x")
        assert len(server.seen) == 1
        async with process(server, tmp_path, NOW + 2 * HOUR) as http:
            assert (await http.get("/x")).json == {"a": 1}


@aio
async def test_a_refused_key_is_not_shown_by_the_next_process(tmp_path: Path) -> None:
    async with serving(reply({}, 401), OK, OK) as server:
        async with process(server, tmp_path, NOW) as http:
            with pytest.raises(UnauthorisedError):
                await http.get("/x")
        async with process(server, tmp_path, NOW + 14 * MINUTE) as http:
            with pytest.raises(UnauthorisedError):
                await http.get("/x")
        assert len(server.seen) == 1
        async with process(server, tmp_path, NOW + MINUTE, key="another") as http:
            await http.get("/x")
        # `weft providers check` requests the source in any case.
        async with process(server, tmp_path, NOW + MINUTE, ask_anew=True) as http:
            await http.get("/x")
        assert len(server.seen) == 3


@aio
async def test_the_next_process_observes_a_long_pause(tmp_path: Path) -> None:
    async with serving(reply({}, 429, retry_after="1800"), OK) as server:
        async with process(server, tmp_path, NOW) as http:
            with pytest.raises(RateLimitedError):
                await http.get("/x")
        async with process(server, tmp_path, NOW + 10 * MINUTE) as http:
            with pytest.raises(RateLimitedError, match="1200 s away"):
                await http.get("/x")
        async with process(server, tmp_path, NOW + 30 * MINUTE) as http:
            await http.get("/x")
        assert len(server.seen) == 2


@aio
async def test_the_cache_can_be_ignored(tmp_path: Path) -> None:
    async with serving(OK, reply({"a": 2})) as server:
        for ask_anew, value in ((False, 1), (False, 1), (True, 2), (False, 2)):
            async with process(server, tmp_path, NOW, ask_anew=ask_anew) as http:
                assert (await http.get("/x", ttl=60)).json == {"a": value}
        assert len(server.seen) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": 1}', b'{"a": ["x", "y"]}', b"\xff"])
def test_a_broken_notes_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vendor.json"
    path.write_bytes(content)
    notes = StandingNotes(path, SimulatedClock(NOW))
    assert notes.texts == ()
    notes.put("a", Note(NOW + HOUR, "no"))
    assert StandingNotes(path, SimulatedClock(NOW)).get("a") == Note(NOW + HOUR, "no")


def test_expired_and_implausible_notes_are_ignored(tmp_path: Path) -> None:
    path, clock = tmp_path / "vendor.json", SimulatedClock(NOW)
    notes = StandingNotes(path, clock)
    notes.put("hour", Note(NOW + HOUR, "an hour"))
    notes.put("years", Note(NOW + 999 * DAY, "years"))
    assert notes.texts == ("an hour",)
    clock.advance_to(NOW + HOUR)
    assert notes.get("hour") is None


def test_notes_stay_in_memory_without_a_writable_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    notes = StandingNotes(tmp_path / "file" / "vendor.json", SimulatedClock(NOW))
    notes.put("a", Note(NOW + HOUR, "no"))
    notes.put("b", Note(NOW + HOUR, "no"))
    assert notes.get("a") is not None
    assert len(caplog.records) == 1
