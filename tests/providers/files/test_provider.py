"""The files provider: which files it reads, and what it returns."""

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.providers.files.candle_files import START, candles, fetch, only, problems, write
from weft.collect.checks.clean import CANDLE_SCHEMA
from weft.domain.instruments import SESSIONS, Kind
from weft.foundation.errors import ConfigError, NoDataError, SchemaError
from weft.foundation.times import DAY, MINUTE, parse_time
from weft_providers.files.provider import Files

# Content


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
def test_single_file_of_several_symbols(tmp_path: Path, ending: str) -> None:
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
    text = candles().drop("symbol").write_csv().encode()
    (tmp_path / "BTCUSDT.csv.gz").write_bytes(gzip.compress(text))
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["BTCUSDT"]


def test_the_file_names_the_symbol_where_no_column_does(tmp_path: Path) -> None:
    write(candles().drop("symbol"), tmp_path / "SOLUSDT.csv")
    assert only(fetch(tmp_path))["symbol"].unique().to_list() == ["SOLUSDT"]


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    renamed = (
        candles().rename({"open_time": "Date", "close": "Close"}).with_columns(close=pl.lit(7.0))
    )
    file = write(renamed, tmp_path / "a.csv")
    frame = only(fetch(file, columns={"Date": "open_time", "Close": "close"}))
    assert frame["close"].to_list() == candles()["close"].to_list()


def test_only_the_requested_interval_is_returned(tmp_path: Path) -> None:
    days = candles(step=DAY, interval=["1d"] * 5)
    file = write(pl.concat([candles(), days]), tmp_path / "a.parquet")
    assert len(only(fetch(file))) == 5
    assert only(fetch(file, "1d"))["open_time"].to_physical()[1] == START + DAY


def test_intervals_of_equal_length_are_equal(tmp_path: Path) -> None:
    file = write(candles(interval=["60m"] * 5), tmp_path / "a.parquet")
    assert only(fetch(file))["interval"].unique().to_list() == ["1h"]


def test_files_of_another_interval_are_passed_over(tmp_path: Path) -> None:
    write(candles(), tmp_path / "hours.parquet")
    write(candles(step=DAY, interval=["1d"] * 5), tmp_path / "days.parquet")
    batches = fetch(tmp_path)
    assert len(only(batches)) == 5
    assert problems(batches) == []
    with pytest.raises(NoDataError, match=r"holds no 4h candles, only 1d; none of the 2 files"):
        fetch(tmp_path, "4h")


def test_spacing_gives_the_interval_without_a_column(tmp_path: Path) -> None:
    gaps = candles(rows=30).drop("interval").filter(pl.int_range(pl.len()) % 7 != 0)
    write(gaps, tmp_path / "BTCUSDT.csv")
    write(candles("ETHUSDT", step=5 * MINUTE).drop("interval"), tmp_path / "ETHUSDT.csv")
    write(candles("XRPUSDT", rows=1).drop("interval"), tmp_path / "XRPUSDT.csv")
    batches = fetch(tmp_path)
    assert only(batches)["symbol"].unique().sort().to_list() == ["BTCUSDT", "XRPUSDT"]
    (line,) = problems(batches)
    assert line.startswith("ETHUSDT.csv: not used, has no interval column, and most of its candles")
    assert "0:05:00 apart, not 1h" in line


def test_only_requested_symbols_are_returned(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(candles(symbol), tmp_path / f"{symbol}.parquet")
    assert only(fetch(tmp_path, symbols=("ETHUSDT",)))["symbol"].unique().to_list() == ["ETHUSDT"]


def test_rows_of_one_venue_can_be_chosen(tmp_path: Path) -> None:
    here = candles().with_columns(venue=pl.lit("binance"))
    there = candles(volume=[11.0] * 5).with_columns(venue=pl.lit("bybit"))
    file = write(pl.concat([here, there]), tmp_path / "a.parquet")
    assert only(fetch(file, venue="Bybit"))["volume"].unique().to_list() == [11.0]
    with pytest.raises(SchemaError, match=r"mixes venues \(binance, bybit\). Choose a venue"):
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


# Places


def test_fetch_without_a_path_raises() -> None:
    assert not Files().ready()
    assert Files(Files.Config(path=Path("x"))).ready()
    with pytest.raises(ConfigError, match=r"providers.files.path: no path is set"):
        fetch(None)


def test_a_path_to_nothing_names_key_and_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"providers.files.path: expected .*/nowhere'") as caught:
        fetch(tmp_path / "nowhere")
    assert caught.value.hint


def test_empty_folder_raises(tmp_path: Path) -> None:
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


# Real data


def test_real_perpetuals_are_read_completely(real_data: Path) -> None:
    batches = fetch(real_data / "crypto_perp_1h", now=parse_time("2026-01-01T00:00:00Z"))
    frames = [b.candles for b in batches if b.candles is not None]
    assert sum(map(len, frames)) == 629_130
    assert sum(len(b.instruments) for b in batches) == 37
    assert problems(batches) == []


def test_real_daily_stocks_are_read_without_options(real_data: Path) -> None:
    later = parse_time("2026-01-01T00:00:00Z")
    place = real_data / "equities_1d" / "equities_1d.parquet"
    frame = only(fetch(place, "1d", now=later))
    assert frame["symbol"].n_unique() == 17
    assert frame.equals(only(fetch(place, "1d", columns={"date": "open_time"}, now=later)))
