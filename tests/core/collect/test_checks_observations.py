"""Checks of observations: sound rows pass; each refusal is named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from weft.collect.checks.clean import OBSERVATION_SCHEMA, clean_observations
from weft.domain.vocabulary import METRICS
from weft.foundation.errors import SchemaError
from weft.foundation.times import Interval, parse_time

D1 = Interval.parse("1d")
NOW = parse_time("2024-03-01T00:00:00Z")


def at(frame: pl.DataFrame, row: int, **values: Any) -> pl.DataFrame:
    """The frame with some values of one row replaced."""
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == row)
        .then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        .alias(name)
        for name, value in values.items()
    )


def facts(**columns: Any) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "metric": ["funding_rate", "mvrv", "vix"],
        "scope": ["instrument", "asset", "market"],
        "entity": ["BTCUSDT", "BTC", None],
        "event_time": [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)],
        "known_at": [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 3, 4)],
        "value": [0.0001, 1.5, 13.2],
    }
    return pl.DataFrame(plain | columns)


def test_sound_observations_pass_on_the_fixed_schema() -> None:
    checked = clean_observations(facts(), NOW, "test")
    assert checked.problems == ()
    assert checked.frame.schema == OBSERVATION_SCHEMA
    assert checked.frame["entity"].to_list() == ["BTCUSDT", "BTC", ""]


def test_without_known_at_a_lag_must_be_stated() -> None:
    with pytest.raises(SchemaError, match=r"column 'known_at' is missing.*state a lag"):
        clean_observations(facts().drop("known_at"), NOW, "test")
    checked = clean_observations(facts().drop("known_at"), NOW, "test", lag=D1)
    lag = checked.frame["known_at"] - checked.frame["event_time"]
    assert lag.unique().to_list() == [timedelta(days=1)]


@pytest.mark.parametrize(
    ("row", "values", "line"),
    [
        (1, {"value": float("nan")}, "mvrv BTC: 1 observation refused, value missing"),
        (1, {"value": None}, "mvrv BTC: 1 observation refused, value missing"),
        (1, {"scope": "coin"}, "mvrv BTC: 1 observation refused, scope is none of instrument"),
        (1, {"scope": None}, "mvrv BTC: 1 observation refused, scope is none of instrument"),
        (1, {"entity": None}, "mvrv: 1 observation refused, no entity"),
        (2, {"metric": " "}, "(unnamed): 1 observation refused, no metric"),
        (1, {"known_at": None}, "mvrv BTC: 1 observation refused, no usable known_at"),
        (1, {"event_time": None}, "mvrv BTC: 1 observation refused, no usable event_time"),
        (
            1,
            {"known_at": datetime(2024, 1, 1, tzinfo=UTC)},
            "mvrv BTC: 1 observation refused, known_at before event_time",
        ),
        (
            1,
            {"known_at": datetime(2024, 6, 1, tzinfo=UTC)},
            "mvrv BTC: 1 observation refused, known_at in the future",
        ),
    ],
)
def test_impossible_observation_is_refused(row: int, values: dict[str, Any], line: str) -> None:
    checked = clean_observations(at(facts(), row, **values), NOW, "test")
    assert len(checked.frame) == 2
    assert checked.problems[0].startswith(line)
    assert len(checked.problems) == 1


@pytest.mark.parametrize(
    ("metric", "value", "limits"),
    [
        ("active_addresses", -5.0, "0 or more"),
        ("open_interest", -1e-3, "0 or more"),
        ("tvl_usd", -1.0, "0 or more"),
        ("btc_dominance", 52.0, "0 to 1"),
        ("hodl_over_1y", -0.1, "0 to 1"),
        ("book_imbalance", 1.5, "-1 to 1"),
        ("fear_greed", 101.0, "0 to 100"),
        ("bid_ask_spread", -0.001, "0 to 2"),
        ("alt_rank", 0.0, "1 or more"),
        ("nupl", 1.2, "1 or less"),
        ("supply_inflation", -1.5, "-1 or more"),
    ],
)
def test_a_value_beyond_the_range_of_its_metric_is_refused_and_named(
    metric: str, value: float, limits: str
) -> None:
    checked = clean_observations(at(facts(), 1, metric=metric, value=value), NOW, "test")
    assert checked.frame["metric"].to_list() == ["funding_rate", "vix"]
    assert checked.problems == (
        f"{metric} BTC: 1 observation refused, value not {limits}, first at 2024-01-02T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("funding_rate", -0.02),
        ("exchange_netflow", -1e6),
        ("whale_netflow_usd", -1e9),
        ("mvrv_zscore", -2.0),
        ("nupl", -3.0),
        ("bid_ask_spread", 1.9),
        ("unlock_share", 1.4),
        ("news_sentiment", -1.0),
        ("treasury_10y", -0.004),
        # The sum of three shares that make up all, with a rounding error.
        ("tvl_share", 0.1 + 0.2 + 0.7000000000000002),
        ("active_addresses", 0.0),
        ("unheard_of", -5.0),
    ],
)
def test_value_within_the_range_of_its_metric_passes(metric: str, value: float) -> None:
    checked = clean_observations(at(facts(), 1, metric=metric, value=value), NOW, "test")
    assert checked.problems == ()
    assert value in checked.frame["value"].to_list()


def test_every_canonical_metric_has_a_range_unless_both_signs_are_sound() -> None:
    # This list is written by hand, independent of the units in the vocabulary.
    signed = {name for name, metric in METRICS.items() if metric.lowest is None}
    assert signed == {
        "funding_rate",
        "exchange_netflow",
        "miner_netflow",
        "smart_money_netflow_usd",
        "whale_netflow_usd",
        "top_trader_netflow_usd",
        "fresh_wallet_netflow_usd",
        "bridge_netflow_usd",
        "mvrv_zscore",
        "nupl",
    }
    shares = {name for name, metric in METRICS.items() if metric.unit == "share"}
    open_above = {name for name in shares if METRICS[name].highest is None}
    assert open_above == {
        "funding_rate",
        "slippage",
        "supply_inflation",
        "unlock_share",
        "stablecoin_yield",
        "treasury_10y",
        "fed_funds",
    }


def test_contradicting_observations_are_refused_and_restatements_stay() -> None:
    row = facts()[:1]
    other = row.with_columns(value=pl.lit(0.5))
    restated = row.with_columns(
        value=pl.lit(0.7),
        known_at=pl.lit(datetime(2024, 1, 5, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")),
    )
    checked = clean_observations(pl.concat([row, other, row, restated]), NOW, "test")
    assert checked.frame["value"].to_list() == [0.7]
    clash = "refused, same event_time with different values"
    assert checked.problems == (
        f"funding_rate BTCUSDT: 3 observations {clash}, first at 2024-01-01T00:00:00Z",
    )
