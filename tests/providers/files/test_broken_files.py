"""Broken candle files: each is named, and the others are used."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.providers.files.candle_files import START, candles, fetch, only, problems, write
from weft.foundation.errors import DataError, SchemaError
from weft.foundation.times import HOUR


def truncated(file: Path) -> None:
    write(candles(rows=500), file.with_suffix(".parquet"))
    file.with_suffix(".parquet").write_bytes(file.with_suffix(".parquet").read_bytes()[:-400])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing column": (
        lambda f: write(candles("BAD").drop("close"), f.with_suffix(".csv")),
        "bad.csv: not used, column 'close' is missing; found 'symbol', 'interval'",
    ),
    "misspelt column": (
        lambda f: write(candles("BAD").rename({"close": "Closed"}), f.with_suffix(".csv")),
        "Did you mean 'Closed'?",
    ),
    "empty file": (lambda f: f.with_suffix(".csv").touch(), "bad.csv: not used, the file is empty"),
    "header only": (
        lambda f: write(candles("BAD").clear(), f.with_suffix(".csv")),
        "bad.csv: not used, the file holds no rows",
    ),
    "truncated": (truncated, "bad.parquet: not used, cannot be read: parquet: File out of spec"),
    "not parquet at all": (
        lambda f: f.with_suffix(".parquet").write_text("<html>"),
        "bad.parquet: not used, cannot be read",
    ),
    "ragged rows": (
        lambda f: f.with_suffix(".csv").write_text(
            "open_time,open,high,low,close,volume\n1704067200,1,1,1,1,1,9,9\n"
        ),
        "bad.csv: not used, none of its 1 lines can be read; line 2: it has 8 fields, expected 6",
    ),
    "epoch in seconds read as milliseconds": (
        lambda f: write(
            candles("BAD").with_columns(
                (pl.col("open_time").dt.epoch("s")).cast(pl.Datetime("ms", "UTC"))
            ),
            f.with_suffix(".parquet"),
        ),
        "every value of column 'open_time' lies before 1971",
    ),
    "words for numbers": (
        lambda f: write(candles("BAD", close=["cheap"] * 5), f.with_suffix(".csv")),
        "none of its 5 lines can be read; line 2: close 'cheap' is no number",
    ),
    "no row is possible": (
        lambda f: write(candles("BAD", high=[1.0] * 5), f.with_suffix(".csv")),
        "none of its 5 candles can be used: BAD: 5 candles refused, high below low",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_file_is_named_and_other_files_are_read(tmp_path: Path, fault: str) -> None:
    break_it, message = FAULTS[fault]
    break_it(tmp_path / "bad")
    write(candles(), tmp_path / "good.parquet")
    batches = fetch(tmp_path)
    assert only(batches)["symbol"].unique().to_list() == ["BTCUSDT"]
    lines = problems(batches)
    assert lines[0].startswith("bad.")
    assert message in lines[0]
    assert list(json.loads(batches[-1].cursor or "")["files"]) == ["candles/good.parquet"]


@pytest.mark.parametrize("fault", FAULTS)
def test_only_bad_files_raise_the_first_error(tmp_path: Path, fault: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        FAULTS[fault][0](tmp_path / folder / "bad")
    with pytest.raises(DataError, match=r"files: one/bad.*; none of the 2 files can be used"):
        fetch(tmp_path, pattern="*/*")


def test_refused_rows_are_reported_with_their_file(tmp_path: Path) -> None:
    bad = candles(high=[102.0, 98.0, 104.0, 105.0, 106.0], close=[101.0, 102.0, None, 104.0, 105.0])
    write(pl.concat([bad, bad[4:]]), tmp_path / "BTCUSDT.csv")
    batches = fetch(tmp_path)
    assert only(batches)["open_time"].to_physical().to_list() == [
        START,
        START + 3 * HOUR,
        START + 4 * HOUR,
    ]
    assert problems(batches) == [
        (
            "BTCUSDT.csv: 1 line that cannot be read left out, the first is line 4: its close "
            "is missing"
        ),
        *(
            f"BTCUSDT.csv: BTCUSDT: 1 candle {what}, first at 2024-01-01T0{hour}:00:00Z "
            f"(line {line})"
            for what, hour, line in [
                ("refused, high below low", 1, 3),
                ("repeated, one of each kept", 4, 7),
            ]
        ),
    ]


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_epochs_in_any_unit_are_understood(tmp_path: Path, scale: int) -> None:
    counts = [START // 10**6 * scale + i * 3600 * scale for i in range(5)]
    file = write(candles(open_time=counts), tmp_path / "a.csv")
    assert only(fetch(file))["open_time"].to_physical().to_list() == [
        START + i * HOUR for i in range(5)
    ]


def test_files_without_candles_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "coverage.csv").write_text("symbol,rows,from,to\nBTCUSDT,5,2024,2025\n")
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(
        SchemaError, match=r"coverage.csv: no candle file: column 'open' is missing"
    ):
        fetch(tmp_path)
    write(candles(), tmp_path / "BTCUSDT.csv")
    assert problems(fetch(tmp_path)) == []
