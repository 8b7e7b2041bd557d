"""Bans, refused keys and refused series are kept from process to process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr

from tests.core.sources.http.server import NOW, Server, aio, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND
from weft.sources.http.api import Api, HeaderKey
from weft.sources.http.cache import ResponseCache
from weft.sources.http.client import Http
from weft.sources.http.errors import BannedError, RateLimitedError, UnauthorisedError
from weft.sources.http.standing import Note, StandingNotes

OK = reply({"a": 1})


def until_of(body: Any, _: Any, now: int) -> float | None:
    """Return the seconds up to the end that a body names in milliseconds."""
    return float(body["until"] / 1e3 - now / SECOND)


@asynccontextmanager
async def process(
    server: Server, folder: Path, at: int, key: str = "one", *, ask_anew: bool = False
) -> AsyncIterator[Http]:
    """A client as a process of its own would have it."""
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
    told = reply({"until": (NOW + 2 * HOUR) // 1_000}, 418)
    async with serving(told, OK) as server:
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
        # Whoever checks a source asks it in any case.
        async with process(server, tmp_path, NOW + MINUTE, ask_anew=True) as http:
            await http.get("/x")
        assert len(server.seen) == 3


@aio
async def test_a_long_pause_is_kept_to_by_the_next_process(tmp_path: Path) -> None:
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
async def test_kept_answers_are_passed_over_where_a_source_is_to_be_asked(tmp_path: Path) -> None:
    async with serving(OK, reply({"a": 2})) as server:
        for ask_anew, value in ((False, 1), (False, 1), (True, 2), (False, 2)):
            async with process(server, tmp_path, NOW, ask_anew=ask_anew) as http:
                assert (await http.get("/x", ttl=60)).json == {"a": value}
        assert len(server.seen) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": 1}', b'{"a": ["x", "y"]}', b"\xff"])
def test_a_broken_file_is_no_note(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vendor.json"
    path.write_bytes(content)
    notes = StandingNotes(path, SimulatedClock(NOW))
    assert notes.texts == ()
    notes.put("a", Note(NOW + HOUR, "no"))
    assert StandingNotes(path, SimulatedClock(NOW)).get("a") == Note(NOW + HOUR, "no")


def test_a_note_ends_and_one_from_a_wrong_clock_never_began(tmp_path: Path) -> None:
    path, clock = tmp_path / "vendor.json", SimulatedClock(NOW)
    notes = StandingNotes(path, clock)
    notes.put("hour", Note(NOW + HOUR, "an hour"))
    notes.put("years", Note(NOW + 999 * DAY, "years"))
    assert notes.texts == ("an hour",)
    clock.advance_to(NOW + HOUR)
    assert notes.get("hour") is None


def test_notes_that_cannot_be_written_are_kept_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    notes = StandingNotes(tmp_path / "file" / "vendor.json", SimulatedClock(NOW))
    notes.put("a", Note(NOW + HOUR, "no"))
    notes.put("b", Note(NOW + HOUR, "no"))
    assert notes.get("a") is not None
    assert len(caplog.records) == 1
