"""H1 to H3, H18: the reaction to each status."""

from email.utils import format_datetime

import pytest

from tests.core.sources.http.server import NOW, aio, client, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, MINUTE, SECOND, to_datetime
from weft.sources.http.errors import (
    BannedError,
    ForbiddenError,
    NotCoveredError,
    RateLimitedError,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.status import SourceState

OK = reply({"a": 1})


@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ({"retry_after": "7"}, (7, 7)),
        ({"retry_after": format_datetime(to_datetime(NOW + 9 * SECOND), usegmt=True)}, (9, 9)),
        ({}, (0.5, 3)),
        ({"retry_after": "-1"}, (0.5, 3)),
        ({"retry_after": "nonsense"}, (0.5, 3)),
    ],
)
def test_429_waits_as_told_and_asks_again(
    after: dict[str, str], seconds: tuple[float, float]
) -> None:
    @aio
    async def check() -> None:
        clock = SimulatedClock(NOW)
        async with serving(reply({}, 429, **after), OK) as server, client(server, clock) as http:
            assert (await http.get("/x")).json == {"a": 1}
            assert seconds[0] <= (clock.now() - NOW) / SECOND <= seconds[1]
            assert len(server.seen) == 2
            assert http.status().retries == 1

    check()


@pytest.mark.parametrize(("after", "seconds"), [("600", 600), ("1000000000", 3_600)])
def test_429_with_too_long_a_wait_is_refused_at_once(after: str, seconds: float) -> None:
    @aio
    async def check() -> None:
        clock = SimulatedClock(NOW)
        async with (
            serving(reply({}, 429, retry_after=after), OK) as server,
            client(server, clock) as http,
        ):
            for _ in range(2):
                with pytest.raises(RateLimitedError) as caught:
                    await http.get("/x")
                assert caught.value.retry_after_seconds == seconds
            assert clock.now() == NOW
            assert len(server.seen) == 1
            clock.advance_to(NOW + int(seconds) * SECOND)
            assert (await http.get("/x")).json == {"a": 1}

    check()


@aio
async def test_endless_429_ends_in_an_error() -> None:
    async with serving(reply({}, 429)) as server, client(server, attempts=3) as http:
        with pytest.raises(RateLimitedError):
            await http.get("/x")
        assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("status", "bans", "kind", "state"),
    [
        (418, {418}, BannedError, SourceState.BANNED),
        (403, {403, 418}, BannedError, SourceState.BANNED),
        (403, {418}, ForbiddenError, SourceState.DEGRADED),
        (451, {418}, ForbiddenError, SourceState.DEGRADED),
        (401, {418}, UnauthorisedError, SourceState.UNAUTHORISED),
        (402, {418}, NotCoveredError, SourceState.IDLE),
        (400, {418}, RefusedError, SourceState.IDLE),
        (404, {418}, RefusedError, SourceState.IDLE),
    ],
)
def test_permanent_errors_are_not_retried(
    status: int, bans: set[int], kind: type[SourceError], state: SourceState
) -> None:
    @aio
    async def check() -> None:
        async with (
            serving(reply({"msg": "no"}, status), OK) as server,
            client(server, ban_statuses=frozenset(bans)) as http,
        ):
            with pytest.raises(kind, match=f"GET /x answered HTTP {status}") as caught:
                await http.get("/x")
            assert type(caught.value) is kind
            assert len(server.seen) == 1
            assert http.status().state is state

    check()


@aio
async def test_a_ban_stops_everything_until_it_ends() -> None:
    clock = SimulatedClock(NOW)
    async with (
        serving(reply({}, 418, retry_after="7200"), OK) as server,
        client(server, clock) as http,
    ):
        for path in ("/x", "/y", "/z"):
            with pytest.raises(BannedError) as caught:
                await http.get(path)
            assert caught.value.retry_after_seconds == 7_200
        assert len(server.seen) == 1
        clock.advance_to(NOW + 2 * HOUR)
        assert (await http.get("/x")).json == {"a": 1}
        assert http.status().state is SourceState.OK


@aio
async def test_a_key_revoked_in_the_middle_is_said_and_not_shown_again_at_once() -> None:
    clock = SimulatedClock(NOW)
    async with serving(OK, reply({}, 401), OK) as server, client(server, clock) as http:
        await http.get("/x")
        for _ in range(3):
            with pytest.raises(UnauthorisedError, match="Check the key"):
                await http.get("/x")
        assert len(server.seen) == 2
        assert http.status().state is SourceState.UNAUTHORISED
        clock.advance_to(NOW + 15 * MINUTE)
        await http.get("/x")
        assert http.status().state is SourceState.OK


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_few_failures_are_retried(status: int) -> None:
    @aio
    async def check() -> None:
        bad = reply(raw=b"<html>gateway</html>", status=status, kind="text/html")
        clock = SimulatedClock(NOW)
        async with serving(bad, bad, OK) as server, client(server, clock) as http:
            assert (await http.get("/x")).json == {"a": 1}
            assert 0 < clock.now() - NOW <= 3 * SECOND
            assert http.status().retries == 2

    check()


@aio
async def test_pauses_are_seeded() -> None:
    async def pauses(seed: int) -> int:
        clock = SimulatedClock(NOW)
        async with serving(reply({}, 503)) as server, client(server, clock) as http:
            http._rng.seed(seed)
            with pytest.raises(UnavailableError):
                await http.get("/x")
            assert len(server.seen) == 4
        return clock.now() - NOW

    spent = [await pauses(seed) for seed in range(5)]
    assert len(set(spent)) == 5
    assert spent == [await pauses(seed) for seed in range(5)]


@aio
async def test_retries_have_a_budget_and_a_failing_source_is_left_alone() -> None:
    clock = SimulatedClock(NOW)
    async with serving(reply({}, 500)) as server:
        async with client(server, clock, failures_to_open=1_000) as http:
            for _ in range(50):
                with pytest.raises(UnavailableError):
                    await http.get("/x")
            assert 50 + 10 <= len(server.seen) <= 50 + 10 + 50 // 5
        server.seen.clear()
        async with client(server, clock, failures_to_open=6) as http:
            for _ in range(50):
                with pytest.raises(UnavailableError):
                    await http.get("/x")
            assert len(server.seen) == 6
            assert http.status().state is SourceState.OPEN
            clock.advance_to(clock.now() + MINUTE)
            server.then(OK)
            await http.get("/x")
            assert http.status().state is SourceState.OK


@aio
async def test_retries_end_before_the_deadline() -> None:
    clock = SimulatedClock(NOW)
    async with (
        serving(reply({}, 503)) as server,
        client(server, clock, attempts=1_000, failures_to_open=1_000, deadline_seconds=5) as http,
    ):
        with pytest.raises(UnavailableError):
            await http.get("/x")
        assert 1 < len(server.seen) < 10
    assert clock.now() < NOW + 5 * SECOND


@aio
async def test_503_observes_retry_after() -> None:
    clock = SimulatedClock(NOW)
    async with (
        serving(reply({}, 503, retry_after="30"), OK) as server,
        client(server, clock) as http,
    ):
        await http.get("/x")
    assert clock.now() == NOW + 30 * SECOND
