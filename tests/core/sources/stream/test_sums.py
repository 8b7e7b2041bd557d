"""Sums of an interval: complete or absent, in any order of arrival."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.foundation.times import MINUTE, Interval
from weft.sources.stream.connection_keeper import Coverage
from weft.sources.stream.events import Liquidation, Trade
from weft.sources.stream.sums import Fact, LiquidationSums, TradeSums

MINUTES = Interval.parse("1m")
BEGUN = MINUTES.floor(1_710_000_000_000_000)


def trade(number: int, minute: int = 0, *, bought: bool = True, size: float = 1.0) -> Trade:
    time = BEGUN + minute * MINUTE + number
    return Trade("A", time, 10.0 + number % 7, size, bought, trades=2, id=number)


def values(facts: list[Fact]) -> dict[str, float]:
    return {fact.metric: fact.value for fact in facts}


def test_trade_sums_of_an_interval() -> None:
    sums = TradeSums(MINUTES)
    sums.add(Trade("A", BEGUN, 10.0, 3.0, bought=True, trades=4, id=1))
    sums.add(Trade("A", BEGUN + 5, 20.0, 1.0, bought=False, trades=1, id=2))
    facts = sums.facts(BEGUN, "A")
    assert values(facts) == {"trade_count": 5.0, "taker_buy_sell_ratio": 3.0, "vwap": 12.5}
    assert {fact.event_time for fact in facts} == {BEGUN + MINUTE}
    assert sums.facts(BEGUN, "A") == []


def test_late_trades_are_reported_again() -> None:
    sums = TradeSums(MINUTES)
    sums.add(trade(1))
    sums.add(trade(3, 1))
    assert sums.facts(BEGUN, "A") == []
    sums.add(trade(2))
    assert values(sums.facts(BEGUN, "A"))["trade_count"] == 4.0
    sums.add(Trade("A", BEGUN + 9, 10.0, 1.0, bought=False))
    assert values(sums.facts(BEGUN, "A"))["trade_count"] == 5.0


def test_a_missing_trade_silences_the_intervals_it_may_be_in() -> None:
    sums = TradeSums(MINUTES)
    for number, minute in ((1, 0), (2, 1), (4, 2), (5, 3)):
        sums.add(trade(number, minute))
    complete = [sums.is_complete(BEGUN + minute * MINUTE, "A") for minute in range(4)]
    assert complete == [True, False, False, True]
    sums.add(trade(3, 2))
    assert all(sums.is_complete(BEGUN + minute * MINUTE, "A") for minute in range(4))


def test_a_large_gap_of_trade_ids_marks_intervals_with_bounded_memory() -> None:
    sums = TradeSums(MINUTES)
    sums.add(trade(1))
    sums.add(trade(50_000_000)._replace(time=BEGUN + MINUTE))
    assert not sums.is_complete(BEGUN, "A")
    assert not sums.is_complete(BEGUN + MINUTE, "A")
    assert sum(map(len, sums._missing.values())) == 0


@given(
    chance=st.randoms(use_true_random=False),
    count=st.integers(1, 60),
    lost=st.sets(st.integers(1, 60)),
)
def test_only_complete_sums_are_reported(chance: random.Random, count: int, lost: set[int]) -> None:
    every = [trade(n, n // 20, bought=n % 3 > 0) for n in range(count + 1)]
    came = [t for t in every if t.id not in lost] + [t for t in every if t.id in lost][::2]
    came = sorted(came[1:] + came[1::3], key=lambda t: (t.id or 0) + chance.uniform(0, 9))
    sums = TradeSums(MINUTES)
    for one in every[:1] + came:
        sums.add(one)
    last = max(t.id or 0 for t in came) if came else 0
    for minute in range(last // 20):
        opened = BEGUN + minute * MINUTE
        reported = values(sums.facts(opened, "A"))
        inside = [t for t in every if MINUTES.floor(t.time) == opened]
        if reported:
            assert reported["trade_count"] == 2.0 * len(inside)
            assert reported["vwap"] == pytest.approx(sum(t.price for t in inside) / len(inside))
        else:
            assert any(t not in came for t in inside[0:] + every[:20])


def test_old_intervals_are_dropped() -> None:
    sums, liquidations = TradeSums(MINUTES), LiquidationSums(MINUTES)
    for number in range(1_000):
        sums.add(trade(2 * number, number))
        liquidations.add(Liquidation("A", BEGUN + number * MINUTE, 1.0, 1.0, long=True))
        sums.forget(BEGUN + number * MINUTE)
        liquidations.forget(BEGUN + number * MINUTE)
    assert len(sums._sums) + len(sums._missing["A"]) + len(liquidations._sums) < 20
    sums.add(Trade("A", BEGUN, 1.0, 1.0, bought=True))
    liquidations.add(Liquidation("A", BEGUN, 2.0, 1.0, long=True))
    assert (sums.late, liquidations.late) == (1, 1)


def test_liquidation_sums_of_both_sides() -> None:
    sums = LiquidationSums(MINUTES)
    one = Liquidation("A", BEGUN + 1, 100.0, 2.0, long=True)
    for event in (one, one, one._replace(long=False, size=1.0), one._replace(time=BEGUN + 2)):
        sums.add(event)
    reported = values(sums.facts(BEGUN, "A"))
    assert reported == {"long_liquidations_usd": 400.0, "short_liquidations_usd": 100.0}
    assert sums.duplicates == 1
    quiet = values(sums.facts(BEGUN + MINUTE, "A"))
    assert quiet == {"long_liquidations_usd": 0.0, "short_liquidations_usd": 0.0}
    assert sums.facts(BEGUN, "A") == []


def test_coverage_ends_with_the_last_message() -> None:
    coverage = Coverage()
    assert not coverage.covers(0, 10)
    coverage.begin(5)
    assert coverage.covers(5, 100)
    assert not coverage.covers(4, 10)
    coverage.end(20)
    coverage.begin(30)
    assert coverage.covers(5, 20)
    assert not coverage.covers(5, 21)
    assert not coverage.covers(19, 31)
    assert coverage.covers(30, 40)
    coverage.mark_unreadable(35)
    assert not coverage.covers(30, 40)
    assert coverage.covers(36, 40)
