"""Candle files: what is read, what is left out and said, and what is not read twice."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from weft.clock import SimulatedClock
from weft.components.provider import Batch, Request
from weft.errors import ConfigError, DataError, NoDataError, SchemaError, WeftError
from weft.market.checks import CANDLE_SCHEMA
from weft.market.instruments import SESSIONS, Kind
from weft.times import DAY, HOUR, MINUTE, Interval, parse_time
from weft_providers.files import Files

H1 = Interval.parse("1h")
START = parse_time("2024-01-01T00:00:00Z")
NOW = parse_time("2024-06-01T00:00:00Z")


def candles(
    symbol: str = "BTCUSDT", rows: int = 5, step: int = HOUR, **columns: Any
) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "symbol": [symbol] * rows,
        "interval": ["1h"] * rows,
        "open_time": pl.Series([START + i * step for i in range(rows)]).cast(
            pl.Datetime("us", "UTC")
        ),
        "open": [100.0 + i for i in range(rows)],
        "high": [102.0 + i for i in range(rows)],
        "low": [99.0 + i for i in range(rows)],
        "close": [101.0 + i for i in range(rows)],
        "volume": [10.0] * rows,
    }
    return pl.DataFrame(plain | columns)


def fetch(
    path: Path | None,
    interval: str = "1h",
    symbols: tuple[str, ...] = (),
    cursor: str | None = None,
    now: int = NOW,
    **options: Any,
) -> list[Batch]:
    async def go() -> list[Batch]:
        provider = Files(Files.Config(path=path, **options))
        request = Request(Interval.parse(interval), symbols, START, {}, cursor)
        async with httpx.AsyncClient() as http:
            return [b async for b in provider.fetch(request, http, SimulatedClock(now))]

    return asyncio.run(go())


def only(batches: list[Batch]) -> pl.DataFrame:
    (batch,) = batches
    assert batch.candles is not None
    return batch.candles


def problems(batches: list[Batch]) -> list[str]:
    return [line for batch in batches for line in batch.problems]


def write(frame: pl.DataFrame, file: Path) -> Path:
    if file.suffix == ".csv":
        frame.write_csv(file)
    else:
        frame.write_parquet(file)
    return file


# What is read


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    for symbol in ("ETHUSDT", "BTCUSDT"):
        write(candles(symbol), tmp_path / f"{symbol}.parquet")
    batches = fetch(tmp_path, market="perpetual", venue="binance")
    assert only(batches).schema == CANDLE_SCHEMA
    assert only(batches)["symbol"].to_list() == ["BTCUSDT"] * 5 + ["ETHUSDT"] * 5
    assert problems(batches) == []
    bitcoin = batches[0].instruments[0]
    assert (bitcoin.symbol, bitcoin.base, bitcoin.venue) == ("BTCUSDT", "BTC", "binance")
    assert bitcoin.kind is Kind.PERPETUAL


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_one_file_for_all(tmp_path: Path, ending: str) -> None:
    both = pl.concat([candles(), candles("AAPL")])
    file = write(both, tmp_path / f"all.{ending}")
    batches = fetch(file)
    assert len(only(batches)) == 10
    assert [i.kind for i in batches[0].instruments] == [Kind.EQUITY, Kind.SPOT]
    assert batches[0].instruments[0].calendar == SESSIONS


def test_csv_gives_the_same_bits_as_parquet(tmp_path: Path) -> None:
    odd = candles(close=[101.1, 102.00000000000001, 102.7, 104 / 3 + 66, 105.123456789012])
    parquet = only(fetch(write(odd, tmp_path / "a.parquet")))
    csv = only(fetch(write(odd, tmp_path / "a.csv")))
    assert csv.equals(parquet)


def test_compressed_csv_is_read(tmp_path: Path) -> None:
    candles().drop("symbol").write_csv(tmp_path / "BTCUSDT.csv.gz", compression="gzip")
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["BTCUSDT"]


def test_the_file_names_the_symbol_where_no_column_does(tmp_path: Path) -> None:
    write(candles().drop("symbol"), tmp_path / "SOLUSDT.csv")
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["SOLUSDT"]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    own = candles().rename({"open_time": "Date", "close": "Close"}).with_columns(close=pl.lit(7.0))
    file = write(own, tmp_path / "a.csv")
    frame = only(fetch(file, columns={"Date": "open_time", "Close": "close"}))
    assert frame["close"].to_list() == candles()["close"].to_list()


def test_only_the_interval_asked_for_is_taken(tmp_path: Path) -> None:
    days = candles(step=DAY, interval=["1d"] * 5)
    file = write(pl.concat([candles(), days]), tmp_path / "a.parquet")
    assert len(only(fetch(file))) == 5
    assert only(fetch(file, "1d"))["open_time"].to_physical()[1] == START + DAY


def test_an_interval_is_known_by_its_length(tmp_path: Path) -> None:
    file = write(candles(interval=["60m"] * 5), tmp_path / "a.parquet")
    assert only(fetch(file))["interval"].unique().to_list() == ["1h"]


def test_files_of_another_interval_are_passed_over_in_silence(tmp_path: Path) -> None:
    write(candles(), tmp_path / "hours.parquet")
    write(candles(step=DAY, interval=["1d"] * 5), tmp_path / "days.parquet")
    batches = fetch(tmp_path)
    assert len(only(batches)) == 5
    assert problems(batches) == []
    with pytest.raises(NoDataError, match=r"holds no 4h candles, only 1d; none of the 2 files"):
        fetch(tmp_path, "4h")


def test_without_interval_column_the_spacing_tells(tmp_path: Path) -> None:
    gaps = candles(rows=30).drop("interval").filter(pl.int_range(pl.len()) % 7 != 0)
    write(gaps, tmp_path / "BTCUSDT.csv")
    write(candles("ETHUSDT", step=5 * MINUTE).drop("interval"), tmp_path / "ETHUSDT.csv")
    write(candles("XRPUSDT", rows=1).drop("interval"), tmp_path / "XRPUSDT.csv")
    batches = fetch(tmp_path)
    assert only(batches)["symbol"].unique().sort().to_list() == ["BTCUSDT", "XRPUSDT"]
    (line,) = problems(batches)
    assert line.startswith("ETHUSDT.csv: not used, has no interval column, and most of its candles")
    assert "0:05:00 apart, not 1h" in line


def test_only_symbols_asked_for_are_given(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(candles(symbol), tmp_path / f"{symbol}.parquet")
    assert only(fetch(tmp_path, symbols=("ETHUSDT",)))["symbol"].unique().to_list() == ["ETHUSDT"]


def test_rows_of_one_venue_can_be_chosen(tmp_path: Path) -> None:
    here = candles().with_columns(venue=pl.lit("binance"))
    there = candles(volume=[11.0] * 5).with_columns(venue=pl.lit("bybit"))
    file = write(pl.concat([here, there]), tmp_path / "a.parquet")
    assert only(fetch(file, venue="Bybit"))["volume"].unique().to_list() == [11.0]
    with pytest.raises(SchemaError, match=r"mixes venues \(binance, bybit\). Choose one"):
        fetch(file)
    with pytest.raises(NoDataError, match=r"no rows of venue 'okx', only of binance, bybit"):
        fetch(file, venue="okx")


def test_the_pattern_chooses_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(candles(), tmp_path / "deep" / "BTCUSDT.csv")
    write(candles("ETHUSDT"), tmp_path / "ETHUSDT.parquet")
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["ETHUSDT"]
    assert only(fetch(tmp_path, pattern="**/*.csv"))["symbol"].unique().to_list() == ["BTCUSDT"]


def test_names_with_wildcards_in_them_are_plain_names(tmp_path: Path) -> None:
    write(candles().drop("symbol"), tmp_path / "BTC[1]*.parquet")
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["BTC[1]*"]


def test_many_files_come_in_several_batches(tmp_path: Path) -> None:
    for number in range(40):
        write(candles(f"C{number}USDT"), tmp_path / f"C{number}USDT.parquet")
    batches = fetch(tmp_path)
    assert [len(b.candles) // 5 for b in batches if b.candles is not None] == [16, 16, 8]


# Faults in a file


def truncated(file: Path) -> None:
    write(candles(rows=500), file.with_suffix(".parquet"))
    file.with_suffix(".parquet").write_bytes(file.with_suffix(".parquet").read_bytes()[:-400])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing column": (
        lambda f: write(candles("BAD").drop("close"), f.with_suffix(".csv")),
        "bad.csv: not used, column 'close' is missing; found 'symbol', 'interval'",
    ),
    "misspelt column": (
        lambda f: write(candles("BAD").rename({"volume": "Volume"}), f.with_suffix(".csv")),
        "Did you mean 'Volume'?",
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
        "bad.csv: not used, cannot be read",
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
        "column 'close' holds 'cheap', expected decimal numbers",
    ),
    "no row is possible": (
        lambda f: write(candles("BAD", high=[1.0] * 5), f.with_suffix(".csv")),
        "none of its 5 candles can be used: BAD: 5 candles refused, high below low",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path: Path, fault: str) -> None:
    break_it, said = FAULTS[fault]
    break_it(tmp_path / "bad")
    write(candles(), tmp_path / "good.parquet")
    batches = fetch(tmp_path)
    assert only(batches)["symbol"].unique().to_list() == ["BTCUSDT"]
    lines = problems(batches)
    assert lines[0].startswith("bad.")
    assert said in lines[0]
    assert list(json.loads(batches[-1].cursor or "")["files"]) == ["candles/good.parquet"]


@pytest.mark.parametrize("fault", FAULTS)
def test_if_all_files_are_bad_the_first_error_is_raised(tmp_path: Path, fault: str) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        FAULTS[fault][0](tmp_path / folder / "bad")
    with pytest.raises(DataError, match=r"files: one/bad.*; none of the 2 files can be used"):
        fetch(tmp_path, pattern="*/*")


def test_rows_refused_are_told_with_their_file(tmp_path: Path) -> None:
    bad = candles(high=[102.0, 98.0, 104.0, 105.0, 106.0], close=[101.0, 102.0, None, 104.0, 105.0])
    write(pl.concat([bad, bad[4:]]), tmp_path / "BTCUSDT.csv")
    batches = fetch(tmp_path)
    assert only(batches)["open_time"].to_physical().to_list() == [
        START,
        START + 3 * HOUR,
        START + 4 * HOUR,
    ]
    assert problems(batches) == [
        f"BTCUSDT.csv: BTCUSDT: 1 candle {what}, first at 2024-01-01T0{hour}:00:00Z"
        for what, hour in [
            ("refused, price missing or not finite", 2),
            ("refused, high below low", 1),
            ("repeated, one of each kept", 4),
        ]
    ]


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
def test_epochs_in_any_unit_are_understood(tmp_path: Path, scale: int) -> None:
    counts = [START // 10**6 * scale + i * 3600 * scale for i in range(5)]
    file = write(candles(open_time=counts), tmp_path / "a.csv")
    assert only(fetch(file))["open_time"].to_physical().to_list() == [
        START + i * HOUR for i in range(5)
    ]


def test_files_that_are_plainly_no_candles_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "coverage.csv").write_text("symbol,rows,from,to\nBTCUSDT,5,2024,2025\n")
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(
        SchemaError, match=r"coverage.csv: no candle file: column 'open' is missing"
    ):
        fetch(tmp_path)
    write(candles(), tmp_path / "BTCUSDT.csv")
    assert problems(fetch(tmp_path)) == []


# Places


def test_no_path_no_fetch() -> None:
    assert not Files().ready()
    assert Files(Files.Config(path=Path("x"))).ready()
    with pytest.raises(ConfigError, match=r"providers.files.path: no path is set"):
        fetch(None)


def test_a_path_to_nothing_names_key_and_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"providers.files.path: expected .*/nowhere'") as caught:
        fetch(tmp_path / "nowhere")
    assert caught.value.hint


def test_an_empty_folder_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / ".hidden.parquet").touch()
    with pytest.raises(NoDataError, match=r"providers.files.path: no file in .* matches"):
        fetch(tmp_path)


def test_two_folders_never_share_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def source(**options: Any) -> str:
        return Files(Files.Config(**options)).source

    one = source(path=tmp_path / "one")
    assert len(one) == len("files-") + 8
    assert one != source(path=tmp_path / "two")
    assert one != source(path=tmp_path / "one", columns={"adj_close": "close"})
    assert one == source(path=tmp_path / "one", market="perpetual")
    monkeypatch.chdir(tmp_path)
    assert one == source(path=Path("one")) == source(path=Path("one/../one"))


# What is not read twice


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
    os.utime(file, ns=(1, 1))
    assert only(fetch(tmp_path, cursor=cursor))["volume"].unique().to_list() == [11.0]


def test_a_cursor_answers_only_what_was_asked(tmp_path: Path) -> None:
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


def test_a_bad_file_is_told_again_until_it_is_mended(tmp_path: Path) -> None:
    write(candles(), tmp_path / "good.parquet")
    (tmp_path / "bad.csv").touch()
    cursor = fetch(tmp_path)[-1].cursor
    assert problems(fetch(tmp_path, cursor=cursor)) == ["bad.csv: not used, the file is empty"]
    write(candles("ETHUSDT"), tmp_path / "bad.csv")
    assert only(fetch(tmp_path, cursor=cursor))["symbol"].unique().to_list() == ["ETHUSDT"]


# Observations


def facts(**columns: Any) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "metric": ["funding_rate"] * 2,
        "scope": ["instrument"] * 2,
        "entity": ["BTCUSDT"] * 2,
        "event_time": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"],
        "value": [0.0001, 0.0002],
    }
    return pl.DataFrame(plain | columns)


def test_observations_come_with_a_stated_lag(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    (tmp_path / "facts").mkdir()
    write(facts(), tmp_path / "facts" / "funding.csv")
    place = tmp_path / "facts"
    batches = fetch(file, observations=place, observation_lag="1d")
    frame = batches[1].observations
    assert frame is not None
    lag = frame["known_at"].to_physical() - frame["event_time"].to_physical()
    assert lag.to_list() == [DAY, DAY]
    cursor = batches[-1].cursor
    assert fetch(file, observations=place, observation_lag="1d", cursor=cursor) == []
    with pytest.raises(SchemaError, match=r"files: funding.csv: column 'known_at' is missing"):
        fetch(file, observations=place)


def test_a_lag_that_is_no_interval_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"'soon' is not an interval"):
        Files.Config(observation_lag="soon")


def test_observations_not_known_yet_come_later(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    known = ["2024-01-01T01:00:00Z", "2024-01-03T00:00:00Z"]
    place = write(facts(known_at=known), tmp_path / "facts.parquet")
    early = fetch(file, observations=place, now=START + DAY)
    assert early[1].observations is not None
    assert len(early[1].observations) == 1
    (late,) = fetch(file, observations=place, cursor=early[-1].cursor)
    assert late.observations is not None
    assert len(late.observations) == 2


def test_observations_that_are_not_there_name_their_key(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    with pytest.raises(WeftError, match=r"providers.files.observations: expected a file"):
        fetch(file, observations=tmp_path / "nowhere")


# Real data


def test_the_real_perpetuals_are_read_whole_and_quickly(real_data: Path) -> None:
    began = time.perf_counter()
    batches = fetch(real_data / "crypto_perp_1h", now=parse_time("2026-01-01T00:00:00Z"))
    # Several times what it takes, so that a busy machine does not fail it.
    assert time.perf_counter() - began < 5.0
    frames = [b.candles for b in batches if b.candles is not None]
    assert sum(map(len, frames)) == 629_130
    assert sum(len(b.instruments) for b in batches) == 37
    assert problems(batches) == []


def test_real_daily_stocks_need_one_renamed_column(real_data: Path) -> None:
    later = parse_time("2026-01-01T00:00:00Z")
    place = real_data / "equities_1d" / "equities_1d.parquet"
    frame = only(fetch(place, "1d", columns={"date": "open_time"}, now=later))
    assert frame["symbol"].n_unique() == 17
    with pytest.raises(SchemaError, match=r"column 'open_time' is missing; found .*'date'"):
        fetch(place, "1d", now=later)
