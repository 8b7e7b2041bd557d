"""The market: what is held in memory and what is read from disk are one and the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from weft.collect.checks.clean import CANDLE_SCHEMA, OBSERVATION_SCHEMA
from weft.components.feature import Feature
from weft.components.needs import CandleNeed, FeatureNeed, MetricNeed, Need
from weft.components.needs import feature as feature_need
from weft.domain.candles import FIELDS, Presence
from weft.domain.instruments import Instrument, describe
from weft.domain.reconcile import Reconciliation
from weft.features.engine import FeatureEngine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import LookAheadError, NoDataError
from weft.foundation.times import DAY, HOUR, SECOND, Interval, parse_time
from weft.market.facts import Facts
from weft.market.market import Market
from weft.market.metrics import metric_panel
from weft.market.plan import make_plan
from weft.market.view import View
from weft.store.lake import Lake
from weft.store.store import Store
from weft_plugins.features.momentum import Rsi

H1, H4 = Interval.parse("1h"), Interval.parse("4h")
FRIDAY = parse_time("2024-03-01T00:00:00Z")
RSI = feature_need("rsi", window=3)
NEEDS: tuple[Need, ...] = (CandleNeed(None, 4), CandleNeed(H4, 1), RSI)
COMPARED = (*FIELDS, "times", "presence", "rows_since_traded", "aside", "age_seconds", "closable")


def candles(symbol: str, opened: Sequence[int], price: float = 100.0) -> pl.DataFrame:
    """Candles whose prices tell when they were opened."""
    prices = [price + t % (7 * HOUR) / HOUR for t in opened]
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(opened),
            "interval": ["1h"] * len(opened),
            "open_time": list(opened),
            **dict.fromkeys(FIELDS, prices),
            "known_at": [t + HOUR for t in opened],
        },
        schema=CANDLE_SCHEMA,
    )


def coin_hours(first: int, last: int) -> list[int]:
    return [first + k * HOUR for k in range((last - first) // HOUR)]


def stock_hours(first: int, last: int) -> list[int]:
    """Opens of a stock's bars: 14:30 to 20:30 on weekdays."""
    bars = [first + k * HOUR + HOUR // 2 for k in range((last - first) // HOUR)]
    return [t for t in bars if 14 <= t % DAY // HOUR <= 19 and (t // DAY + 3) % 7 < 5]


def make_feature(need: FeatureNeed) -> Feature:
    return Rsi(Rsi.Config.model_validate(dict(need.params)))


def market_of(store: Store, *sources: str, needs: Sequence[Need] = NEEDS, delay: int = 0) -> Market:
    plan = make_plan(H1, H1, needs, make_feature, delay)
    return Market(store, sources, plan, make_feature, FeatureEngine(1))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return described(tmp_path)


def described(folder: Path) -> Store:
    """A store that knows of two coins and a stock, of each of two sources."""
    made = Store(Lake(folder / "lake"), SimulatedClock(FRIDAY + 30 * DAY))
    for source in ("a", "b"):
        made.describe_instruments(
            source, [describe("BTCUSDT"), describe("ETHUSDT"), describe("ACME")]
        )
    return made


def assert_same(live: View, disk: View) -> None:
    assert live.symbols == disk.symbols
    for interval in ("1h", "4h"):
        for name in COMPARED:
            found, expected = (getattr(v.candles(interval), name) for v in (live, disk))
            assert_array_equal(found, expected, err_msg=f"{name} {interval}")
    assert_array_equal(live.feature(RSI), disk.feature(RSI))


def seen(view: View) -> View:
    return view.restricted(NEEDS, "layer test")


def test_live_and_disk_show_the_same_hour_by_hour_across_a_weekend(store: Store) -> None:
    """A coin, and a stock whose bars close at half past; less is loaded than the weekend lasts."""
    opens = {"BTCUSDT": coin_hours, "ACME": stock_hours}
    for symbol, hours in opens.items():
        store.append_candles("a", candles(symbol, hours(FRIDAY - 20 * DAY, FRIDAY + 18 * HOUR)))
    live = market_of(store, "a")
    live.warm_up_to(FRIDAY + 18 * HOUR)
    evening = range(FRIDAY + 37 * HOUR // 2, FRIDAY + 23 * HOUR, HOUR // 2)
    monday = range(FRIDAY + 3 * DAY + 14 * HOUR, FRIDAY + 3 * DAY + 17 * HOUR, HOUR // 2)
    before = FRIDAY + 18 * HOUR
    for now in (*evening, *monday):
        for symbol, hours in opens.items():
            closed = [t for t in hours(before - 2 * HOUR, now) if before < t + HOUR <= now]
            live.absorb("a", [store.append_candles("a", candles(symbol, closed)).rows])
        before = now
        if now % HOUR == 0:
            live.warm_up_to(now)
            assert live._hot is not None
            assert_same(seen(live.view(now)), seen(market_of(store, "a").view(now)))
    sunday = live.view(FRIDAY + 2 * DAY).candles()
    stock = sunday.symbols.index("ACME")
    assert sunday.presence[-1, stock] == Presence.CLOSED
    assert sunday.rows_since_traded[-1, stock] == 27
    assert np.isnan(sunday.close[-1, stock])


def test_one_row_of_many_is_what_a_view_of_it_shows(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY - 9 * DAY, FRIDAY + 4 * DAY)))
    store.append_candles("a", candles("ACME", stock_hours(FRIDAY - 9 * DAY, FRIDAY + 4 * DAY)))
    market = market_of(store, "a", needs=[CandleNeed(None, 4)])
    many = market.view(FRIDAY + 4 * DAY, steps=80).candles()
    for back in (0, 30, 60, 79):
        one = market.view(FRIDAY + 4 * DAY - back * HOUR).candles()
        for name in COMPARED[:-1]:
            assert_array_equal(
                getattr(many, name)[len(many) - back - 1], getattr(one, name)[-1], err_msg=name
            )


def test_a_late_candle_shows_at_once_in_what_is_held(store: Store) -> None:
    hours = coin_hours(FRIDAY, FRIDAY + DAY)
    store.append_candles("a", candles("BTCUSDT", [h for h in hours if h != hours[20]]))
    live = market_of(store, "a")
    live.warm_up_to(FRIDAY + DAY)
    assert np.isnan(live.view(FRIDAY + DAY).candles().close).any()
    live.absorb("a", [store.append_candles("a", candles("BTCUSDT", [hours[20]])).rows])
    assert live._hot is not None
    assert_same(seen(live.view(FRIDAY + DAY)), seen(market_of(store, "a").view(FRIDAY + DAY)))
    assert not np.isnan(seen(live.view(FRIDAY + DAY)).candles().close).any()


def test_a_new_symbol_gets_a_column_and_a_source_that_is_preferred_takes_over(
    store: Store,
) -> None:
    hours = coin_hours(FRIDAY, FRIDAY + DAY)
    store.append_candles("b", candles("BTCUSDT", hours))
    live = market_of(store, "a", "b")
    live.warm_up_to(FRIDAY + DAY)
    for source, symbol, price in (("b", "ETHUSDT", 7.0), ("a", "BTCUSDT", 500.0)):
        rows = store.append_candles(source, candles(symbol, hours[-2:], price)).rows
        live.absorb(source, [rows])
        assert_same(
            seen(live.view(FRIDAY + DAY)), seen(market_of(store, "a", "b").view(FRIDAY + DAY))
        )
    view = live.view(FRIDAY + DAY)
    assert view.symbols == ("BTCUSDT", "ETHUSDT")
    in_use = live.listings["BTCUSDT"].at(FRIDAY + DAY)
    assert in_use is not None
    assert in_use.source == "a"
    assert (seen(view).candles().close[-1] >= 500).tolist() == [True, False]


def test_a_preferred_source_that_begins_later_takes_over_from_its_first_candle_on(
    store: Store,
) -> None:
    store.append_candles("b", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + 2 * DAY)))
    earlier = seen(market_of(store, "a", "b").view(FRIDAY + DAY))
    live = market_of(store, "a", "b")
    live.warm_up_to(FRIDAY + DAY)
    opened = coin_hours(FRIDAY + DAY, FRIDAY + 2 * DAY)
    live.absorb("a", [store.append_candles("a", candles("BTCUSDT", opened, 110.0)).rows])
    disk = market_of(store, "a", "b")
    assert_same(seen(disk.view(FRIDAY + DAY)), earlier)
    for as_of in (FRIDAY + DAY + HOUR, FRIDAY + DAY + 3 * HOUR):
        assert_same(seen(live.view(as_of)), seen(disk.view(as_of)))
    whole = disk.view(FRIDAY + 2 * DAY, steps=48).candles().close[-48:, 0]
    assert (whole[:24] < 110).all()
    assert (whole[24:] >= 110).all()
    rows = [disk.view(FRIDAY + h * HOUR).candles().close[-1, 0] for h in range(1, 49)]
    assert_array_equal(whole, rows)


def test_two_sources_of_one_symbol_do_not_make_live_read_from_disk(store: Store) -> None:
    for source, price in (("b", 100.0), ("a", 500.0)):
        opened = coin_hours(FRIDAY, FRIDAY + DAY)
        store.append_candles(source, candles("BTCUSDT", opened, price))
    live = market_of(store, "a", "b")
    live.warm_up_to(FRIDAY + DAY)
    for source, price in (("b", 100.0), ("a", 500.0)):
        rows = store.append_candles(source, candles("BTCUSDT", [FRIDAY + DAY], price)).rows
        live.absorb(source, [rows])
        assert live._hot is not None
    later = FRIDAY + DAY + HOUR
    assert_same(seen(live.view(later)), seen(market_of(store, "a", "b").view(later)))


def test_nothing_says_that_an_instrument_will_stop_trading(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    before = market_of(store, "a").view(FRIDAY + DAY).instruments
    gone = replace(describe("BTCUSDT"), delisted=FRIDAY + DAY + HOUR)
    store.describe_instruments("a", [gone])
    market = market_of(store, "a")
    assert market.view(FRIDAY + DAY).instruments == before
    assert market.view(FRIDAY + DAY + HOUR).instruments == (gone,)


def late_candles(seconds: int) -> pl.DataFrame:
    known_at = pl.col("known_at") + pl.duration(seconds=seconds)
    return candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)).with_columns(known_at)


def test_a_source_that_is_late_is_seen_where_the_decision_waits_for_it(store: Store) -> None:
    store.append_candles("a", late_candles(30))
    assert np.isnan(market_of(store, "a").view(FRIDAY + DAY).candles().close).all()
    waiting = market_of(store, "a", delay=30 * SECOND)
    disk = seen(waiting.view(FRIDAY + DAY))
    assert (disk.candles().close[-1] > 100).all()
    waiting.warm_up_to(FRIDAY + DAY)
    assert waiting._hot is not None
    assert_same(seen(waiting.view(FRIDAY + DAY)), disk)


def test_a_fact_that_becomes_known_before_the_decision_counts(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    fact = ("m", "asset", "BTC", FRIDAY, FRIDAY + DAY + 20 * SECOND, 7.0)
    store.append_observations("a", pl.DataFrame([fact], OBSERVATION_SCHEMA, orient="row"))
    needs = [MetricNeed("m", 0)]
    for delay, expected in ((0, np.nan), (20 * SECOND, 7.0)):
        view = market_of(store, "a", needs=needs, delay=delay).view(FRIDAY + DAY)
        metric = view.restricted(needs, "x").metric("m")
        assert_array_equal(metric.values, [[expected]])
        assert_array_equal(metric.times, [FRIDAY + DAY])


def test_facts_taken_in_show_like_those_read_from_disk(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    needs = [MetricNeed("m", 20)]
    live = market_of(store, "a", needs=needs)
    for hour, value in enumerate([1.0, 2.0, 3.0, 2.5]):
        event = FRIDAY + min(hour, 2) * HOUR
        fact = ("m", "asset", "BTC", event, event + HOUR + hour, value)
        added = store.append_observations(
            "a", pl.DataFrame([fact], OBSERVATION_SCHEMA, orient="row")
        )
        live.absorb_facts(added.rows)
        disk = market_of(store, "a", needs=needs)
        found, expected = (
            market.view(FRIDAY + DAY).restricted(needs, "x").metric("m") for market in (live, disk)
        )
        assert_array_equal(found.values, expected.values)
        assert_array_equal(found.age_seconds, expected.age_seconds)
    assert found.values[-1, 0] == 3.0


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_facts_kept_from_some_instant_on_tell_what_all_of_them_tell(data: st.DataObject) -> None:
    """Late corrections too: a view after an earlier or a later one shows what the first would."""
    hours = st.integers(-30, 24)
    facts = data.draw(st.dictionaries(st.tuples(hours, hours), st.floats(-9, 9), max_size=12))
    asked = data.draw(st.lists(st.tuples(st.integers(1, 24), st.integers(1, 5)), max_size=4))
    needs = [MetricNeed("m", 2)]
    with TemporaryDirectory() as folder:
        store = described(Path(folder))
        store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
        rows = [
            ("m", "asset", "BTC", at, at + abs(lag) * HOUR, value)
            for (event, lag), value in facts.items()
            for at in [FRIDAY + event * HOUR]
        ]
        frame = pl.DataFrame(rows, OBSERVATION_SCHEMA, orient="row")
        store.append_observations("a", frame)
        told = Facts(store, ["a"]).of("m", FRIDAY - 99 * HOUR)
        live = market_of(store, "a", needs=needs)
        for hour, steps in asked:
            times = FRIDAY + np.arange(hour - steps - 1, hour + 1, dtype=np.int64) * HOUR
            found = live.view(FRIDAY + hour * HOUR, steps).restricted(needs, "x").metric("m")
            expected = metric_panel(
                "m",
                told,
                ["a"],
                live.view(FRIDAY + DAY).instruments,
                Reconciliation(),
                live.plan,
                times,
            )
            assert_array_equal(found.values, expected.values)
            assert_array_equal(found.age_seconds, expected.age_seconds)


@pytest.mark.parametrize("piece", [50, 300])
def test_what_is_read_in_pieces_is_what_is_read_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """Restated candles, late ones, and bars that close at half past, over the ends of pieces."""
    span = (FRIDAY - 9 * DAY, FRIDAY + 4 * DAY)
    for symbol, hours in (("BTCUSDT", coin_hours), ("ACME", stock_hours)):
        opens = hours(*span)
        store.append_candles("a", candles(symbol, [t for k, t in enumerate(opens) if k % 13]))
        late = candles(symbol, opens[::5], price=200.0)
        store.append_candles("a", late.with_columns(pl.col("known_at").dt.offset_by("1m")))
    whole = market_of(store, "a", delay=120 * SECOND)
    many, one = whole.view(FRIDAY + 4 * DAY, steps=200), whole.view(FRIDAY + 4 * DAY)
    monkeypatch.setattr("weft.market.market._PIECE", piece)
    in_pieces, live = (market_of(store, "a", delay=120 * SECOND) for _ in range(2))
    live.warm_up_to(FRIDAY + 4 * DAY)
    assert_same(seen(in_pieces.view(FRIDAY + 4 * DAY, steps=200)), seen(many))
    assert_same(seen(live.view(FRIDAY + 4 * DAY)), seen(one))
    assert live._hot is not None


def test_the_market_as_recorded_then_shows_nothing_written_since(tmp_path: Path) -> None:
    clock = SimulatedClock(FRIDAY + 30 * DAY)
    store = Store(Lake(tmp_path), clock)
    hours = coin_hours(FRIDAY, FRIDAY + DAY)
    store.describe_instruments("a", [describe("BTCUSDT")])
    store.append_candles("a", candles("BTCUSDT", [h for h in hours if h != hours[20]]))
    market = market_of(store, "a")
    then = market.view(FRIDAY + DAY)
    clock.advance_to(clock.now() + HOUR)
    store.describe_instruments("a", [describe("ETHUSDT")])
    for frame in (candles("BTCUSDT", [hours[20]]), candles("ETHUSDT", hours)):
        market.absorb("a", [store.append_candles("a", frame).rows])
    now = market.view(FRIDAY + DAY)
    assert now.symbols == ("BTCUSDT", "ETHUSDT")
    assert not np.isnan(now.candles().close[-24:]).any()
    again = market.as_recorded(then.loaded.read_at).view(FRIDAY + DAY)
    assert_same(seen(again), seen(then))


def test_symbols_that_may_still_come_are_awaited(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    store.append_candles("a", candles("ETHUSDT", coin_hours(FRIDAY, FRIDAY + DAY - 2 * HOUR)))
    store.append_candles("a", candles("ACME", stock_hours(FRIDAY, FRIDAY + DAY)))
    market = market_of(store, "a")
    assert market.awaited(FRIDAY + DAY, 3) == ["ACME", "ETHUSDT"]
    assert market.awaited(FRIDAY + DAY + 2 * HOUR, 3) == ["ACME", "BTCUSDT"]
    assert market.awaited(FRIDAY + 9 * DAY, 3) == ["ACME"]
    assert market.awaited(FRIDAY + 20 * DAY, 3) == []


def test_instruments_enter_with_their_first_candle_and_stay_after_their_last(
    store: Store,
) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + 2 * DAY)))
    store.append_candles("a", candles("ETHUSDT", coin_hours(FRIDAY + DAY, FRIDAY + DAY + 4 * HOUR)))
    market = market_of(store, "a")
    assert market.view(FRIDAY + DAY).symbols == ("BTCUSDT",)
    assert market.view(FRIDAY + 2 * DAY).symbols == ("BTCUSDT", "ETHUSDT")
    assert market.last_close == FRIDAY + 2 * DAY
    assert market.instruments["ETHUSDT"] == describe("ETHUSDT")


def test_a_symbol_nobody_described_is_not_shown(store: Store) -> None:
    store.append_candles("a", candles("ODDUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    assert market_of(store, "a").view(FRIDAY + DAY).symbols == ("BTCUSDT",)


def test_before_any_candle_there_is_nothing_to_see(store: Store) -> None:
    empty = market_of(store, "a")
    assert empty.last_close is None
    with pytest.raises(NoDataError, match="weft doctor"):
        empty.view(FRIDAY)
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    with pytest.raises(NoDataError, match="earliest stored candle closed at 2024-03-01T01"):
        market_of(store, "a").view(FRIDAY)
    with pytest.raises(LookAheadError, match="at least one"):
        market_of(store, "a").view(FRIDAY + DAY, steps=0)


def test_a_view_between_two_closes_is_the_view_of_the_earlier_one(store: Store) -> None:
    store.append_candles("a", candles("BTCUSDT", coin_hours(FRIDAY, FRIDAY + DAY)))
    assert market_of(store, "a").view(FRIDAY + DAY - 1).as_of == FRIDAY + DAY - HOUR


def test_facts_reach_the_instruments_they_are_about(tmp_path: Path) -> None:
    store = Store(Lake(tmp_path), SimulatedClock(FRIDAY + 9 * DAY))
    perpetual = Instrument(symbol="BTC-PERP", base="BTC", quote="USD")
    store.describe_instruments("a", [describe("BTCUSDT"), describe("ETHUSDT"), perpetual])
    for symbol in ("BTCUSDT", "ETHUSDT", "BTC-PERP"):
        store.append_candles("a", candles(symbol, coin_hours(FRIDAY, FRIDAY + DAY)))
    facts = [
        ("m", "market", "", FRIDAY, FRIDAY + HOUR, 1.0),
        ("m", "asset", "BTC", FRIDAY, FRIDAY + 2 * HOUR, 2.0),
        ("m", "instrument", "BTCUSDT", FRIDAY, FRIDAY + 3 * HOUR, 3.0),
    ]
    for fact in facts:
        frame = pl.DataFrame([fact], OBSERVATION_SCHEMA, orient="row")
        store.append_observations("a", frame)
    market = market_of(store, "a", needs=[MetricNeed("m", 0)])
    view = market.view(FRIDAY + 4 * HOUR, steps=4).restricted([MetricNeed("m", 0)], "x")
    assert view.symbols == ("BTC-PERP", "BTCUSDT", "ETHUSDT")
    assert view.metric("m").values.tolist() == [
        [1.0, 1.0, 1.0],
        [2.0, 2.0, 1.0],
        [2.0, 3.0, 1.0],
        [2.0, 3.0, 1.0],
    ]
    assert view.metric("m").age_seconds[:, 2].tolist() == [3600.0, 7200.0, 10_800.0, 14_400.0]
