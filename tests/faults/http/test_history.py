"""History that is told differently, and symbols that come and go: what was answered stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import orjson
import pytest

from tests.faults.http.world import EXCHANGES, NOW, Desk
from weft.domain.signal import Signal
from weft.foundation.times import DAY, HOUR
from weft.sources.http.connection import Reply
from weft.store.tables import CANDLES, OBSERVATIONS
from weft.testing.providers.wiretap import Ask, Tap
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]


def answer(one: Desk, as_of: int) -> tuple[Signal, ...]:
    return one.engine.report(one.engine.compose(one.engine.view(as_of))).signals


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h14_restated_candles_change_no_answer_about_the_past(
    sandbox: Sandbox, desk: Open, exchange: str
) -> None:
    one = desk(exchange)
    one.collect()
    as_of = NOW // HOUR * HOUR - 6 * HOUR
    signals, panels = answer(one, as_of), one.engine.view(as_of, 24).candles()
    read_at = one.engine.store.mark()
    before = one.rows(CANDLES)
    sandbox.fault({"kind": "restate", "factor": 1.25, "until": "2024-03-19T00:00:00Z"})
    # Asked for anew from further back, as a backfill does.
    later = NOW + HOUR
    sandbox.clock.move(later, 0)
    one.clock.advance_to(later)
    one.collect_since(NOW - 8 * DAY)
    assert one.status()[exchange].restated > 0
    assert before <= one.rows(CANDLES)
    again = one.engine.view(as_of, 24).candles()
    for field in ("open", "high", "low", "close", "volume"):
        was, now = getattr(panels, field), getattr(again, field)
        # What came from further back is there now as well.
        assert np.array_equal(now[~np.isnan(was)], was[~np.isnan(was)])
        assert np.isnan(was).any()
    replayed = one.engine.view(as_of, recorded_by=read_at)
    ids = [signal.id for signal in one.engine.report(one.engine.compose(replayed)).signals]
    assert ids == [signal.id for signal in signals]
    fresh = desk(exchange)
    fresh.collect()
    assert [s.id for s in answer(fresh, as_of)] != [s.id for s in signals]


def test_h14_restated_metrics_change_no_read_as_of_before(sandbox: Sandbox, desk: Open) -> None:
    def doubled(ask: Ask, reply: Reply) -> Reply:
        if "open-interest" not in ask.url:
            return reply
        body = orjson.loads(reply.body)
        for row in body["result"]["list"]:
            row["singleOpenInterest"] = str(float(row["singleOpenInterest"]) * 2)
        return replace(reply, body=orjson.dumps(body))

    one = desk("bybit")
    one.collect()
    source = [one.status()["bybit"].source]
    before = one.engine.store.observations("open_interest", source, NOW)
    assert len(before)
    later = NOW + 5 * HOUR
    sandbox.clock.move(later, 0)
    one.clock.advance_to(later)
    with Tap(spoil=doubled).listening():
        one.collect()
    assert one.status()["bybit"].restated > 0
    after = one.engine.store.observations("open_interest", source, NOW)
    assert after.drop("recorded_at").equals(before.drop("recorded_at"))
    assert one.rows(OBSERVATIONS)


def unlisted(ask: Ask, reply: Reply) -> Reply:
    """Answer as Binance does once ETHUSDT is no longer listed."""
    if "ETHUSDT" not in ask.url:
        return reply
    body = {"code": -1121, "msg": "Invalid symbol."}
    return replace(reply, status=400, body=orjson.dumps(body))


def test_h15_delisted_and_relisted_candles_keep_their_past(sandbox: Sandbox, desk: Open) -> None:
    one = desk("binance")
    one.collect()
    before, as_of = one.rows(CANDLES), NOW // HOUR * HOUR
    signals = answer(one, as_of)
    later = NOW + 6 * HOUR
    sandbox.clock.move(later, 0)
    one.clock.advance_to(later)
    with Tap(spoil=unlisted).listening():
        _restarted(one)
        one.collect()
    assert "ETHUSDT" in one.troubles()["binance"]
    gone = one.rows_of(CANDLES, "ETHUSDT")
    assert gone == {row for row in before if "ETHUSDT" in row}
    assert [s.id for s in answer(one, as_of)] == [s.id for s in signals]
    assert one.composes()
    # Listed again under its name: what comes is put after what there was.
    latest = later + 6 * HOUR
    sandbox.clock.move(latest, 0)
    one.clock.advance_to(latest)
    _restarted(one)
    one.collect()
    assert gone < one.rows_of(CANDLES, "ETHUSDT")
    assert [s.id for s in answer(one, as_of)] == [s.id for s in signals]


def test_h15_renamed_symbols_are_told(sandbox: Sandbox, desk: Open) -> None:
    def renamed(ask: Ask, reply: Reply) -> Reply:
        body = reply.body.replace(b'"BTCUSDT"', b'"XBTUSDT"').replace(b'"BTC"', b'"XBT"')
        return replace(reply, body=body) if "exchangeInfo" in ask.url else reply

    one = desk("binance")
    with Tap(spoil=renamed).listening():
        one.collect()
    # Described under another name, its candles are nobody's.
    assert set(one.engine.market.listings) == {"ETHUSDT"}
    assert "BTCUSDT" in one.troubles()["binance"]


def _restarted(one: Desk) -> None:
    """Forget what a provider remembers, as a restart does."""
    for configured in one.engine.composition.providers:
        fresh: Any = type(configured.component)(configured.component.config)
        vars(configured.component).update(vars(fresh))
