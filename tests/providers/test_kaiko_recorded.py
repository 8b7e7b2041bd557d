"""Kaiko's documented answers."""

from typing import Any

import pytest

from weft.foundation.times import HOUR, parse_time
from weft.sources.http import SchemaChangedError
from weft.testing import ParsedRows, parse_recorded
from weft_providers.kaiko import Kaiko

NOW = parse_time("2025-03-02T06:30:00Z")
FIRST = parse_time("2025-03-02T03:00:00Z")
PATH = "/v2/data/trades.v1/exchanges/{}/spot/btc-usd/aggregations/count_ohlcv_vwap"
PRICES = {"cbse": 100.0, "krkn": 101.0, "stmp": 103.0}


def venues() -> dict[str, list[dict[str, Any]]]:
    """Return three hours of each venue, times in milliseconds and prices as text."""
    return {
        venue: [
            {"timestamp": (FIRST + hour * HOUR) // 1_000, "price": str(price), "count": 7}
            for hour in range(3)
        ]
        for venue, price in PRICES.items()
    }


def parse(rows: dict[str, list[dict[str, Any]]]) -> ParsedRows:
    answers = {PATH.format(venue): {"data": data} for venue, data in rows.items()}
    provider = Kaiko(Kaiko.Config(metrics=("cross_exchange_spread",), assets=("BTC",)))
    return parse_recorded(provider, answers, now=NOW, days=0.2)


def spreads(parsed: ParsedRows) -> list[tuple[int, float]]:
    facts = parsed.of("cross_exchange_spread", "BTC")
    return [((fact.event_time - FIRST) // HOUR, round(fact.value, 9)) for fact in facts]


FULL, PARTIAL = round(2 * 3 / 203, 9), round(2 * 1 / 201, 9)


def test_the_spread_is_highest_less_lowest_price_over_the_mean_of_both() -> None:
    parsed = parse(venues())
    assert (parsed.error, parsed.problems) == (None, ())
    assert spreads(parsed) == [(1, FULL), (2, FULL), (3, FULL)]


def test_a_venue_without_trades_in_an_hour_does_not_count() -> None:
    rows = venues()
    rows["stmp"][1]["price"] = None
    assert spreads(parse(rows)) == [(1, FULL), (2, PARTIAL), (3, FULL)]


def test_an_hour_with_a_broken_price_has_no_spread_and_one_line() -> None:
    rows = venues()
    rows["stmp"][1]["price"] = "n/a"
    parsed = parse(rows)
    assert parsed.error is None
    assert spreads(parsed) == [(1, FULL), (3, FULL)]
    (line,) = parsed.problems
    assert "1 intervals left out" in line


@pytest.mark.parametrize("time", [None, "soon"])
def test_a_price_of_an_unknown_hour_leaves_every_spread_unknown(time: Any) -> None:
    rows = venues()
    rows["stmp"][1]["timestamp"] = time
    parsed = parse(rows)
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.facts == ()
