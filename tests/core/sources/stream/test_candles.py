"""Candles are handed on exactly once, whatever is lost, repeated or out of order."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.foundation.times import Interval
from weft.sources.stream.candles import CandleLog, Hole
from weft.sources.stream.events import Candle

HOURS = Interval.parse("1h")
STEP = HOURS.micros
BEGUN = HOURS.floor(1_710_000_000_000_000)


def candle(number: int, symbol: str = "A", *, closed: bool = True) -> Candle:
    return Candle(symbol, BEGUN + number * STEP, 1.0, 2.0, 0.5, 1.5, float(number), closed)


def begun() -> CandleLog:
    log = CandleLog(HOURS)
    log.begin("A", BEGUN - STEP)
    return log


def numbers(candles: list[Candle]) -> list[int]:
    return [int(c.volume) for c in candles]


@given(
    count=st.integers(1, 40),
    sockets=st.lists(st.sets(st.integers(0, 39)), min_size=1, max_size=3),
    chance=st.randoms(use_true_random=False),
    window=st.integers(0, 12),
    requested=st.sets(st.integers(0, 39)),
)
def test_candles_are_handed_on_once_in_order(
    count: int,
    sockets: list[set[int]],
    chance: random.Random,
    window: int,
    requested: set[int],
) -> None:
    """Sockets drop, repeat and reorder candles; requests bring missing ones."""
    sent = [
        (n + chance.uniform(0, window), n)
        for lost in sockets
        for n in range(count)
        for _ in range(2 if n in requested else 1)
        if n not in lost
    ]
    log, out = begun(), list[int]()
    for _, n in sorted(sent):
        out += numbers(log.take(candle(n)))
        hole = log.hole("A")
        assert hole is None or hole.first == BEGUN + len(out) * STEP
        if hole is not None and n in requested:
            for missing in range(hole.first, hole.last + 1, STEP):
                out += numbers(log.take(candle((missing - BEGUN) // STEP)))
        assert out == list(range(len(out)))
    log.expect(BEGUN + count * STEP)
    while (hole := log.hole("A")) is not None:
        for missing in range(hole.first, hole.last + 1, STEP):
            out += numbers(log.take(candle((missing - BEGUN) // STEP)))
    assert out == list(range(count))


def test_a_candle_after_a_hole_waits() -> None:
    log = begun()
    assert numbers(log.take(candle(0))) == [0]
    assert log.take(candle(3)) == []
    assert log.holes() == [Hole("A", BEGUN + STEP, BEGUN + 2 * STEP)]
    assert numbers(log.take(candle(1))) == [1]
    assert numbers(log.take(candle(2))) == [2, 3]
    assert log.holes() == []


def test_a_skipped_hole_releases_later_candles_and_fills_late() -> None:
    log = begun()
    log.take(candle(2))
    assert numbers(log.give_up(Hole("A", BEGUN, BEGUN + STEP))) == [2]
    assert numbers(log.take(candle(1))) == [1]
    assert log.take(candle(1)) == []
    assert log.duplicates == 1


def test_unfinished_and_unknown_candles_are_ignored() -> None:
    log = begun()
    assert log.take(candle(0, closed=False)) == []
    assert log.take(candle(0, "B")) == []
    assert numbers(log.take(candle(0))) == [0]


def test_candles_stored_elsewhere_are_skipped() -> None:
    log = begun()
    log.take(candle(2))
    log.take(candle(3))
    assert numbers(log.begin("A", BEGUN + 2 * STEP)) == [3]
    assert log.take(candle(1)) == []
    log.expect(BEGUN + 5 * STEP)
    assert log.holes() == [Hole("A", BEGUN + 4 * STEP, BEGUN + 4 * STEP)]


def test_waiting_candles_are_bounded() -> None:
    log = begun()
    out = list[Candle]()
    for n in range(1, 5_000):
        out += log.take(candle(n))
    assert numbers(out) == list(range(1, 5_000))


def test_a_candle_off_the_grid_is_refused() -> None:
    log = begun()
    wrong = candle(0)._replace(open_time=BEGUN + 1)
    with pytest.raises(ValueError, match="no 1h candle"):
        log.take(wrong)
