"""Restated candles: earlier decisions stay, and each restatement is reported."""

import asyncio
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.support import ALONE, make_engine
from weft.collect.intake import RoundResult
from weft.domain.signal import Signal
from weft.engine.engine import Engine
from weft.engine.provider_status import provider_status
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, iso, parse_time

START = parse_time("2024-01-01T00:00:00Z")
ROWS = 300
NOW = START + (ROWS + 2) * HOUR


def plain(rows: int = ROWS) -> pl.DataFrame:
    drift = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0, 0.004, rows)))
    opened = np.r_[100.0, drift[:-1]]
    return pl.DataFrame(
        {
            "open_time": [iso(START + i * HOUR) for i in range(rows)],
            "open": opened,
            "high": np.maximum(opened, drift) + 0.2,
            "low": np.minimum(opened, drift) - 0.2,
            "close": drift,
            "volume": np.full(rows, 10.0),
        }
    )


def write(frame: pl.DataFrame, file: Path) -> None:
    """Write a file with a later time of change, however coarse the clock of the disk is."""
    turn = file.stat().st_mtime_ns + 10**9 if file.exists() else None
    file.parent.mkdir(exist_ok=True)
    frame.write_csv(file)
    if turn is not None:
        os.utime(file, ns=(turn, turn))


def open_engine(folder: Path, now: int = NOW) -> Engine:
    return make_engine(
        folder, f"providers.files.path={folder / 'data'}", *ALONE, clock=SimulatedClock(now)
    )


def update(folder: Path, now: int = NOW) -> RoundResult:
    """Collect once with an engine of its own, as one run of the command line does."""
    engine = open_engine(folder, now)
    try:
        (collected,) = asyncio.run(engine.update())
    finally:
        engine.close()
    return collected


def signal(
    folder: Path, now: int = NOW, recorded_by: int | None = None, rows: int = ROWS
) -> Signal:
    """Return the signal of the row at which the given number of plain candles have closed."""
    engine = open_engine(folder, now)
    try:
        view = engine.view(START + rows * HOUR, recorded_by=recorded_by)
        return engine.report(engine.compose(view)).signals[0]
    finally:
        engine.close()


def replayed(folder: Path, now: int) -> Signal:
    """Return the signal of that row from the rows stored before the correction."""
    return signal(folder, now, NOW + HOUR // 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of candles that the engine has read."""
    file = tmp_path / "data" / "BTCUSDT.csv"
    write(plain(), file)
    assert update(tmp_path).new == ROWS
    return file


def changed(frame: pl.DataFrame, row: int, close: float) -> pl.DataFrame:
    at = pl.int_range(pl.len()) == row
    return frame.with_columns(
        close=pl.when(at).then(close).otherwise("close"),
        high=pl.when(at).then(pl.max_horizontal("high", pl.lit(close))).otherwise("high"),
    )


def test_restated_candle_is_reported_and_not_used(tmp_path: Path, file: Path) -> None:
    write(changed(plain(), ROWS - 1, 130.0), file)
    collected = update(tmp_path, NOW + HOUR)
    assert (collected.new, collected.restated) == (0, 1)
    (line,) = collected.problems
    assert line.startswith(
        "BTCUSDT: 1 candle differs from the stored version, first at 2024-01-13T11"
    )
    assert "(close 130, stored " in line
    assert "`weft providers start-over files`" in line
    newest, earlier = signal(tmp_path, NOW + HOUR), replayed(tmp_path, NOW + HOUR)
    assert newest == earlier
    assert newest.entry == pytest.approx(plain()["close"][-1], rel=1e-8)
    assert newest.data.notes == ()


def test_signals_of_later_rows_note_the_correction(tmp_path: Path, file: Path) -> None:
    write(changed(plain(), ROWS - 1, 130.0), file)
    update(tmp_path, NOW + HOUR)
    write(changed(plain(ROWS + 4), ROWS - 1, 130.0), file)
    assert update(tmp_path, NOW + 3 * HOUR).new == 4
    assert signal(tmp_path, NOW + 3 * HOUR).data.notes == ()
    later = signal(tmp_path, NOW + 3 * HOUR, rows=ROWS + 4)
    (note,) = later.data.notes
    assert note.startswith("1 candle since ")
    assert note.endswith(
        "changed later in the source, or vanished from it; the first version counts"
    )


def test_correction_stays_in_status(tmp_path: Path, file: Path) -> None:
    write(changed(plain(), 5, 130.0), file)
    update(tmp_path, NOW + HOUR)
    assert update(tmp_path, NOW + HOUR).problems == []
    engine = open_engine(tmp_path, NOW + 2 * HOUR)
    (state,) = provider_status(engine)
    engine.close()
    (line,) = state.problems
    assert line == (
        "BTCUSDT: 1 candle changed later in the source, or vanished from it, first at "
        "2024-01-01T05:00:00Z; the first version counts"
    )


def test_candles_taken_out_of_a_file_are_reported_once(tmp_path: Path, file: Path) -> None:
    write(plain()[:-40], file)
    collected = update(tmp_path, NOW + HOUR)
    (line,) = collected.problems
    assert line.startswith("BTCUSDT: 40 stored candles are no longer in the source, first")
    write(plain()[:-40].with_columns(volume=pl.lit(10.0)), file)
    assert update(tmp_path, NOW + 2 * HOUR).problems == []
    assert signal(tmp_path, NOW + 2 * HOUR) == replayed(tmp_path, NOW + 2 * HOUR)
    longer = plain(ROWS + 4).with_columns(volume=pl.lit(10.0))
    write(pl.concat([longer[:-44], longer[-4:]]), file)
    assert update(tmp_path, NOW + 3 * HOUR).new == 4
    later = signal(tmp_path, NOW + 3 * HOUR, rows=ROWS + 4)
    assert later.data.notes[0].startswith("40 candles since ")


def test_removed_file_is_reported_and_renamed_file_is_not(tmp_path: Path, file: Path) -> None:
    file.rename(file.with_name("BTCUSDT-1h.csv"))
    assert update(tmp_path, NOW + HOUR).problems == ["BTCUSDT.csv: no longer there"]
    write(plain(), file.with_name("ETHUSDT.csv"))
    file.with_name("BTCUSDT-1h.csv").unlink()
    gone, candles = update(tmp_path, NOW + 2 * HOUR).problems
    assert gone == "BTCUSDT-1h.csv: no longer there"
    assert candles.startswith(f"BTCUSDT: {ROWS} stored candles are no longer in the source")


def test_a_jump_in_a_file_is_reported_once_with_its_line(tmp_path: Path) -> None:
    prices = [pl.col(name) / 1000 for name in ("open", "high", "low", "close")]
    frame = pl.concat([plain()[:-20], plain()[-20:].with_columns(*prices)])
    write(frame, tmp_path / "data" / "BTCUSDT.csv")
    (line,) = update(tmp_path).problems
    assert line.startswith("BTCUSDT.csv: BTCUSDT: 1 candle kept, although 50 times off")
    assert line.endswith("(line 282)")


def test_longer_file_reports_nothing(tmp_path: Path, file: Path) -> None:
    write(plain(ROWS + 1), file)
    grown = update(tmp_path, NOW + HOUR)
    assert (grown.new, grown.problems) == (1, [])


def adjusted() -> pl.DataFrame:
    prices = [pl.col(name) / 4 for name in ("open", "high", "low", "close")]
    return plain().with_columns(*prices, volume=pl.col("volume") * 4)


def test_readjusted_file_is_reported_with_its_factor(tmp_path: Path, file: Path) -> None:
    write(adjusted(), file)
    (line,) = update(tmp_path, NOW + HOUR).problems
    assert line.startswith(
        f"BTCUSDT: {ROWS} candles differ from the stored version, first at 2024-01-01"
    )
    assert "all by a factor of 0.25: adjusted, as after a split or dividend" in line


def test_start_over_uses_the_present_file_and_replays_stay(tmp_path: Path, file: Path) -> None:
    before = signal(tmp_path)
    write(adjusted(), file)
    update(tmp_path, NOW + HOUR)
    engine = open_engine(tmp_path, NOW + HOUR)
    source = engine.composition.providers[0].component.source
    assert engine.store.start_over(source) == 2
    engine.close()
    again = update(tmp_path, NOW + 2 * HOUR)
    assert (again.new, again.problems) == (ROWS, [])
    newest = signal(tmp_path, NOW + 3 * HOUR)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "data").symlink_to(tmp_path / "data")
    update(fresh, NOW + 3 * HOUR)
    alone = signal(fresh, NOW + 3 * HOUR)
    assert newest.entry == alone.entry == pytest.approx(adjusted()["close"][-1], rel=1e-8)
    assert newest.score == alone.score
    assert newest.data.notes == ()
    assert replayed(tmp_path, NOW + 3 * HOUR).id == before.id
