"""H17: what a cache on the way holds on to, and what never changes, as an engine meets it."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

from tests.faults.http.world import EXCHANGES, NOW, Desk
from weft.foundation.times import HOUR, SECOND
from weft.store.tables import CANDLES, OBSERVATIONS
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h17_the_same_payload_for_ever_brings_no_row_twice_and_goes_stale(
    sandbox: Sandbox, desk: Open, exchange: str
) -> None:
    one = desk(exchange)
    sandbox.fault({"kind": "cursor_loop", "provider": exchange})
    one.collect()
    before = one.rows(CANDLES)
    assert before
    for hours in (1, 2, 6):
        later = NOW + hours * HOUR
        sandbox.clock.move(later, 0)
        one.collect(at=later)
    assert one.rows(CANDLES) == before
    newest = one.status()[exchange].newest_candle
    assert newest is not None
    assert newest <= NOW
    # Who reads a signal sees that nothing came: it is not told as live.
    as_of = (NOW + 6 * HOUR) // HOUR * HOUR
    report = one.engine.report(one.engine.compose(one.engine.view(as_of)))
    assert {signal.data.status for signal in report.signals} <= {"stale", "missing"}


def test_h17_an_order_book_kept_on_the_way_is_not_told_as_of_now(
    sandbox: Sandbox, desk: Open
) -> None:
    sandbox.fault({"kind": "age", "seconds": 5_000, "path": "*/depth"})
    one = desk("binance")
    one.collect()
    frame = one.engine.store.lake.read(OBSERVATIONS, lambda rows: rows)
    told = frame["event_time"].dt.epoch("us").to_list()
    assert told
    assert max(told) <= NOW - 5_000 * SECOND
    # But nobody could know it before it came.
    assert min(frame["known_at"].dt.epoch("us").to_list()) >= NOW
    assert one.status()["binance"].stale > 0
