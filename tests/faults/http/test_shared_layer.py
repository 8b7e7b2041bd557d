"""Faults that the layer between all providers and the network deals with, seen from an engine."""

import tracemalloc
from collections.abc import Callable
from time import monotonic
from typing import Any, TypeAlias

import pytest

from tests.faults.http.world import NOW, Desk, Rows
from tests.support import PATIENCE_SECONDS
from weft.foundation.times import HOUR
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]


def fails(desk: Desk, name: str, text: str) -> None:
    assert text in (desk.status()[name].error or ""), desk.status()[name].error


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"kind": "slow_body", "seconds": 0.2}, "did not finish in 0.5 s"),
        ({"kind": "half_open", "seconds": 60}, "did not finish in 0.5 s"),
        ({"kind": "latency", "seconds": 60}, "did not finish in 0.5 s"),
        ({"kind": "reset"}, "the network failed"),
        ({"kind": "reset_body"}, "the network failed"),
    ],
)
def test_h4_h5_shared_layer_ends_what_does_not_end(
    sandbox: Sandbox, desk: Open, fault: dict[str, Any], told: str
) -> None:
    sandbox.fault(fault)
    # What breaks by itself is named as such only if it has the time to.
    one = desk("binance", deadline_seconds=0.5 if "0.5 s" in told else 20.0)
    began = monotonic()
    one.collect()
    assert monotonic() - began < PATIENCE_SECONDS
    fails(one, "binance", told)
    assert one.rows() == set()


def test_h5_shared_layer_names_a_host_that_is_not_there(desk: Open) -> None:
    there = "providers.binance.base_url=http://nosuch.invalid"
    one = desk("binance", overrides=(there,), attempts=1, deadline_seconds=5.0)
    one.collect()
    fails(one, "binance", "its host name does not resolve")
    assert one.rows() == set()


def test_h6_shared_layer_never_unpacks_a_bomb(sandbox: Sandbox, desk: Open) -> None:
    sandbox.fault({"kind": "gzip_bomb", "size": 400})
    one = desk("binance")
    tracemalloc.start()
    one.collect()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    fails(one, "binance", "larger than")
    # Four requests at once, each of up to 32 MB.
    assert peak < 200 << 20
    assert one.rows() == set()


@pytest.mark.parametrize("minutes", [-5, 5])
def test_h13_shared_layer_bears_a_server_whose_clock_is_off(
    sandbox: Sandbox, desk: Open, clean_candles: Rows, minutes: int
) -> None:
    sandbox.fault({"kind": "clock_skew", "seconds": minutes * 60})
    one = desk("binance", "bybit", "coinbase")
    one.collect()
    assert one.rows() <= clean_candles
    assert one.composes()


def test_h13_shared_layer_takes_no_candle_that_closes_while_this_clock_is_behind(
    sandbox: Sandbox, desk: Open
) -> None:
    sandbox.clock.move(NOW + HOUR, 0)
    one = desk("binance", "bybit", "coinbase")
    one.collect()
    ends = [span.last + HOUR for name in ("binance", "bybit", "coinbase")
            for span in one.engine.market.known_spans(_source(one, name)).values()]  # fmt: skip
    assert ends
    assert max(ends) <= NOW


def test_h17_shared_layer_marks_what_is_kept_too_long(sandbox: Sandbox, desk: Open) -> None:
    one = desk("coingecko")
    one.collect()
    before = one.rows()
    sandbox.fault({"kind": "status", "status": 500})
    later = NOW + 2 * HOUR
    sandbox.clock.move(later, 0)
    one.collect(at=later)
    status = one.status()["coingecko"]
    assert status.stale > 0
    assert before <= one.rows()


def _source(desk: Desk, name: str) -> str:
    return next(p.component.source for p in desk.engine.composition.providers
                if p.component.name == name)  # fmt: skip
