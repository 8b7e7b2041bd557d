"""H10, H13: times in another unit, of another zone, of a clock that is off or was set."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import orjson
import pytest

from tests.faults.http.test_every_provider import lost, wrong
from tests.faults.http.world import EXCHANGES, NOW, Desk, Rows
from weft.foundation.clock import SystemClock
from weft.foundation.times import DAY, HOUR, MINUTE, parse_time
from weft.sources.http.connection import Reply
from weft.store.tables import CANDLES, OBSERVATIONS
from weft.testing.providers.wiretap import Ask, Tap
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]

_WITH_LISTINGS = ("bybit", "binance_futures")
_YEARS = 10 * 365 * 86_400.0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "stamp_shift", "seconds": _YEARS},
        {"kind": "stamp_unit", "factor": 1_000.0},
        {"kind": "stamp_unit", "factor": 0.001},
    ],
    ids=["ahead", "too large", "too small"],
)
def test_h10_no_provider_stores_what_its_stamps_cannot_mean(
    sandbox: Sandbox, desk: Open, clean: Rows, fault: dict[str, Any]
) -> None:
    sandbox.fault(fault)
    one = desk()
    one.collect()
    assert wrong(one.rows(), clean) == []
    sandbox.heal()
    one.collect()
    assert lost(one.rows(), clean) == []
    assert one.composes()


@pytest.mark.parametrize("exchange", _WITH_LISTINGS)
def test_h10_an_instrument_that_lists_in_ten_years_is_named(
    sandbox: Sandbox, desk: Open, exchange: str
) -> None:
    sandbox.fault({"kind": "stamp_shift", "seconds": _YEARS})
    one = desk(exchange)
    one.collect()
    assert one.troubles()[exchange]
    sandbox.heal()
    one.collect()
    assert one.rows(CANDLES)


_AUTUMN = parse_time("2024-11-03T12:34:56Z")
"""New York's clocks went back at 06:00 UTC, Berlin's a week before at 01:00 UTC."""

_BERLIN = parse_time("2024-10-27T12:34:56Z")


def told_by_a_wall_clock(fold: int, summer: int, winter: int) -> Callable[[Ask, Reply], Reply]:
    """Tell Binance's candles by a clock on a wall, so many hours ahead of UTC."""

    def spoil(ask: Ask, reply: Reply) -> Reply:
        if "/api/v3/klines" not in ask.url:
            return reply
        rows = orjson.loads(reply.body)
        for row in rows:
            ahead = (summer if row[0] * 1_000 < fold else winter) * HOUR // 1_000
            # The open time and the close time are told by the same clock.
            row[0] += ahead
            row[6] += ahead
        return replace(reply, body=orjson.dumps(rows))

    return spoil


def told_wrongly(sandbox: Sandbox, desk: Open, now: int, summer: int, winter: int) -> Desk:
    one = desk("binance")
    one.clock.advance_to(now)
    sandbox.clock.move(now, 0)
    fold = now // DAY * DAY + (6 if summer < 0 else 1) * HOUR
    with Tap(spoil=told_by_a_wall_clock(fold, summer, winter)).listening():
        one.collect()
    return one


def test_h10_a_clock_on_a_wall_west_of_greenwich_is_refused(sandbox: Sandbox, desk: Open) -> None:
    one = told_wrongly(sandbox, desk, _AUTUMN, -4, -5)
    assert one.rows_of(CANDLES, "BTCUSDT") == set()
    assert "should be a time from startTime on" in one.troubles()["binance"]


def test_h10_a_clock_on_a_wall_east_of_greenwich_is_told_in_every_round(
    sandbox: Sandbox, desk: Open, clean_candles: Rows
) -> None:
    one = desk("binance")
    told = []
    with Tap(spoil=told_by_a_wall_clock(0, 2, 2)).listening():
        for hours in range(4):
            later = NOW + hours * HOUR
            sandbox.clock.move(later, 0)
            one.collect(at=later)
            told.append(one.troubles()["binance"])
    assert all("BTCUSDT: 2 candles refused, in the future" in line for line in told)
    # The known harm: what is stored stands two hours late, and one hour of three comes live.
    opened = {row[4] for row in one.rows_of(CANDLES, "BTCUSDT")}
    live = {f"2024-03-20 {hour}:00:00+00:00" for hour in (12, 13, 14)}
    assert opened & live == {"2024-03-20 14:00:00+00:00"}
    sound = {row[4]: row[5] for row in clean_candles if "BTCUSDT" in row and "binance" in row[1]}
    late = {row[4]: row[5] for row in one.rows_of(CANDLES, "BTCUSDT") if row[4] not in live}
    noon, before = "2024-03-19 12:00:00+00:00", "2024-03-19 10:00:00+00:00"
    assert late[noon] == sound[before] != sound[noon]
    assert min(late) == "2024-03-17 14:00:00+00:00"


def test_h10_an_hour_that_comes_twice_is_refused_and_named(sandbox: Sandbox, desk: Open) -> None:
    one = told_wrongly(sandbox, desk, _BERLIN, 2, 1)
    # 01:00 UTC in winter time and 00:00 UTC in summer time are both 02:00.
    twice = "2024-10-27 02:00:00+00:00"
    rows = one.rows_of(CANDLES, "BTCUSDT")
    assert rows
    assert twice not in {row[4] for row in rows}
    told = one.troubles()["binance"]
    assert "same open_time with different values, first at 2024-10-27T02:00:00Z" in told
    # Nor is anything stored that would close after now.
    assert max(row[4] for row in rows) <= "2024-10-27 11:00:00+00:00"


@pytest.mark.parametrize("when", ["2016-12-31T23:59:60Z", "Sat, 31 Dec 2016 23:59:60 GMT"])
def test_h10_a_leap_second_costs_no_other_row(
    sandbox: Sandbox, desk: Open, clean: Rows, when: str
) -> None:
    def leap(_: Ask, reply: Reply) -> Reply:
        times = b"Tue, 19 Mar 2024", b"2024-03-19T"
        body = reply.body
        for number, day in enumerate(times):
            at = body.find(day)
            if at >= 0:
                end = body.find(b"<" if number == 0 else b'"', at)
                body = body[:at] + when.encode() + body[end:]
        return replace(reply, body=body)

    one = desk("rss", "coingecko", "cryptopanic", "coinbase")
    with Tap(spoil=leap).listening():
        one.collect()
    # Told as the second before, as the second after, or left out: nothing else is touched.
    other = {row for row in one.rows() - clean if "2016-12-31" not in str(row)}
    assert {row for row in other if "2017-01-01 00:00:00" not in str(row)} == set()
    assert one.rows()


@pytest.mark.parametrize("back", [5 * MINUTE, HOUR, DAY])
def test_h13_a_clock_that_is_set_back_changes_nothing_stored(
    desk: Open, clean_candles: Rows, back: int
) -> None:
    one = desk(*EXCHANGES)
    one.collect()
    before = one.rows()
    # What no clock of this kind does by itself: somebody set it.
    one.clock._now = NOW - back
    one.collect()
    assert before <= one.rows()
    assert one.rows(CANDLES) == {row for row in clean_candles if row[0] == "candles"}
    assert one.composes()
    one.clock._now = NOW + 1
    one.collect()
    recorded = one.engine.store.lake.read(OBSERVATIONS, lambda rows: rows)["recorded_at"]
    assert max(recorded.dt.epoch("us").to_list()) >= NOW
    assert one.rows(CANDLES) == {row for row in clean_candles if row[0] == "candles"}


def test_h13_the_machines_clock_never_runs_back(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([NOW * 1_000, (NOW - 5 * MINUTE) * 1_000, (NOW + 1) * 1_000])
    monkeypatch.setattr("weft.foundation.clock.time.time_ns", lambda: next(told))
    clock = SystemClock()
    assert [clock.now() for _ in range(3)] == [NOW, NOW, NOW + 1]
