"""The made-up market: reproducible, shaped like a real market, and without an edge."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from weft.collect.checks.clean import clean_candles
from weft.components.provider import Batch, Request, SourceKind
from weft.foundation.arrays import FloatPanel
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import NoDataError
from weft.foundation.times import DAY, HOUR, MINUTE, WEEK, Interval, parse_time
from weft_providers.synthetic import Synthetic

if TYPE_CHECKING:
    from weft.sources.http import Http

START = parse_time("2026-01-01T00:00:00Z")
NUMBERS = ("open", "high", "low", "close", "volume")


def fetch(
    now: int,
    *symbols: str,
    interval: str = "1h",
    since: int = 0,
    known: dict[str, int] | None = None,
    **options: Any,
) -> list[Batch]:
    async def go() -> list[Batch]:
        provider = Synthetic(Synthetic.Config(**options))
        request = Request(Interval.parse(interval), symbols, since, known or {})
        nobody = cast("Http", None)  # nothing is asked over HTTP
        return [b async for b in provider.fetch(request, nobody, SimulatedClock(now))]

    return asyncio.run(go())


def candles(now: int, *symbols: str, **asked: Any) -> pl.DataFrame:
    (batch,) = fetch(now, *symbols, **asked)
    assert batch.candles is not None
    return batch.candles


def bits(frame: pl.DataFrame) -> list[bytes]:
    return [frame[name].to_numpy().tobytes() for name in NUMBERS]


@pytest.fixture(scope="module")
def year() -> pl.DataFrame:
    return candles(START + 365 * DAY)


@pytest.fixture(scope="module")
def returns(year: pl.DataFrame) -> FloatPanel:
    wide = year.pivot(on="symbol", index="open_time", values="close").drop("open_time")
    return np.diff(np.log(wide.to_numpy()), axis=0)


# Reproducibility


@settings(max_examples=15, deadline=None)
@given(
    hours=st.integers(1, 24 * 30),
    minutes=st.integers(0, 59),
    interval=st.sampled_from(["5m", "1h", "4h"]),
)
def test_asking_later_only_appends(hours: int, minutes: int, interval: str) -> None:
    now = START + hours * HOUR + minutes * MINUTE
    later = candles(START + 31 * DAY, "BTCUSDT", "ETHUSDT", interval=interval)
    if now < START + Interval.parse(interval).micros:
        return
    early = candles(now, "BTCUSDT", "ETHUSDT", interval=interval)
    same = later.join(early.select("symbol", "open_time"), on=["symbol", "open_time"])
    assert len(early) == 2 * ((now - START) // Interval.parse(interval).micros)
    assert bits(same) == bits(early)


def test_a_coin_does_not_depend_on_the_other_coins() -> None:
    now = START + 10 * DAY
    alone = candles(now, "SOLUSDT")
    among = candles(now, "XRPUSDT", "SOLUSDT").filter(pl.col("symbol") == "SOLUSDT")
    assert bits(alone) == bits(among)


def test_long_candles_are_sums_of_short_candles() -> None:
    now = START + 20 * DAY
    short = candles(now, "BTCUSDT", interval="5m")
    joined = short.group_by_dynamic("open_time", every="4h").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    long = candles(now, "BTCUSDT", interval="4h")
    assert_frame_equal(long.select(joined.columns), joined, rel_tol=1e-12)


def test_weeks_open_on_monday() -> None:
    frame = candles(START + 4 * WEEK, "BTCUSDT", interval="1w")
    assert frame["open_time"].to_list()[0] == datetime(2026, 1, 5, tzinfo=UTC)


def test_another_seed_or_start_is_another_market_and_source() -> None:
    now = START + 5 * DAY
    first, other = candles(now, "BTCUSDT"), candles(now, "BTCUSDT", seed=8)
    assert bits(first) != bits(other)
    sources = {
        Synthetic(Synthetic.Config(**options)).source
        for options in ({}, {"seed": 8}, {"start": "2025-01-01T00:00:00Z"}, {"symbols": ("A",)})
    }
    assert len(sources) == 4
    assert all(len(s) == len("synthetic-") + 8 for s in sources)


# What is given


def test_it_never_passes_for_real() -> None:
    assert Synthetic.source_kind is SourceKind.SYNTHETIC
    assert Synthetic.fallback
    (batch,) = fetch(START + DAY)
    assert {i.venue for i in batch.instruments} == {"synthetic"}
    assert all(i.always_open for i in batch.instruments)


def test_only_what_is_new_is_given() -> None:
    now = START + 10 * HOUR + MINUTE
    known = {"BTCUSDT": START + 7 * HOUR, "ETHUSDT": START + 9 * HOUR}
    frame = candles(now, "BTCUSDT", "ETHUSDT", known=known)
    assert frame["symbol"].to_list() == ["BTCUSDT"] * 2
    assert fetch(now, "ETHUSDT", known=known) == []
    assert len(candles(now, "ETHUSDT", since=START + 8 * HOUR)) == 2


def test_it_passes_the_checks_as_it_is(year: pl.DataFrame) -> None:
    checked = clean_candles(year, Interval.parse("1h"), START + 365 * DAY, "synthetic")
    assert checked.problems == ()
    assert len(checked.frame) == len(year) == 8 * 365 * 24


def test_each_candle_opens_at_the_close_before(year: pl.DataFrame) -> None:
    bitcoin = year.filter(pl.col("symbol") == "BTCUSDT")
    assert (bitcoin["open"][1:] == bitcoin["close"][:-1]).all()


@pytest.mark.parametrize(
    ("now", "asked", "message"),
    [
        (START + HOUR - 1, {}, "the first candle opens at 2026-01-01T00:00:00Z and is not closed"),
        (START - DAY, {}, "Set providers.synthetic.start to an earlier time"),
        (START + DAY, {"interval": "1m"}, "there are no 1m candles. Ask for a multiple of five"),
    ],
)
def test_an_impossible_request_is_an_error(now: int, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(NoDataError, match=message):
        fetch(now, **asked)


@pytest.mark.parametrize("start", ["2026-01-01", "new year", "2026-01-01T00:00:00"])
def test_a_start_that_is_no_instant_is_refused(start: str) -> None:
    with pytest.raises(ValueError, match="start"):
        Synthetic.Config(start=start)


def test_a_start_between_candles_is_rounded_up() -> None:
    frame = candles(START + DAY, "BTCUSDT", start="2026-01-01T00:07:31Z")
    assert frame["open_time"].to_physical()[0] == START + HOUR
    fine = candles(START + DAY, "BTCUSDT", start="2026-01-01T00:07:31Z", interval="5m")
    assert fine["open_time"].to_physical()[0] == START + 10 * MINUTE


# Shaped like a market


def test_coins_move_together_but_not_alike(returns: FloatPanel) -> None:
    pairs = np.asarray(np.corrcoef(returns.T))[np.triu_indices(8, 1)]
    assert pairs.min() > 0.1
    assert pairs.max() < 0.9


def test_tails_are_fat_and_volatility_clusters(returns: FloatPanel) -> None:
    centred = returns - returns.mean(axis=0)
    kurtosis = (centred**4).mean(axis=0) / centred.var(axis=0) ** 2
    assert (kurtosis > 4).all()
    size = np.abs(centred)
    for lag in (1, 12, 24):
        links = [np.asarray(np.corrcoef(size[:-lag, i], size[lag:, i]))[0, 1] for i in range(8)]
        assert np.mean(links) > 0.1


def test_volume_rises_with_the_size_of_the_move(year: pl.DataFrame) -> None:
    move = (pl.col("close") / pl.col("open")).log().abs()
    links = year.group_by("symbol").agg(link=pl.corr(move, pl.col("volume")))
    assert (links["link"] > 0.2).all()


def test_there_is_no_edge(returns: FloatPanel) -> None:
    """Neither the last return, its sign, nor another coin's return predicts the next return."""
    simple = np.expm1(returns)
    rules = (
        simple[:-1],
        np.sign(simple[:-1]),
        np.sign(simple[:-1, ::-1]),
        -np.ones_like(simple[1:]),
    )
    for position in rules:
        earned = (position * simple[1:]).mean(axis=1)
        t = earned.mean() / (earned.std() / np.sqrt(len(earned)))
        assert abs(t) < 3.5


def test_prices_are_martingales_over_many_markets() -> None:
    growth = []
    for seed in range(60):
        frame = candles(START + 21 * DAY, "AUSDT", "BUSDT", interval="1d", seed=seed)
        growth += [
            part["close"][-1] / 100.0 for _, part in frame.group_by("symbol", maintain_order=True)
        ]
    means = np.array(growth).reshape(60, 2).mean(axis=1)
    assert abs(means.mean() - 1) < 3.5 * means.std() / np.sqrt(60)
