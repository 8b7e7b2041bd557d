"""H13, H17: ages of responses under wrong clocks and caches."""

from pathlib import Path

import pytest

from tests.core.sources.http.server import NOW, aio, client, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, MINUTE, SECOND
from weft.sources.http.cache import ResponseCache
from weft.sources.http.errors import (
    SourceError,
    UnavailableError,
)
from weft.sources.http.status import SourceState

OK = reply({"a": 1})


@aio
async def test_a_stale_response_replaces_an_error_for_a_limited_time(tmp_path: Path) -> None:
    clock = SimulatedClock(NOW)
    async with (
        ResponseCache(tmp_path) as cache,
        serving(OK) as server,
        client(server, clock, cache=cache, stale_seconds=3_600, attempts=1) as http,
    ):
        await http.get("/x", ttl=60)
        server.then(reply({}, 503))
        clock.advance_to(NOW + 100 * SECOND)
        answer = await http.get("/x", ttl=60)
        assert (answer.json, answer.stale, answer.age_seconds) == ({"a": 1}, True, 100)
        assert answer.fetched_at == NOW
        status = http.status()
        assert (status.stale, status.state) == (1, SourceState.DEGRADED)
        clock.advance_to(NOW + 3_661 * SECOND)
        with pytest.raises(UnavailableError):
            await http.get("/x", ttl=60)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_permanent_error_is_never_replaced_by_a_cached_response(
    tmp_path: Path, status: int
) -> None:
    @aio
    async def check() -> None:
        clock = SimulatedClock(NOW)
        async with (
            ResponseCache(tmp_path) as cache,
            serving(OK, reply({}, status)) as server,
            client(server, clock, cache=cache) as http,
        ):
            await http.get("/x", ttl=60)
            clock.advance_to(NOW + 100 * SECOND)
            with pytest.raises(SourceError):
                await http.get("/x", ttl=60)

    check()


@aio
async def test_a_cache_on_the_way_that_holds_on_is_seen_through(tmp_path: Path) -> None:
    async with (
        ResponseCache(tmp_path) as cache,
        serving(reply({}, age="5000")) as server,
        client(server, cache=cache) as http,
    ):
        for _ in range(2):
            answer = await http.get("/x", ttl=60)
            assert (answer.stale, answer.age_seconds) == (True, 5_000)
        assert len(server.seen) == 2


@pytest.mark.parametrize(("age", "stale"), [("3", False), ("60", False), ("61", True)])
def test_without_a_ttl_the_present_is_asked_for(age: str, stale: bool) -> None:
    @aio
    async def check() -> None:
        async with serving(reply({}, age=age)) as server, client(server) as http:
            answer = await http.get("/x")
            assert (answer.stale, http.status().stale) == (stale, int(stale))
            assert answer.fetched_at - answer.given_at == int(age) * SECOND

    check()


@aio
async def test_an_answer_is_as_old_as_caches_on_the_way_made_it(tmp_path: Path) -> None:
    clock = SimulatedClock(NOW)
    async with (
        ResponseCache(tmp_path) as cache,
        serving(reply({}, age="30")) as server,
        client(server, clock, cache=cache) as http,
    ):
        for later in (0, 20):
            clock.advance_to(NOW + later * SECOND)
            answer = await http.get("/x", ttl=60)
            # The content was true when the source sent it, however long it was cached.
            assert (answer.fetched_at, answer.given_at) == (NOW, NOW - 30 * SECOND)
        assert len(server.seen) == 1


@aio
async def test_an_implausible_age_gives_a_valid_instant() -> None:
    async with serving(reply({}, age="9" * 18)) as server, client(server) as http:
        answer = await http.get("/x")
        assert (answer.stale, answer.given_at) == (True, 0)


@aio
async def test_unchanged_since_is_the_first_arrival_of_a_body(tmp_path: Path) -> None:
    clock = SimulatedClock(NOW)
    async with (
        ResponseCache(tmp_path) as cache,
        serving(OK) as server,
        client(server, clock, cache=cache) as http,
    ):
        for hours in range(5):
            clock.advance_to(NOW + hours * HOUR)
            answer = await http.get("/x", ttl=60)
            assert (answer.fetched_at, answer.unchanged_since) == (NOW + hours * HOUR, NOW)
        server.then(reply({"a": 2}))
        clock.advance_to(NOW + 5 * HOUR)
        assert (await http.get("/x", ttl=60)).unchanged_since == NOW + 5 * HOUR


@aio
async def test_a_response_from_the_future_is_not_fresh(tmp_path: Path) -> None:
    async with ResponseCache(tmp_path) as cache, serving(OK) as server:
        async with client(server, SimulatedClock(NOW), cache=cache) as http:
            await http.get("/x", ttl=60)
        async with client(server, SimulatedClock(NOW - 5 * MINUTE), cache=cache) as http:
            assert not (await http.get("/x", ttl=600)).stale
        assert len(server.seen) == 2
