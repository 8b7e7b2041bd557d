"""Rate limits: windows, the server's headers, and the queue."""

import asyncio
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.sources.http.server import NOW, aio
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import MINUTE, SECOND, to_datetime
from weft.sources.http.api import Api, RateLimit
from weft.sources.http.errors import RateLimitedError
from weft.sources.http.limits import (
    INSTEAD_SECONDS,
    Limiter,
    SlidingWindow,
    age_seconds,
    follow,
    retry_after_seconds,
)

LIMITS = st.lists(
    st.builds(
        RateLimit,
        units=st.integers(5, 12),
        seconds=st.integers(1, 90),
        per_request=st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda limit: limit.label,
)


@settings(max_examples=60, deadline=None)
@given(
    limits=LIMITS,
    costs=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    gaps=st.lists(st.integers(0, 30), min_size=40, max_size=40),
    counted=st.lists(st.integers(0, 12), min_size=40, max_size=40),
    concurrent=st.integers(1, 5),
)
def test_no_window_exceeds_the_limit_and_order_is_preserved(
    limits: list[RateLimit], costs: list[int], gaps: list[int], counted: list[int], concurrent: int
) -> None:
    clock = SimulatedClock(NOW)
    limits = [
        RateLimit(
            rate_limit.units,
            rate_limit.seconds,
            per_request=rate_limit.per_request,
            used=f"used-{i}",
        )
        for i, rate_limit in enumerate(limits)
    ]
    api = Api(base_url="", limits=tuple(limits), longest_wait_seconds=1e9, concurrent=concurrent)
    limiter = Limiter("vendor", api, clock)
    passed: list[tuple[int, int, int]] = []

    async def ask(index: int, cost: int) -> None:
        async with limiter.turn(cost):
            passed.append((clock.now(), cost, index))
            await asyncio.sleep(0)
            limiter.follow_headers({"used-0": str(counted[index])})

    async def ask_all() -> None:
        tasks = []
        for index, cost in enumerate(costs):
            tasks.append(asyncio.create_task(ask(index, cost)))
            if gaps[index] > 20:
                await asyncio.sleep(0)
                clock.advance_to(clock.now() + gaps[index] * SECOND // 7)
        await asyncio.gather(*tasks)

    asyncio.run(ask_all())
    assert [index for *_, index in passed] == list(range(len(costs)))
    for limit in limits:
        for start, _, _ in passed:
            end = start + int(limit.seconds * SECOND)
            in_window = [1 if limit.per_request else c for at, c, _ in passed if start <= at < end]
            assert sum(in_window) <= limit.units


@given(
    units=st.integers(1, 9),
    taken=st.lists(st.integers(1, 3), max_size=9),
    ahead=st.integers(0, 60),
)
def test_the_predicted_wait_for_single_units_is_exact(
    units: int, taken: list[int], ahead: int
) -> None:
    window = SlidingWindow(units, 10 * SECOND)
    now = NOW
    for cost in taken:
        if cost <= units:
            now = max(now + SECOND, window.earliest(cost, now))
            window.take(cost, now)
    foretold = window.earliest(1, now, ahead)
    at = now
    for _ in range(ahead + 1):
        at = window.earliest(1, at)
        window.take(1, at)
    assert foretold == at


def test_the_servers_count_only_raises_the_count() -> None:
    window = SlidingWindow(10, 60 * SECOND)
    window.take(4, NOW)
    window.follow_server(2, NOW)
    assert window.used(NOW) == 4
    window.follow_server(9, NOW)
    assert window.used(NOW) == 9
    window.follow_server(1_000_000, NOW, until=NOW + 5 * SECOND)
    assert window.used(NOW) == 10
    assert window.earliest(1, NOW) == NOW + 5 * SECOND


@aio
async def test_a_distant_turn_is_refused_immediately() -> None:
    clock = SimulatedClock(NOW)
    limits = (RateLimit(2, 60),)
    limiter = Limiter("v", Api(base_url="", limits=limits, longest_wait_seconds=100), clock)

    async def ask() -> None:
        async with limiter.turn(1):
            pass

    waiting = [asyncio.create_task(ask()) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitedError, match="120 s away") as caught:
        await ask()
    assert caught.value.retry_after_seconds == 120
    assert clock.now() == NOW
    await asyncio.gather(*waiting)
    assert clock.now() == NOW + 60 * SECOND


@aio
async def test_a_cancelled_wait_frees_its_place() -> None:
    clock = SimulatedClock(NOW)
    limiter = Limiter("v", Api(base_url="", limits=(RateLimit(1, 60),), concurrent=1), clock)
    async with limiter.turn(1):
        second = asyncio.create_task(limiter.turn(1).__aenter__())
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
    async with limiter.turn(1):
        assert clock.now() == NOW + 60 * SECOND


@aio
async def test_a_pause_also_delays_waiting_requests() -> None:
    clock = SimulatedClock(NOW)
    limiter = Limiter("v", Api(base_url=""), clock)
    limiter.pause(30)
    async with limiter.turn(1):
        assert clock.now() == NOW + 30 * SECOND
    limiter.pause(1_000)
    with pytest.raises(RateLimitedError):
        await limiter.turn(1).__aenter__()


@aio
async def test_a_cost_above_the_limit_is_refused() -> None:
    limiter = Limiter("v", Api(base_url="", limits=(RateLimit(5, 1),)), SimulatedClock(NOW))
    for cost in (6, -1):
        with pytest.raises(ValueError, match="cost"):
            await limiter.turn(cost).__aenter__()


@aio
async def test_a_group_limit_counts_only_its_group() -> None:
    clock = SimulatedClock(NOW)
    limits = (RateLimit(4, 60, "weight"), RateLimit(2, 300, "s", per_request=True, only="s"))
    limiter = Limiter("v", Api(base_url="", limits=limits, longest_wait_seconds=300), clock)
    for cost, group in ((0, "s"), (4, ""), (0, "s"), (0, "other")):
        async with limiter.turn(cost, group):
            assert clock.now() == NOW
    assert limiter.left() == {"weight": 0, "s": 0}
    async with limiter.turn(1):
        assert clock.now() == NOW + 60 * SECOND
    async with limiter.turn(0, "s"):
        assert clock.now() == NOW + 300 * SECOND


def date(micros: int) -> str:
    return format_datetime(to_datetime(micros), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("\u0663", None),
        ("1000000000", INSTEAD_SECONDS),
        ("9" * 400, None),
        (date(NOW + 90 * SECOND), 90.0),
        (date(NOW - 90 * SECOND), None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", INSTEAD_SECONDS),
        ("Wed, 99 Foo 2025 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_parsed(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize("skew", [-5 * MINUTE, 5 * MINUTE])
def test_retry_after_date_is_compared_with_the_servers_clock(skew: int) -> None:
    theirs = NOW + skew
    headers = {"retry-after": date(theirs + 40 * SECOND), "date": date(theirs)}
    assert retry_after_seconds(headers, NOW) == 40


@pytest.mark.parametrize("skew", [-5 * MINUTE, 0, 5 * MINUTE])
@pytest.mark.parametrize("scale", [None, 1, 1_000])
def test_a_reset_may_be_seconds_or_an_epoch(skew: int, scale: int | None) -> None:
    theirs = NOW + skew
    reset = 20 if scale is None else (theirs // SECOND + 20) * scale
    limit = RateLimit(10, 60, remaining="X-Left", reset="X-Reset")
    headers = {"x-left": "0", "x-reset": str(reset), "date": date(theirs)}
    window = SlidingWindow(10, 60 * SECOND)
    follow(limit, window, headers, NOW)
    assert window.earliest(1, NOW) == NOW + 20 * SECOND


@pytest.mark.parametrize("reset", ["", "-3", "0", "nonsense", "1"])
def test_an_unreadable_reset_means_a_full_window(reset: str) -> None:
    limit = RateLimit(10, 60, used="X-MBX-USED-WEIGHT-1M", reset="x-reset")
    window = SlidingWindow(10, 60 * SECOND)
    follow(limit, window, {"x-mbx-used-weight-1m": "10", "x-reset": reset}, NOW)
    assert window.earliest(1, NOW) == NOW + (1 if reset == "1" else 60) * SECOND


@given(text=st.text(max_size=30), number=st.integers() | st.floats())
def test_any_header_is_parsed_or_ignored(text: str, number: float) -> None:
    for value in (text, str(number)):
        headers = dict.fromkeys(("retry-after", "date", "age", "used", "left", "reset"), value)
        seconds = retry_after_seconds(headers, NOW)
        assert seconds is None or 0 < seconds <= 3 * 86_400
        assert age_seconds(headers) >= 0
        window = SlidingWindow(10, 60 * SECOND)
        limit = RateLimit(10, 60, used="used", remaining="left", reset="reset")
        follow(limit, window, headers, NOW)
        assert 0 <= window.used(NOW) <= 10
        assert NOW <= window.earliest(1, NOW) <= NOW + 60 * SECOND
