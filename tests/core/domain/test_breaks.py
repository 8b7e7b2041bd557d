"""Breaks: splits, redenominations and halts, told apart from wild but genuine moves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from weft.domain.breaks import Aside, break_rules, judge, lead_rows
from weft.domain.candles import Candles, Presence, aggregate, candles_from_arrays, closable_rows
from weft.domain.instruments import Instrument, describe
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import Interval
from weft.market.panels import panel_of

D1, H1, M1 = (Interval.parse(name) for name in ("1d", "1h", "1m"))
COIN, STOCK = describe("BTCUSDT"), describe("ACME")


def walk(rows: int, price: float = 1000.0, seed: int = 0) -> dict[str, FloatPanel]:
    """Candles of one symbol that open where the one before closed (time, 1)."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
    opened = np.concatenate([[price], close[:-1]])
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * 1.004,
        "low": np.minimum(opened, close) * 0.996,
        "close": close,
        "volume": np.full(rows, 50.0),
    }
    return {name: panel[:, None].copy() for name, panel in columns.items()}


def scaled(panels: dict[str, FloatPanel], row: int, factor: float) -> dict[str, FloatPanel]:
    """The same with all prices from a row on multiplied, and volumes divided."""
    for name, panel in panels.items():
        panel[row:] *= 1 / factor if name == "volume" else factor
    return panels


def filled(panels: dict[str, FloatPanel], first: int, count: int) -> dict[str, FloatPanel]:
    """The same with one price and no volume on some rows, as venues fill a halt."""
    last = panels["close"][first - 1, 0]
    for name, panel in panels.items():
        panel[first : first + count] = 0.0 if name == "volume" else last
    return panels


def asides(
    panels: dict[str, FloatPanel], interval: Interval = D1, instrument: Instrument = STOCK
) -> list[int]:
    rules = break_rules(interval, closable_rows([instrument], interval))
    before = np.full(1, np.nan), np.full(1, -1, dtype=np.int32)
    return [int(aside) for aside in judge(panels, rules, *before)[:, 0]]


@pytest.mark.parametrize("factor", [1 / 3, 1 / 20, 1 / 2, 2 / 3, 10.0, 25.0, 1000.0, 1 / 1000])
@pytest.mark.parametrize("instrument", [COIN, STOCK])
def test_a_factor_that_stays_breaks_the_series_at_its_first_candle(
    instrument: Instrument, factor: float
) -> None:
    found = asides(scaled(walk(60), 30, factor), D1, instrument)
    assert found[30] == Aside.LEAP
    assert sum(found) == Aside.LEAP


@pytest.mark.parametrize("fall", [0.3, 0.1, 0.03])
def test_a_crash_that_trades_all_the_way_is_no_break(fall: float) -> None:
    """Luna fell by more than nine tenths within hours, and each candle opened where one closed."""
    panels = scaled(walk(60), 31, fall)
    panels["close"][30] *= fall
    panels["low"][30] *= fall
    assert set(asides(panels, H1, COIN)) == {Aside.COUNTS}


@pytest.mark.parametrize("gap", [0.58, 0.75, 1.35, 1.7])
def test_what_news_do_to_a_stock_overnight_is_no_split(gap: float) -> None:
    assert set(asides(scaled(walk(60), 30, gap))) == {Aside.COUNTS}


def test_a_price_that_leaps_and_comes_back_leaves_the_candle_out_and_starts_afresh() -> None:
    panels = walk(60)
    for name in ("open", "high", "low", "close"):
        panels[name][30] *= 20.0
    found = asides(panels, H1, COIN)
    assert found[30:32] == [Aside.LEAP, Aside.LEAP]
    assert sum(found) == 2


def test_a_redenomination_within_a_candle_breaks_the_series() -> None:
    panels = scaled(walk(60), 31, 1000.0)
    panels["close"][30] *= 1000.0
    panels["high"][30] *= 1000.0
    assert asides(panels, D1, COIN)[30] == Aside.LEAP


@pytest.mark.parametrize(
    ("interval", "instrument", "count", "halted"),
    [(H1, COIN, 72, 67), (H1, COIN, 5, 0), (D1, STOCK, 2, 1), (D1, STOCK, 1, 0), (M1, COIN, 90, 0)],
)
def test_one_price_without_volume_is_a_halt_once_it_lasts(
    interval: Interval, instrument: Instrument, count: int, halted: int
) -> None:
    found = asides(filled(walk(200), 100, count), interval, instrument)
    assert found.count(Aside.IDLE) == halted
    assert found[: 100 + count - halted] == [0] * (100 + count - halted)
    assert found[100 + count :] == [0] * (100 - count)


def test_closes_alone_without_volume_are_no_halt() -> None:
    panels = walk(100)
    for name in ("open", "high", "low"):
        panels[name] = panels["close"].copy()
    panels["volume"][:] = 0.0
    assert set(asides(panels, H1, COIN)) == {Aside.COUNTS}


@pytest.mark.parametrize("instrument", [COIN, STOCK])
@pytest.mark.parametrize("interval", [D1, H1])
def test_a_panel_that_begins_later_judges_alike(interval: Interval, instrument: Instrument) -> None:
    panels = scaled(filled(scaled(walk(400), 60, 0.1), 100, 90), 300, 3.0)
    if instrument is STOCK:
        rests = np.arange(400) % 24 > 7 if interval is H1 else np.arange(400) % 7 > 4
        for panel in panels.values():
            panel[rests] = np.nan
    opened = np.arange(400) * interval.micros
    there = ~np.isnan(panels["close"][:, 0])
    frame = pl.DataFrame(
        {
            "symbol": [instrument.symbol] * int(there.sum()),
            "open_time": opened[there],
            "known_at": (opened + interval.micros)[there],
            **{name: panel[there, 0] for name, panel in panels.items()},
        },
        schema_overrides={
            "open_time": pl.Datetime("us", "UTC"),
            "known_at": pl.Datetime("us", "UTC"),
        },
    )
    lead = lead_rows(interval, sessions=instrument is STOCK)
    whole = panel_of([frame], interval, [instrument], interval.micros, 400)
    assert {Aside.LEAP, Aside.IDLE} < set(whole.aside[:, 0].tolist())
    for first in range(lead, 400, 7):
        begun = (first - lead + 1) * interval.micros
        late = panel_of([frame], interval, [instrument], begun, 400 - first + lead)
        for name in ("close", "aside", "presence"):
            np.testing.assert_array_equal(
                getattr(late, name)[lead:], getattr(whole, name)[first:], err_msg=f"{name} {first}"
            )


def built(
    panels: dict[str, FloatPanel], interval: Interval, instrument: Instrument, marks: Sequence[int]
) -> Candles:
    times = (np.arange(len(panels["close"]), dtype=np.int64) + 1) * interval.micros
    aside = np.array(marks, dtype=np.int8)[:, None]
    return candles_from_arrays(interval, times, [instrument], panels, None, aside)


@pytest.mark.parametrize("instrument", [COIN, STOCK])
def test_a_long_candle_in_which_the_price_leapt_is_none(instrument: Instrument) -> None:
    panels = scaled(walk(72), 30, 0.05)
    marks = asides(panels, H1, instrument)
    days = aggregate(built(panels, H1, instrument, marks), D1)
    assert days.presence[:, 0].tolist() == [Presence.TRADED, Presence.HOLE, Presence.TRADED]
    assert days.aside[:, 0].tolist() == [Aside.COUNTS, Aside.LEAP, Aside.COUNTS]
    assert np.isnan(days.close[1, 0])
    assert days.leapt_within(1)[:, 0].tolist() == [False, True, False]
    assert days.leapt_within(2)[:, 0].tolist() == [False, True, True]


def test_a_halt_closes_a_market_with_sessions_and_breaks_one_without() -> None:
    panels = filled(walk(30), 10, 15)
    for instrument, kind in ((STOCK, Presence.CLOSED), (COIN, Presence.HOLE)):
        copies = {name: panel.copy() for name, panel in panels.items()}
        found = built(copies, D1, instrument, asides(panels, D1, instrument))
        assert found.presence[11:25, 0].tolist() == [kind] * 14
        assert found.presence[25, 0] == Presence.TRADED


def counts(frame: pl.DataFrame, time: str, interval: Interval, *, stock: bool) -> dict[Aside, int]:
    """How many candles of a real series are set aside, by reason."""
    frame = frame.filter(pl.all_horizontal(pl.col("open", "high", "low", "close") > 0)).sort(time)
    opened = frame[time].cast(pl.Datetime("us")).to_physical().to_numpy()
    row = (opened - opened[0]) // interval.micros
    panels = {}
    for name in ("open", "high", "low", "close", "volume"):
        panels[name] = np.full((int(row[-1]) + 1, 1), np.nan)
        panels[name][row, 0] = frame[name].to_numpy()
    found = asides(panels, interval, STOCK if stock else COIN)
    return {kind: found.count(kind) for kind in (Aside.LEAP, Aside.IDLE)}


@pytest.mark.slow
def test_no_genuine_hour_of_any_coin_is_a_break(real_data: Path) -> None:
    """Seven years of eighty coins, with March 2020, Luna and FTX among them."""
    total = {Aside.LEAP: 0, Aside.IDLE: 0}
    for file in sorted((real_data / "crypto_spot_1h").glob("*.parquet")):
        for kind, count in counts(pl.read_parquet(file), "open_time", H1, stock=False).items():
            total[kind] += count
    assert total[Aside.LEAP] == 0


def test_of_380_years_of_stocks_one_genuine_gap_passes_for_a_split(real_data: Path) -> None:
    leaps, idle = {}, {}
    for name in ("equities_1d", "etf_and_smallcap_1d"):
        frame = pl.read_parquet(real_data / "equities_1d" / f"{name}.parquet")
        for (symbol,), part in frame.partition_by("symbol", as_dict=True).items():
            found = counts(part, "date", D1, stock=True)
            leaps[symbol], idle[symbol] = found[Aside.LEAP], found[Aside.IDLE]
    # Rigetti fell by 31 % overnight on 2025-01-08; prices are adjusted, so that no split is there.
    assert {symbol: count for symbol, count in leaps.items() if count} == {"RGTI": 1}
    # As a shell company in 2021, it went days without a trade.
    assert {symbol: count for symbol, count in idle.items() if count} == {"RGTI": 2}
