"""Cursor of the files provider: changed files are read again, others are not."""

import os
from pathlib import Path

import polars as pl

from tests.providers.files.candle_files import START, candles, fetch, only, problems, write
from weft.foundation.times import DAY, HOUR


def test_unchanged_files_are_not_read_again(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(candles(symbol), tmp_path / f"{symbol}.parquet")
    cursor = fetch(tmp_path)[-1].cursor
    assert fetch(tmp_path, cursor=cursor) == []

    write(candles("ETHUSDT", rows=6), tmp_path / "ETHUSDT.parquet")
    batches = fetch(tmp_path, cursor=cursor)
    assert only(batches)["symbol"].to_list() == ["ETHUSDT"] * 6
    assert fetch(tmp_path, cursor=batches[-1].cursor) == []


def test_a_file_rewritten_at_the_same_size_is_read_again(tmp_path: Path) -> None:
    file = write(candles(volume=[10.0] * 5), tmp_path / "BTCUSDT.csv")
    cursor = fetch(tmp_path)[-1].cursor
    size = file.stat().st_size
    write(candles(volume=[11.0] * 5), file)
    assert file.stat().st_size == size
    later = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(later, later))
    assert only(fetch(tmp_path, cursor=cursor))["volume"].unique().to_list() == [11.0]


def test_cursor_of_another_request_is_ignored(tmp_path: Path) -> None:
    both = pl.concat([candles(), candles(step=DAY, interval=["1d"] * 5)])
    write(both, tmp_path / "BTCUSDT.parquet")
    cursor = fetch(tmp_path)[-1].cursor
    assert len(only(fetch(tmp_path, "1d", cursor=cursor))) == 5
    assert len(only(fetch(tmp_path, symbols=("BTCUSDT",), cursor=cursor))) == 5
    for broken in ("", "{", "[]", "7", '{"asked": null}', '{"files": 3}'):
        assert len(only(fetch(tmp_path, cursor=broken))) == 5


def test_a_file_with_candles_not_closed_yet_is_read_again(tmp_path: Path) -> None:
    write(candles(), tmp_path / "BTCUSDT.parquet")
    early = fetch(tmp_path, now=START + 3 * HOUR)
    assert len(only(early)) == 3
    later = fetch(tmp_path, now=START + 5 * HOUR, cursor=early[-1].cursor)
    assert len(only(later)) == 5
    assert fetch(tmp_path, now=START + 6 * HOUR, cursor=later[-1].cursor) == []


def test_bad_file_is_reported_until_it_is_mended(tmp_path: Path) -> None:
    write(candles(), tmp_path / "good.parquet")
    (tmp_path / "bad.csv").touch()
    cursor = fetch(tmp_path)[-1].cursor
    assert problems(fetch(tmp_path, cursor=cursor)) == ["bad.csv: not used, the file is empty"]
    write(candles("ETHUSDT"), tmp_path / "bad.csv")
    assert only(fetch(tmp_path, cursor=cursor))["symbol"].unique().to_list() == ["ETHUSDT"]


def test_candle_that_closed_after_its_file_was_written_waits(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    half_past = START + 4 * HOUR + HOUR // 2
    os.utime(file, ns=(half_past * 1000, half_past * 1000))
    batches = fetch(tmp_path)
    assert len(only(batches)) == 4
    (line,) = problems(batches)
    assert line == (
        "BTCUSDT.csv: BTCUSDT: 1 candle refused, closed after the file was written, waits until it "
        "is written again, first at 2024-01-01T04:00:00Z (line 6)"
    )
    # Waiting does not complete the candle.
    assert fetch(tmp_path, cursor=batches[-1].cursor) == []
    write(candles(close=[101.0, 102.0, 103.0, 104.0, 105.5]), file)
    assert only(fetch(tmp_path, cursor=batches[-1].cursor))["close"][-1] == 105.5


def test_candle_that_closed_when_its_file_was_written_counts(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    os.utime(file, ns=((START + 5 * HOUR) * 1000,) * 2)
    assert len(only(fetch(tmp_path))) == 5
