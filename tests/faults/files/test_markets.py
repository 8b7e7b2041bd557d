"""Files of sparse, halted and split markets, through a complete engine."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support import ALONE, make_engine
from weft.domain.signal import Direction, LayerStatus, Signal
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, MINUTE, iso, parse_time

END = parse_time("2026-03-02T00:00:00Z")
"""Close of the newest candle."""

PRICES = ("open", "high", "low", "close")
Change = Callable[[pl.DataFrame], pl.DataFrame]


def walk(rows: int, step: int, volatility: float, seed: int = 6) -> pl.DataFrame:
    """Return candles that end at `END`, each of which opens where the one before closed."""
    rng = np.random.default_rng(seed)
    close = 1000 * np.exp(np.cumsum(rng.normal(0, volatility, rows)))
    opened = np.r_[1000.0, close[:-1]]
    return pl.DataFrame(
        {
            "open_time": [iso(END - (rows - n) * step) for n in range(rows)],
            "open": opened,
            "high": np.maximum(opened, close) * (1 + volatility / 3),
            "low": np.minimum(opened, close) * (1 - volatility / 3),
            "close": close,
            "volume": rng.lognormal(4, 0.5, rows),
        }
    )


def signal_of(folder: Path, frame: pl.DataFrame, symbol: str, *options: str) -> Signal:
    """Return the signal at `END` from a CSV file of one symbol."""
    place = folder / "data"
    place.mkdir(parents=True)
    frame.write_csv(place / f"{symbol}.csv", null_value="")
    over = (f"providers.files.path={place}", *ALONE, *options)
    engine = make_engine(folder, *over, clock=SimulatedClock(END))
    try:
        asyncio.run(engine.update())
        (signal,) = engine.report(engine.compose(engine.view(END))).signals
    finally:
        engine.close()
    return signal


# Minutes without a trade


def is_silent(rows: int) -> pl.Series:
    """Return two of a hundred rows, but not the first and the last."""
    silent = np.random.default_rng(3).random(rows) < 0.02
    silent[[0, -1]] = False
    return pl.Series(silent)


def as_nan(frame: pl.DataFrame) -> pl.DataFrame:
    silent = is_silent(len(frame))
    return frame.with_columns(
        pl.when(silent).then(float("nan")).otherwise(pl.col(name)).alias(name)
        for name in (*PRICES, "volume")
    )


def as_empty_fields(frame: pl.DataFrame) -> pl.DataFrame:
    return as_nan(frame).with_columns(pl.col(*PRICES, "volume").fill_nan(None))


def left_out(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(~is_silent(len(frame)))


@pytest.mark.parametrize("change", [as_nan, as_empty_fields, left_out])
def test_minutes_without_a_trade_do_not_hide_the_hour(tmp_path: Path, change: Change) -> None:
    minutes = walk(500 * 60, MINUTE, 0.0008)
    base = "base_interval=1m"
    full = signal_of(tmp_path / "full", minutes, "BTCUSD", base)
    sparse = signal_of(tmp_path / "sparse", change(minutes), "BTCUSD", base)
    (layer,) = [layer for layer in sparse.layers if layer.name == "technical"]
    assert layer.status is LayerStatus.OK
    assert sparse.data.coverage == full.data.coverage == 1.0
    assert sparse.entry == full.entry
    assert sparse.score == pytest.approx(full.score, abs=5)


# Halts


def halted(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Fill the last rows with one price and no volume, as venues do while a market is halted."""
    last = frame["close"][-rows - 1]
    stopped = pl.int_range(pl.len()) >= len(frame) - rows
    return frame.with_columns(
        *(pl.when(stopped).then(last).otherwise(pl.col(n)).alias(n) for n in PRICES),
        volume=pl.when(stopped).then(0.0).otherwise("volume"),
    )


@pytest.mark.parametrize(
    ("symbol", "step", "interval", "rows"),
    [("HALTUSDT", HOUR, "1h", 72), ("HALT-USD", HOUR, "1h", 24), ("HALTUSDT", DAY, "1d", 20)],
)
def test_a_market_that_does_not_trade_gets_no_position(
    tmp_path: Path, symbol: str, step: int, interval: str, rows: int
) -> None:
    frame = halted(walk(500, step, 0.006), rows)
    signal = signal_of(tmp_path, frame, symbol, f"interval={interval}")
    assert signal.direction is Direction.NEUTRAL
    assert signal.position_size == 0
    assert signal.stop_loss is None
    assert any("not trading" in note for note in signal.data.notes)


# Splits and redenominations


def split(frame: pl.DataFrame, factor: float, rows: int = 20) -> pl.DataFrame:
    """Divide the prices of the last rows, as a vendor does that does not adjust its history."""
    after = pl.int_range(pl.len()) >= len(frame) - rows
    return frame.with_columns(
        pl.when(after).then(pl.col(name) / factor).otherwise(pl.col(name)).alias(name)
        for name in PRICES
    )


@pytest.mark.parametrize(
    ("symbol", "step", "interval", "factor"),
    [
        ("TSLA", DAY, "1d", 3),
        ("GOOGL", DAY, "1d", 20),
        ("MEGAUSDT", DAY, "1d", 1000),
        ("RENAMEDUSDT", HOUR, "1h", 1 / 1000),
        ("OTHERUSDT", HOUR, "1h", 10),
    ],
)
def test_no_level_is_measured_across_a_split(
    tmp_path: Path, symbol: str, step: int, interval: str, factor: float
) -> None:
    frame = split(walk(500, step, 0.006), factor)
    signal = signal_of(tmp_path, frame, symbol, f"interval={interval}")
    assert any("the price leapt" in note for note in signal.data.notes)
    if signal.stop_loss is not None:
        assert signal.entry is not None
        assert abs(signal.stop_loss / signal.entry - 1) < 0.1
    plain = signal_of(tmp_path / "plain", walk(500, step, 0.006), symbol, f"interval={interval}")
    assert plain.data.notes == ()
