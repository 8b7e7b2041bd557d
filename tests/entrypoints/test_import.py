"""`weft import`: what it shows of files as people have them, and what it writes."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.support import Weft
from weft.config.loading import load_settings
from weft.config.resolve import validate_options
from weft_app.cli import app
from weft_providers.files.provider import Files

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS = 48
KLINE_REST = ("1704070799999", "7683467.86", "1200", "64.01", "3841733.9", "0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, and a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("WEFT_HOME", str(tmp_path / "home"))
    yield tmp_path
    assert not (tmp_path / "home").exists(), "the command stored something"


def run(*arguments: str | Path) -> Result:
    """Run the command; a traceback is never an answer."""
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def survey(*arguments: str | Path) -> Any:
    """Return what the command prints as JSON, of its first path."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["paths"][0]


def candle(row: int) -> tuple[float, float, float, float, float]:
    opened, closed = 1000.0 + 3 * row, 1001.25 + 3 * row
    return opened, closed + 2.5, opened - 1.75, closed, 10.5 + row


def at(row: int, step: timedelta = timedelta(hours=1)) -> datetime:
    return START + row * step


def text(
    header: str,
    stamp: Callable[[int], str],
    *,
    separator: str = ",",
    rows: range = range(ROWS),
    number: Callable[[float], str] = str,
    rest: tuple[str, ...] = (),
) -> str:
    body = [separator.join([stamp(i), *map(number, candle(i)), *rest]) for i in rows]
    return "\n".join(([header] if header else []) + body) + "\n"


def iso(row: int) -> str:
    return at(row).strftime("%Y-%m-%dT%H:%M:%SZ")


def millis(row: int) -> str:
    return str(int(at(row).timestamp()) * 1000)


HEADER = "open_time,open,high,low,close,volume"


def binance_months(folder: Path) -> None:
    for month, rows in (("2024-01", range(24)), ("2024-02", range(24, ROWS))):
        body = text("", millis, rows=rows, rest=KLINE_REST)
        (folder / f"BTCUSDT-1h-{month}.csv").write_text(body)


def preamble(folder: Path) -> None:
    body = text(HEADER, iso)
    (folder / "BTCUSDT.csv").write_text(f"https://www.example-data.test\n{body}")


def german(folder: Path) -> None:
    body = text(
        "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
        lambda i: at(i).strftime("%d.%m.%Y %H:%M"),
        separator=";",
        number=lambda x: str(x).replace(".", ","),
    )
    (folder / "BTCUSDT.csv").write_bytes(body.encode("cp1252"))


def apart(folder: Path) -> None:
    body = text(
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>",
        lambda i: at(i).strftime("%Y.%m.%d\t%H:%M:%S"),
        separator="\t",
    )
    (folder / "BTCUSDT.csv").write_text(body)


def mixed_units(folder: Path) -> None:
    body = text(HEADER, lambda i: millis(i) if i < 30 else f"{millis(i)}000")
    (folder / "BTCUSDT.csv").write_text(body)


def futures(folder: Path) -> None:
    frame = pl.DataFrame(
        [(at(i), *candle(i)) for i in range(ROWS)],
        schema=["date", "open", "high", "low", "close", "volume"],
        orient="row",
    )
    frame.write_ipc(folder / "BTC_USDT_USDT-1h-futures.feather")


def futures_json(folder: Path) -> None:
    rows = [[int(millis(i)), *candle(i)] for i in range(ROWS)]
    packed = gzip.compress(json.dumps(rows).encode())
    (folder / "BTC_USDT_USDT-1h-futures.json.gz").write_bytes(packed)


def parquet(folder: Path) -> None:
    frame = pl.DataFrame(
        [("BTCUSDT", "1h", at(i), *candle(i)) for i in range(ROWS)],
        schema=["symbol", "interval", "open_time", "open", "high", "low", "close", "volume"],
        orient="row",
    )
    frame.write_parquet(folder / "all.parquet")


def folder_per_symbol(folder: Path) -> None:
    (folder / "BTCUSDT" / "1h").mkdir(parents=True)
    (folder / "BTCUSDT" / "1h" / "2024-01.csv").write_text(text(HEADER, iso))


KINDS: dict[str, tuple[Callable[[Path], None], str, str, str]] = {
    # how files are written, where symbol and interval come from, how times are written
    "a dump without header, one file a month": (
        binance_months,
        "name",
        "name",
        "milliseconds since 1970",
    ),
    "a line above the header": (preamble, "name", "spacing", "ISO 8601"),
    "semicolons, decimal commas, cp1252": (german, "name", "spacing", "%d.%m.%Y %H:%M"),
    "date and time apart": (apart, "name", "spacing", "%Y.%m.%d %H:%M:%S%.f"),
    "stamps of two units": (
        mixed_units,
        "name",
        "spacing",
        "milliseconds and microseconds since 1970",
    ),
    "futures as Feather": (futures, "name", "name", "timestamps in UTC"),
    "futures as JSON": (futures_json, "name", "name", "milliseconds since 1970"),
    "Parquet": (parquet, "column", "column", "timestamps in UTC"),
    "a folder for each symbol": (folder_per_symbol, "name", "name", "ISO 8601"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_import_shows_how_files_are_read(kind: str, home: Path) -> None:
    write, symbol_from, interval_from, time_form = KINDS[kind]
    folder = home / "candles"
    folder.mkdir()
    write(folder)
    seen = survey(folder)
    (series,) = seen["series"]
    assert (series["symbol"], series["interval"], series["rows"]) == ("BTCUSDT", "1h", ROWS)
    assert (series["first"], series["last"]) == (iso(0), iso(ROWS - 1))
    assert (series["gaps"], series["missing"], series["used"]) == ([], 0, True)
    assert series["kind"] == ("perpetual" if "futures" in kind else "spot")
    for report in seen["files"]:
        assert (report["status"], report["refused"]) == ("read", 0)
        assert (report["symbol_from"], report["interval_from"]) == (symbol_from, interval_from)
        times = [c for c in report["columns"] if c["name"] in {"open_time", "date", "time"}]
        assert {column["form"] for column in times} == {time_form}
        prices = {c["name"]: c["sample"].replace(",", ".") for c in report["columns"]}
        first = 24 if report["name"].endswith("02.csv") else 0
        assert [float(prices[n]) for n in ("open", "high", "low", "close", "volume")] == list(
            candle(first)
        )
    table = run(folder)
    assert table.exit_code == 0
    assert max(map(len, table.stdout.split("To keep this reading")[0].splitlines())) <= 80
    for word in ("BTCUSDT", "open_time", "2024-01-01 00:00", "2024-01-02 23:00"):
        assert word in table.stdout


def test_import_shows_gaps_across_files(home: Path) -> None:
    binance_months(home)
    (home / "BTCUSDT-1h-2024-02.csv").write_text(
        text("", millis, rows=range(29, ROWS), rest=KLINE_REST)
    )
    (series,) = survey(home)["series"]
    assert (series["files"], series["rows"], series["missing"]) == (2, ROWS - 5, 5)
    assert series["gaps"] == [{"after": iso(23), "before": iso(29), "candles": 5}]
    assert "5 candles missing: 5 between 2024-01-01 23:00" in " ".join(run(home).stdout.split())


def test_import_shows_candles_that_files_contradict_each_other_in(home: Path) -> None:
    (home / "BTCUSDT.csv").write_text(text(HEADER, iso))
    other = text(HEADER, iso, rows=range(40, ROWS)).replace(",50.5\n", ",51.5\n")
    (home / "BTCUSDT-1h.csv").write_text(other)
    (series,) = survey(home)["series"]
    assert (series["files"], series["rows"], series["conflicts"]) == (2, ROWS, 1)
    assert "1 candle with different values in several files" in run(home).stdout


def test_table_fits_80_columns_however_many_symbols_and_intervals(home: Path) -> None:
    for name in ("1000000MOGUSDT", "BTC_USDT_USDT-1h-futures", "EURUSD", "AAPL"):
        (home / f"{name}.csv").write_text(text(HEADER, iso))
    rows = "".join(f"{at(d, timedelta(days=1)):%Y-%m-%d},10,11,9,10.5,7\n" for d in range(40))
    (home / "SPY-1d.csv").write_text(f"{HEADER}\n{rows}")
    shown = run(home)
    lines = shown.stdout.split("To keep this reading")[0].splitlines()
    assert max(map(len, lines)) <= 80
    assert {"spot", "perpetual", "equity", "1h", "1d"} <= set(shown.stdout.split())


def test_import_shows_a_closed_market_without_gaps(home: Path) -> None:
    days = [START + timedelta(days=d) for d in range(40)]
    open_days = [day for day in days if day.weekday() < 5]
    rows = "".join(f"{day:%Y-%m-%d},10,11,9,10.5,7\n" for day in open_days)
    (home / "AAPL.csv").write_text(f"{HEADER}\n{rows}")
    (series,) = survey(home, "--set", "interval=1d")["series"]
    assert (series["kind"], series["gaps"], series["missing"]) == ("equity", [], None)


def test_import_lists_every_line_left_out_with_its_reason(home: Path) -> None:
    lines = text(HEADER, iso).splitlines()
    lines[7] = lines[7].replace("10", "ten", 1)
    lines[9] = "2024-01-01T08:00:00Z,1024.0,1027"
    lines[11] = "2024-01-01T10:00:00Z,1030.0,1.0,1028.25,1031.25,20.5"
    lines.append(lines[20])
    lines.append(lines[21].replace("1061.25", "1061.5"))
    (home / "BTCUSDT.csv").write_text("\n".join(lines))
    (report,) = survey(home)["files"]
    assert report["refused"] == 6
    reasons = {line["line"]: line["reason"] for line in report["refused_lines"]}
    assert reasons == {
        8: "open 'ten18.0' is no number",
        10: "its low is missing",
        12: "high below low",
        22: "same open_time as another line, with different values",
        50: "repeats another line",
        51: "same open_time as another line, with different values",
    }
    shown = run(home).stdout
    assert "6 rows left out" in shown
    assert "line 8: open 'ten18.0' is no number" in shown


def test_import_names_the_option_that_decides(home: Path) -> None:
    (home / "BTCUSDT.csv").write_text(
        text(HEADER, lambda i: at(i + 24).strftime("%m/%d/%Y %H:%M"), rows=range(24))
    )
    (home / "ETHUSDT.csv").write_text(text(HEADER, iso))
    reports = {report["name"]: report for report in survey(home)["files"]}
    assert reports["BTCUSDT.csv"]["status"] == "not read"
    assert "is it day or month first?" in reports["BTCUSDT.csv"]["problem"]
    assert 'time_format: "%m/%d/%Y %H:%M"' in reports["BTCUSDT.csv"]["hint"]
    option = ("--time-format", "%m/%d/%Y %H:%M")
    decided = survey(home / "BTCUSDT.csv", *option)
    assert decided["series"][0]["rows"] == 24
    again = run(home / "BTCUSDT.csv", *option).stdout.strip().splitlines()[-1]
    assert again.endswith("BTCUSDT.csv --time-format '%m/%d/%Y %H:%M' --write config.yaml")
    by_key = survey(home / "BTCUSDT.csv", "--set", "providers.files.time_format=%m/%d/%Y %H:%M")
    assert by_key == decided


OPTIONS = {
    "--columns": "[open_time, open, high, low, close, volume]",
    "--separator": "tab",
    "--decimal": ",",
    "--encoding": "latin-1",
    "--skip-rows": "1",
    "--time-format": "%H:%M %d/%m/%y",
    "--time-zone": "America/New_York",
    "--symbol": "{symbol}",
    "--interval": "60m",
    "--pattern": "*.txt",
    "--venue": "somewhere",
    "--market": "spot",
}


def test_import_writes_options_that_read_the_same(home: Path) -> None:
    zone = timedelta(hours=-5)
    body = text(
        "p\tq\tr\ts\tu\tw",
        lambda i: (at(i) + zone).strftime("%H:%M %d/%m/%y"),
        separator="\t",
        number=lambda x: str(x).replace(".", ","),
    )
    (home / "ABC.txt").write_text(f"größer\n{body}".replace("größer\np", "p"), "latin-1")
    words = [word for option in OPTIONS.items() for word in option]
    done = run(home, *words, "--write", "new/config.yaml")
    assert done.exit_code == 0, done.output
    assert "Next: weft signals -c new/config.yaml" in done.stdout
    loaded = load_settings(home / "new" / "config.yaml", environ={})
    slot = loaded.settings.providers["files"]
    config = validate_options(Files, slot, "providers.files", loaded.origins)
    assert config.model_dump(mode="json", exclude_defaults=True) == {
        "path": str(home),
        "pattern": "*.txt",
        "venue": "somewhere",
        "market": "spot",
        "columns": ["open_time", "open", "high", "low", "close", "volume"],
        "symbol": "{symbol}",
        "interval": "1h",
        "separator": "\t",
        "decimal": ",",
        "encoding": "iso8859-1",
        "skip_rows": 1,
        "time_format": "%H:%M %d/%m/%y",
        "time_zone": "America/New_York",
    }
    shown = survey(home, *words)
    assert shown["series"][0]["first"] == iso(0)
    assert survey(home, "-c", "new/config.yaml") == shown
    unchanged = run(home, *words, "--write", "new/config.yaml")
    assert "nothing, as it reads the files so already" in unchanged.stdout


CONFIG = """\
# My composition
providers:
  binance: {enabled: false}  # later

# Layers
layers:
  technical: {weight: 2}
"""


def test_import_adds_to_a_config_file_and_keeps_what_is_there(home: Path) -> None:
    for name in ("one", "two"):
        (home / name).mkdir()
        (home / name / "BTCUSDT.csv").write_text(text(HEADER, iso))
    file = home / "config.yaml"
    file.write_bytes(CONFIG.replace("\n", "\r\n").encode())
    assert run(home / "one", "--write", file).exit_code == 0
    first = file.read_bytes()
    assert first.count(b"\n") == first.count(b"\r\n")
    kept = [line for line in first.decode().splitlines() if line in CONFIG.splitlines()]
    assert kept == CONFIG.splitlines()
    second = run(home / "two", "--write", file, "--market", "perpetual")
    assert "providers.files_two.path" in second.stdout
    providers = load_settings(file, environ={}).settings.providers
    assert providers["files"].options["path"] == str(home / "one")
    assert providers["files_two"].use == "files"
    assert providers["files_two"].options == {"path": str(home / "two"), "market": "perpetual"}
    # The options of one folder are not those of another.
    assert survey(home / "one")["series"][0]["kind"] == "spot"


def test_import_leaves_a_config_file_with_mistakes_alone(home: Path) -> None:
    (home / "BTCUSDT.csv").write_text(text(HEADER, iso))
    file = home / "mine.yaml"
    file.write_text("layers: {tecnical: {}}\nproviders: [")
    result = CliRunner().invoke(app, ["import", str(home), "--write", str(file)])
    assert result.exit_code != 0
    assert file.read_text() == "layers: {tecnical: {}}\nproviders: ["
    assert sorted(p.name for p in home.iterdir()) == ["BTCUSDT.csv", "mine.yaml"]


def test_finer_candles_are_joined_by_a_base_interval(home: Path) -> None:
    (home / "BTCUSDT.csv").write_text(text(HEADER, iso))
    shown = run(home, "--set", "interval=4h")
    assert "Set base_interval: 1h" in " ".join(shown.stdout.split())
    written = run(home, "--set", "interval=4h", "--write", "config.yaml")
    assert "Next: weft signals --set interval=4h\n" in written.stdout
    assert load_settings(home / "config.yaml", environ={}).settings.base_interval == "1h"


def test_coarser_candles_set_the_interval_unless_the_file_has_one(home: Path) -> None:
    rows = "".join(f"{at(d, timedelta(days=1)):%Y-%m-%d},10,11,9,10.5,7\n" for d in range(40))
    (home / "BTCUSDT.csv").write_text(f"{HEADER}\n{rows}")
    assert "Next: weft signals -c a.yaml\n" in run(home, "--write", "a.yaml").stdout
    assert load_settings(home / "a.yaml", environ={}).settings.interval == "1d"
    (home / "b.yaml").write_text("interval: 1h  # mine\n")
    assert "weft signals -c b.yaml --set interval=1d" in run(home, "--write", "b.yaml").stdout
    assert (home / "b.yaml").read_text().startswith("interval: 1h  # mine\n")


def test_import_ends_with_1_where_nothing_can_be_read(home: Path) -> None:
    (home / "notes.csv").write_text("a,b\n1,2\n")
    result = run(home, "--write", "config.yaml")
    assert result.exit_code == 1
    assert "notes.csv" in result.stdout
    assert not (home / "config.yaml").exists()
    assert run(home, "--json").exit_code == 1
    empty = home / "empty"
    empty.mkdir()
    nothing = run(empty)
    assert nothing.exit_code == 1
    assert "no file in" in nothing.stdout


def test_import_waits_for_a_candle_that_closed_after_its_file_was_written(home: Path) -> None:
    file = home / "BTCUSDT.csv"
    file.write_text(text(HEADER, iso))
    half_past = int((at(ROWS - 1) + timedelta(minutes=30)).timestamp())
    os.utime(file, (half_past, half_past))
    (report,) = survey(home)["files"]
    assert (report["rows"], report["refused"]) == (ROWS - 1, 1)
    assert "waits until it is written again" in report["refused_lines"][0]["reason"]


def test_what_import_writes_composes_signals_in_a_process_of_its_own(
    weft: Weft, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("candles")
    binance_months(folder)
    done = weft("import", str(folder), "--write", "config.yaml")
    assert done.code == 0, done.err
    assert f"Reading {folder} ..." in done.err
    assert "Next: weft signals\n" in done.out
