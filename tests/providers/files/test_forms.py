"""Forms of candle files: each gives the same candles, or names the option that decides."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from tests.providers.files.candle_files import START, fetch, only, problems
from weft.domain.instruments import Kind
from weft.foundation.errors import DataError, NoDataError, SchemaError
from weft.foundation.times import DAY, HOUR, MINUTE
from weft_providers.files.forms import FormOptions, find_encoding, sniff
from weft_providers.files.provider import Files

ROWS = 40


def rows(
    step: int = HOUR, count: int = ROWS
) -> list[tuple[int, float, float, float, float, float]]:
    """Return plain candles: open time in microseconds, open, high, low, close, volume."""
    candles = []
    for i in range(count):
        opened, closed = 1000.0 + 3 * i, 1001.25 + 3 * i + (i % 3)
        candles.append((START + i * step, opened, closed + 2.5, opened - 1.75, closed, 10.5 + i))
    return candles


def expect(frame: pl.DataFrame, symbol: str, step: int = HOUR, *, volume: bool = True) -> None:
    """Check that a frame holds exactly the plain candles."""
    assert frame["symbol"].unique().to_list() == [symbol]
    plain = rows(step)
    assert frame["open_time"].to_physical().to_list() == [row[0] for row in plain]
    for place, name in enumerate(("open", "high", "low", "close"), 1):
        assert frame[name].to_list() == [row[place] for row in plain], name
    if volume:
        assert frame["volume"].to_list() == [row[5] for row in plain]


def at(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def lines(
    head: Sequence[str],
    stamp: Callable[[int], str],
    *,
    separator: str = ",",
    step: int = HOUR,
    after: Callable[[int], Sequence[str]] = lambda _: (),
    number: Callable[[float], str] = str,
) -> str:
    """Return a text file: lines above, then one for each plain candle."""
    body = [
        separator.join([*stamp(t).split("|"), *map(number, values), *after(t)])
        for t, *values in rows(step)
    ]
    return "\n".join([*head, *body]) + "\n"


def iso(t: int) -> str:
    return at(t).strftime("%Y-%m-%dT%H:%M:%SZ")


HEADER = "open_time,open,high,low,close,volume"
KLINES = "close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
BINANCE = f"{HEADER},{KLINES}"


def kline_rest(scale: int) -> Callable[[int], Sequence[str]]:
    return lambda t: [str((t + HOUR) // scale - 1), "7683467.86", "1200", "64.01", "3841733.9", "0"]


TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "12 columns without a header, microseconds": (lines([], str, after=kline_rest(1)), {}),
    "12 columns without a header, milliseconds": (
        lines([], lambda t: str(t // 1000), after=kline_rest(1000)),
        {},
    ),
    "12 columns with a header": (
        lines([BINANCE], lambda t: str(t // 1000), after=kline_rest(1000)),
        {},
    ),
    "seven columns without a header, seconds": (
        lines([], lambda t: str(t // 10**6), after=lambda _: ["12"]),
        {},
    ),
    "a URL above the header": (
        lines(["https://www.example-data.test", HEADER], iso),
        {},
    ),
    "comments and a title above the header": (
        lines(["# exported by hand", "Candles of Bitcoin", "", HEADER], iso),
        {},
    ),
    "semicolons": (lines([HEADER.replace(",", ";")], iso, separator=";"), {}),
    "pipes": (lines([HEADER.replace(",", "|")], iso, separator="|"), {}),
    "tabs": (lines([HEADER.replace(",", "\t")], iso, separator="\t"), {}),
    "runs of spaces": (
        lines([HEADER.replace(",", "   ")], iso, separator="  "),
        {},
    ),
    "a separator at the end of each line": (
        lines([HEADER + ","], iso, after=lambda _: [""]),
        {},
    ),
    "decimal commas": (
        lines(
            [HEADER.replace(",", ";")],
            iso,
            separator=";",
            number=lambda x: str(x).replace(".", ","),
        ),
        {},
    ),
    "thousands in quotes": (
        lines([HEADER], iso, number=lambda x: f'"{x:,.2f}"'),
        {},
    ),
    "thousands with points and decimal commas": (
        lines(
            [HEADER.replace(",", ";")],
            iso,
            separator=";",
            number=lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")),
        ),
        {},
    ),
    "dollars, as a stock exchange's page gives them": (
        lines([HEADER], iso, number=lambda x: f"${x}"),
        {},
    ),
    "all fields in quotes": (
        lines([HEADER], lambda t: f'"{iso(t)}"', number=lambda x: f'"{x}"'),
        {},
    ),
    "MetaTrader's angle brackets, date and time apart": (
        lines(
            ["<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>\t<TICKVOL>\t<SPREAD>"],
            lambda t: at(t).strftime("%Y.%m.%d|%H:%M:%S"),
            separator="\t",
            after=lambda _: ["77", "5"],
        ),
        {},
    ),
    "MetaTrader 4, no header, date and time apart": (
        lines([], lambda t: at(t).strftime("%Y.%m.%d|%H:%M")),
        {},
    ),
    "a ticker's column and times without colons": (
        lines(
            ["<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"],
            lambda t: at(t).strftime("BTCUSDT|60|%Y%m%d|%H%M%S"),
            after=lambda _: ["0"],
        ),
        {},
    ),
    "one column of date and time in digits, no header": (
        lines([], lambda t: at(t).strftime("%Y%m%d %H%M%S"), separator=";"),
        {},
    ),
    "fourteen digits": (lines([HEADER], lambda t: at(t).strftime("%Y%m%d%H%M%S")), {}),
    "English clocks": (lines([HEADER], lambda t: at(t).strftime("%Y-%m-%d %I-%p")), {}),
    "days first with points, and GMT in the name": (
        lines(
            ["Gmt time,Open,High,Low,Close,Volume"],
            lambda t: at(t).strftime("%d.%m.%Y %H:%M:%S.000"),
        ),
        {},
    ),
    "an offset behind GMT": (
        lines(
            ["Local time,Open,High,Low,Close,Volume"],
            lambda t: at(t + 2 * HOUR).strftime("%d.%m.%Y %H:%M:%S.000 GMT+0200"),
        ),
        {},
    ),
    "months by name": (lines([HEADER], lambda t: at(t).strftime("%d %b %Y %H:%M")), {}),
    "German names": (
        lines(
            ["Datum;Eröffnung;Hoch;Tief;Schluss;Volumen"],
            lambda t: at(t).strftime("%d.%m.%Y %H:%M"),
            separator=";",
        ),
        {},
    ),
    "a chart's seconds": (
        lines(["time,open,high,low,close,Volume"], lambda t: str(t // 10**6)),
        {},
    ),
    "names of another spelling": (
        lines(
            ["Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price"],
            lambda t: f"{t // 10**6}.0",
            after=lambda _: ["9", "9"],
        ),
        {},
    ),
    "volume by currency": (
        lines(
            ["https://data.test", "unix,date,symbol,open,high,low,close,Volume BTC,Volume USDT"],
            lambda t: f"{t // 10**6}|{at(t):%Y-%m-%d %H:%M:%S}|BTCUSDT",
            after=lambda _: ["123.4"],
        ),
        {},
    ),
    "numbered names": (
        lines(["timestamp,1. open,2. high,3. low,4. close,5. volume"], iso),
        {},
    ),
    "columns by position": (
        lines(["x,a,b,c,d,e"], iso),
        {"columns": ["open_time", "open", "high", "low", "close", "volume"]},
    ),
    "columns by number": (
        lines([], iso),
        {"columns": {"1": "open_time", "2": "open", "3": "high", "4": "low", "5": "close"}},
    ),
    "lines to skip": (lines(["a,b,c,d,e,f", HEADER], iso), {"skip_rows": 1}),
    "a stated form of time": (
        lines([HEADER], lambda t: at(t).strftime("%H:%M %d/%m/%y")),
        {"time_format": "%H:%M %d/%m/%y"},
    ),
    "days of a spreadsheet": (
        lines(
            [HEADER],
            lambda t: repr((at(t) - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1)),
        ),
        {"time_format": "excel"},
    ),
    "times of a zone": (
        lines(
            [HEADER],
            lambda t: at(t).astimezone(ZoneInfo("America/New_York")).strftime("%Y-%m-%d %H:%M"),
        ),
        {"time_zone": "America/New_York"},
    ),
    "windows' line ends": (lines([HEADER], iso).replace("\n", "\r\n"), {}),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_file_gives_the_exact_candles(tmp_path: Path, kind: str) -> None:
    text, options = TEXTS[kind]
    (tmp_path / "BTCUSDT.csv").write_text(text, encoding="utf-8", newline="")
    volume = kind != "columns by number"
    expect(only(fetch(tmp_path, **options)), "BTCUSDT", volume=volume)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encoding_is_found_from_the_bytes(tmp_path: Path, encoding: str) -> None:
    text = lines(["# Kurse von heute, größer", HEADER], iso)
    (tmp_path / "BTCUSDT.csv").write_bytes(text.encode(encoding))
    expect(only(fetch(tmp_path)), "BTCUSDT")


def test_incomplete_last_character_is_still_utf_8() -> None:
    assert find_encoding("aé".encode()[:2]) == "utf-8"
    assert find_encoding("aé, b".encode("cp1252")) == "cp1252"


def zipped(text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("BTCUSDT-1h-2024-01.csv", text)
    return out.getvalue()


@pytest.mark.parametrize("name", ["BTCUSDT-1h-2024-01.zip", "BTCUSDT-1h.csv.zip", "BTCUSDT.csv.gz"])
def test_compressed_files_are_read(tmp_path: Path, name: str) -> None:
    text = lines([], str, after=kline_rest(1))
    packed = gzip.compress(text.encode()) if name.endswith(".gz") else zipped(text)
    (tmp_path / name).write_bytes(packed)
    expect(only(fetch(tmp_path)), "BTCUSDT")


def test_archive_of_several_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("a.csv", "x")
        archive.writestr("b.csv", "x")
    with pytest.raises(DataError, match=r"holds 2 files, expected 1. Unpack it"):
        fetch(tmp_path)


def test_exports_of_another_bot_are_read(tmp_path: Path) -> None:
    plain = [[t // 1000, *values] for t, *values in rows()]
    (tmp_path / "BTC_USDT-1h.json").write_text(json.dumps(plain))
    (tmp_path / "ETH_USDT-1h.json.gz").write_bytes(gzip.compress(json.dumps(plain).encode()))
    columns = ("date", "open", "high", "low", "close", "volume")
    table = pl.DataFrame(plain, schema=list(columns), orient="row")
    table = table.with_columns(pl.col("date").cast(pl.Datetime("ms", "UTC")))
    table.write_ipc(tmp_path / "SOL_USDT_USDT-1h-futures.feather")
    (batch,) = fetch(tmp_path)
    assert batch.candles is not None
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        expect(batch.candles.filter(pl.col("symbol") == symbol), symbol)
    assert [i.kind for i in batch.instruments] == [Kind.SPOT, Kind.SPOT, Kind.PERPETUAL]


# Headers of two levels


def yahoo(levels: Sequence[Sequence[str]], tickers: int) -> str:
    lines_of_file = [",".join(level) for level in levels]
    for t, *values in rows(DAY):
        opened, high, low, close, volume = values
        values_of_ticker = [close, close, high, low, opened, volume]
        lines_of_file.append(
            ",".join(
                [f"{at(t):%Y-%m-%d}", *(str(x) for x in values_of_ticker for _ in range(tickers))]
            )
        )
    return "\n".join(lines_of_file) + "\n"


PRICES = ("Adj Close", "Close", "High", "Low", "Open", "Volume")


def test_a_header_of_price_and_ticker(tmp_path: Path) -> None:
    levels = [("Price", *PRICES), ("Ticker", *["AAPL"] * 6), ("Date", *[""] * 6)]
    (tmp_path / "download.csv").write_text(yahoo(levels, 1))
    expect(only(fetch(tmp_path, "1d")), "AAPL", DAY)


def test_a_header_of_many_tickers(tmp_path: Path) -> None:
    doubled = [name for name in PRICES for _ in range(2)]
    levels = [("Price", *doubled), ("Ticker", *["AAPL", "MSFT"] * 6), ("Date", *[""] * 12)]
    (tmp_path / "download.csv").write_text(yahoo(levels, 2))
    frame = only(fetch(tmp_path, "1d"))
    for symbol in ("AAPL", "MSFT"):
        expect(frame.filter(pl.col("symbol") == symbol), symbol, DAY)


def test_a_header_with_the_ticker_above(tmp_path: Path) -> None:
    levels = [("Ticker", *["AAPL"] * 6), ("Price", *PRICES), ("Date", *[""] * 6)]
    (tmp_path / "download.csv").write_text(yahoo(levels, 1))
    expect(only(fetch(tmp_path, "1d")), "AAPL", DAY)


# Ambiguous files


REFUSED: dict[str, tuple[str, str]] = {
    "days or months first": (
        lines([HEADER], lambda t: at(t).strftime("%m/%d/%Y %H:%M")),
        r"is it day or month first\?. Set time_format: ",
    ),
    "days of a spreadsheet": (
        lines([HEADER], lambda t: repr(45_292 + (t - START) / DAY)),
        "which looks like the days of a spreadsheet. Set time_format: excel",
    ),
    "a decimal or a thousand": (
        lines(
            [HEADER.replace(",", ";")], iso, separator=";", number=lambda x: f"1,{int(x) % 1000:03}"
        ),
        r"'1,\d\d\d' may be a decimal or a thousand.*Set decimal",
    ),
    "volume in money alone": (
        lines(["unix,open,high,low,close,Volume USDT"], lambda t: str(t // 10**6)),
        r"'Volume USDT' may be in the quote currency.*\{Volume USDT: volume\}",
    ),
    "names in no language": (
        lines(["p,q,r,s,u,w"], iso),
        "column 'open' is missing; found 'p', 'q', 'r', 's', 'u', 'w'. Name it",
    ),
    "prices in no known order": (
        "".join(f"{iso(t)},9{i},{i + 1},3{i % 9},7\n" for i, (t, *_) in enumerate(rows())),
        r"no header row, and the order of its 5 columns is not clear; .* columns: \[open_time",
    ),
    "times in no known form": (
        lines([HEADER], lambda t: at(t).strftime("%H:%M %d/%m/%y")),
        "expected times like 2025-03-01T00:00:00Z. State how they are written with time_format",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_ambiguous_file_names_the_option_that_decides(tmp_path: Path, kind: str) -> None:
    text, message = REFUSED[kind]
    (tmp_path / "BTCUSDT.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        fetch(tmp_path)


def test_day_after_the_twelfth_decides_day_or_month_first(tmp_path: Path) -> None:
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        text = lines([HEADER], lambda t, form=form: at(t).strftime(form), step=DAY)  # type: ignore[misc]  # a default
        (tmp_path / "BTCUSDT.csv").write_text(text)
        expect(only(fetch(tmp_path, "1d")), "BTCUSDT", DAY)


# Lines


def test_bad_line_costs_only_that_line(tmp_path: Path) -> None:
    text = lines([HEADER], iso).splitlines()
    text[7] = text[7].replace("10", "ten", 1)
    text[9] = "2024-01-01T08:00:00Z,1024.0,1027"
    (tmp_path / "BTCUSDT.csv").write_text("\n".join(text))
    batches = fetch(tmp_path)
    assert len(only(batches)) == ROWS - 2
    (line,) = problems(batches)
    assert line.startswith("BTCUSDT.csv: 2 lines that cannot be read left out, the first is line 8")


def test_minutes_without_a_trade_are_no_bad_lines(tmp_path: Path) -> None:
    text = lines([HEADER], lambda t: str(t // 10**6), step=MINUTE).splitlines()
    for place in (5, 6, 20):
        text[place] = text[place].split(",")[0] + ",NaN,NaN,NaN,NaN,NaN"
    (tmp_path / "BTCUSD.csv").write_text("\n".join(text))
    batches = fetch(tmp_path, "1m")
    assert len(only(batches)) == ROWS - 3
    assert "BTCUSD.csv: 3 lines without prices passed over, the first is line 6" in problems(
        batches
    )


def test_newest_candle_may_come_first(tmp_path: Path) -> None:
    head, *body = lines([HEADER], iso).splitlines()
    (tmp_path / "BTCUSDT.csv").write_text("\n".join([head, *reversed(body)]))
    expect(only(fetch(tmp_path)), "BTCUSDT")


SCALES = {"seconds": 10**6, "milliseconds": 1000, "microseconds": 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("milliseconds", "microseconds"),
        ("seconds", "milliseconds"),
        ("microseconds", "seconds"),
    ],
)
@pytest.mark.parametrize("change", [3, 20, 37])
def test_stamps_of_two_units_are_parsed_each_by_its_own(
    tmp_path: Path, before: str, after: str, change: int
) -> None:
    def stamp(t: int) -> str:
        return str(t // SCALES[before if t < START + change * HOUR else after])

    (tmp_path / "BTCUSDT.csv").write_text(lines([HEADER], stamp))
    batches = fetch(tmp_path)
    expect(only(batches), "BTCUSDT")
    (problem,) = problems(batches)
    assert "open_time mixes " in problem
    assert before in problem
    assert after in problem


def test_repeated_hour_of_a_time_zone_is_left_out(tmp_path: Path) -> None:
    autumn = ["2023-11-05 00:00", "2023-11-05 01:00", "2023-11-05 02:00", "2023-11-05 03:00"]
    text = "\n".join([HEADER, *(f"{time},1,2,0.5,1,7" for time in autumn)])
    (tmp_path / "BTCUSDT.csv").write_text(text)
    batches = fetch(tmp_path, time_zone="America/New_York")
    assert len(only(batches)) == 3
    assert "line 3: open_time '2023-11-05 01:00' is no time" in problems(batches)[0]


def test_form_is_found_from_the_first_bytes() -> None:
    form = sniff(TEXTS["decimal commas"][0].encode(), FormOptions(), "x.csv")
    assert (form.separator, form.decimal, form.skip_rows, form.width) == (";", ",", 1, 6)
    assert form.header == tuple(HEADER.split(","))
    bare = sniff(TEXTS["12 columns without a header, milliseconds"][0].encode(), FormOptions(), "x")
    assert bare.header == ()
    assert bare.notes[0].startswith("no header row: its columns are read as 1 open_time, 2 open")
    with pytest.raises(SchemaError, match="no candle file"):
        sniff(b"a note\nabout nothing\n", FormOptions(), "x.txt")


# Names


def test_months_of_one_market_are_one_symbol(tmp_path: Path) -> None:
    text = lines([], str, after=kline_rest(1)).splitlines(keepends=True)
    (tmp_path / "BTCUSDT-1h-2024-01.csv").write_text("".join(text[:20]))
    (tmp_path / "BTCUSDT-1h-2024-02.csv").write_text("".join(text[20:]))
    expect(only(fetch(tmp_path)).sort("open_time"), "BTCUSDT")


def test_folders_give_symbol_and_interval(tmp_path: Path) -> None:
    place = tmp_path / "BTCUSDT" / "1h"
    place.mkdir(parents=True)
    (place / "2024-01.csv").write_text(lines([HEADER], iso))
    expect(only(fetch(tmp_path)), "BTCUSDT")
    expect(only(fetch(tmp_path / "BTCUSDT")), "BTCUSDT")
    expect(only(fetch(place, symbol="BTCUSDT")), "BTCUSDT")
    expect(only(fetch(tmp_path, symbol="{symbol}/{interval}/{any}")), "BTCUSDT")


def test_names_of_only_dates_need_the_option_symbol(tmp_path: Path) -> None:
    (tmp_path / "2024-01.csv").write_text(lines([HEADER], iso))
    with pytest.raises(SchemaError, match=r"neither a column nor the file name gives.*Set symbol"):
        fetch(tmp_path)


def test_name_that_does_not_fit_the_pattern_is_reported(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text(lines([HEADER], iso))
    with pytest.raises(SchemaError, match=r"its name does not fit symbol: \{symbol\}-\{interval\}"):
        fetch(tmp_path, symbol="{symbol}-{interval}")


def test_finer_candles_hint_at_the_base_interval(tmp_path: Path) -> None:
    hint = "Set base_interval: 1h beside interval: 4h"
    (tmp_path / "BTCUSDT.csv").write_text(lines([HEADER], iso))
    with pytest.raises(NoDataError, match=hint):
        fetch(tmp_path, "4h")
    (tmp_path / "BTCUSDT.csv").write_text(
        lines([f"{HEADER},interval"], iso, after=lambda _: ["1h"])
    )
    with pytest.raises(NoDataError, match=hint):
        fetch(tmp_path, "4h")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time_zone": "Berlin"}, "'Berlin' is no time zone"),
        ({"encoding": "klingon"}, "'klingon' is no encoding known here"),
        ({"symbol": "{name}"}, "unknown field {name}"),
        ({"symbol": "(?P<year>x)"}, "has no place for the symbol"),
        (
            {"columns": {"date": "opentime"}},
            "opentime is a column Weft does not read; did you mean open_time",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Files.Config(**options)
