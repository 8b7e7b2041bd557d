"""USDT-M futures against a sandbox whose stamps lie years ahead."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.providers.sandboxed import NOW, fetch, serve
from weft_providers.binance.futures import BinanceFutures
from weft_sandbox import Sandbox


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("binance")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, **options: Any) -> BinanceFutures:
    options = {"symbols": ("BTCUSDT",), **options}
    return BinanceFutures(BinanceFutures.Config(base_url=server.url("binance"), **options))


def test_a_stamp_years_ahead_is_reported_and_hides_no_history(server: Sandbox) -> None:
    provider = make(server, only="metrics", metrics=("open_interest", "funding_rate"))
    clean = fetch(provider)
    provider = make(server, only="metrics", metrics=("open_interest", "funding_rate"))
    server.fault({"kind": "stamp_shift", "seconds": 3_650 * 86_400.0})
    fetched = fetch(provider)
    assert "should be a time of now" in str(fetched.error)
    assert fetched.rows == []
    server.heal()
    again = fetch(provider)
    assert {(r.metric, r.event_time) for r in again.rows} == {
        (r.metric, r.event_time) for r in clean.rows
    }


def test_an_onboard_time_years_ahead_is_not_believed(server: Sandbox) -> None:
    server.fault(
        {"kind": "stamp_shift", "path": "/fapi/v1/exchangeInfo", "seconds": 3_650 * 86_400.0}
    )
    provider = make(server, only="candles")
    fetched = fetch(provider)
    assert "ignored as implausible" in fetched.problems[0]
    assert sum(map(len, fetched.candles)) == 143
    server.heal()
    # Earlier values are stored.
    (instrument,) = fetch(provider).instruments
    assert instrument.listed is not None
