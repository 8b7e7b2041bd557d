"""Paid rates are told over one span, by what was known when each was paid."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.collect.checks.clean import OBSERVATION_SCHEMA
from weft.domain.vocabulary import METRICS, PAID_OVER
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, parse_time
from weft.market.facts import Facts
from weft.market.rates import over_span
from weft.store.lake import Lake
from weft.store.store import Store

EIGHT = 8 * HOUR
BEGAN = parse_time("2026-07-26T00:00:00.005Z")
CHANGED = BEGAN + 2 * DAY

Payment = tuple[int, int, float]
"""When it was paid, when it was known, and the rate."""


def scaled(payments: list[Payment]) -> list[float]:
    paid, known, value = (np.array(column) for column in zip(*payments, strict=True))
    return [float(rate) for rate in over_span(paid, known, value.astype(np.float64), EIGHT)]


def one_by_one(payments: list[Payment]) -> list[float]:
    """Each rate by the latest payment before it that was known by then."""
    told = []
    for paid, known, value in payments:
        before = max((p for p, k, _ in payments if k <= known and p < paid), default=-(10**18))
        hours = round((paid - before) / HOUR)
        usual = paid - before >= HOUR // 2 and hours <= 8
        told.append(value * 8 / max(hours, 1) if usual else value)
    return told


payments = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20), st.floats(-1e-2, 1e-2)), min_size=1
).map(
    lambda rows: sorted(
        ((at * HOUR // 2, at * HOUR // 2 + late * HOUR // 2, value) for at, late, value in rows),
        key=lambda row: (row[1], row[0]),
    )
)


@given(payments)
def test_each_rate_is_scaled_by_the_payment_before_it_as_known_then(told: list[Payment]) -> None:
    assert scaled(told) == pytest.approx(one_by_one(told), rel=1e-12)


@given(payments, st.integers(1, 20))
def test_what_is_known_later_changes_no_earlier_rate(told: list[Payment], count: int) -> None:
    instant = told[min(count, len(told)) - 1][1]
    then = [row for row in told if row[1] <= instant]
    assert scaled(told)[: len(then)] == scaled(then)


def venue(before: float, after: float, hours: int) -> list[Payment]:
    """Payments every 8 hours, and from an instant on of another rate every so many."""
    first = range(BEGAN, CHANGED + 1, EIGHT)
    second = range(CHANGED + hours * HOUR, CHANGED + DAY + 1, hours * HOUR)
    rows = [(at, before) for at in first] + [(at, after) for at in second]
    return [(at, at, rate) for at, rate in rows]


def test_a_venue_that_pays_as_much_more_often_reads_the_same() -> None:
    as_before, hourly, falls = (
        venue(9e-4, 9e-4, 8),
        venue(9e-4, 1.125e-4, 1),
        venue(9e-4, 1.125e-4, 8),
    )
    assert scaled(as_before) == [9e-4] * 10
    assert scaled(hourly) == pytest.approx([9e-4] * 31)
    assert scaled(falls) == pytest.approx([9e-4] * 7 + [1.125e-4] * 3)


def test_a_gap_and_samples_between_payments_say_nothing_about_the_interval() -> None:
    rates = [(BEGAN, BEGAN, 1e-4), (BEGAN + 3 * DAY, BEGAN + 3 * DAY, 2e-4)]
    assert scaled(rates) == [1e-4, 2e-4]
    samples = [(BEGAN + n * HOUR // 60, BEGAN + n * HOUR // 60, 1e-4) for n in range(9)]
    assert scaled(samples) == [1e-4] * 9


def test_payments_a_few_milliseconds_late_are_of_whole_hours() -> None:
    jitter = [0, 7_000, 1_000, 12_000]
    rates = [(BEGAN + n * 4 * HOUR + j,) * 2 + (1e-4,) for n, j in enumerate(jitter)]
    assert scaled(rates) == [1e-4, 2e-4, 2e-4, 2e-4]


def test_views_are_given_scaled_rates_whatever_part_of_history_they_ask_for(
    tmp_path: Path,
) -> None:
    store = Store(Lake(tmp_path), SimulatedClock(CHANGED + 9 * DAY))
    rows = venue(9e-4, 1.125e-4, 1)

    def frame(told: list[Payment]) -> pl.DataFrame:
        return pl.DataFrame(
            [("funding_rate", "instrument", "XYZUSDT", at, k, value) for at, k, value in told],
            schema=OBSERVATION_SCHEMA,
            orient="row",
        )

    store.append_observations("x", frame(rows[:-2]))
    facts = Facts(store, ["x"])
    # Asked for the present alone, the last payment has those before it all the same.
    for since in (CHANGED + 9 * DAY, BEGAN):
        (series,) = facts.of("funding_rate", since).values()
        assert series.value.tolist() == pytest.approx([9e-4] * 29)
    facts.absorb(store.append_observations("x", frame(rows[-2:])).rows)
    (series,) = facts.of("funding_rate", BEGAN).values()
    assert series.value.tolist() == pytest.approx([9e-4] * 31)


def test_rates_are_metrics_of_the_vocabulary() -> None:
    assert PAID_OVER.keys() <= METRICS.keys()
    assert "per 8 hours" in METRICS["funding_rate"].meaning
