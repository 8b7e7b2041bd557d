"""`weft signals`, run as a user runs it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.support import ALONE_SET, Weft, run_weft

AS_OF = "2025-03-01T00:00:00Z"
WALK_END = "2024-02-05T00:00:00Z"
Walk = Callable[..., pl.DataFrame]


@pytest.fixture
def folder(tmp_path: Path, walk: Walk) -> Path:
    """Candles of two coins, 900 hours from 2024-01-01."""
    folder = tmp_path / "candles"
    folder.mkdir()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        walk(symbol).write_parquet(folder / f"{symbol}.parquet")
    return folder


def from_files(folder: Path) -> tuple[str, str]:
    return "--set", f"providers.files.path={folder}"


def test_signals_on_real_history_do_not_depend_on_the_future(
    weft: Weft, real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "crypto_perp_1h"
    wanted = {"BTCUSDT", "ETHUSDT", "BNBUSDT", "ENAUSDT", "1000PEPEUSDT", "ARBUSDT"}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    for symbol in wanted:
        frame = pl.read_parquet(source / f"{symbol}.parquet")
        frame.write_parquet(whole / f"{symbol}.parquet")
        known = frame.filter(pl.col("open_time") < datetime(2025, 3, 1, tzinfo=UTC))
        known.write_parquet(cut / f"{symbol}.parquet")

    first = weft("signals", *from_files(whole), "--as-of", AS_OF, "--json")
    again = weft("signals", *from_files(whole), "--as-of", AS_OF, "--json")
    without = weft("signals", *from_files(cut), "--as-of", AS_OF, "--json")
    assert first.out == again.out == without.out

    report = first.json()
    signals = {s["symbol"]: s for s in report["signals"]}
    assert report["data"] == "real"
    # Arbitrum's candles in this set begin only in May 2025.
    assert set(signals) == wanted - {"ARBUSDT"}
    bitcoin = signals["BTCUSDT"]
    assert bitcoin["data"]["coverage"] == 1.0
    assert bitcoin["data"]["last_candle"] == AS_OF
    frame = pl.read_parquet(cut / "BTCUSDT.parquet").sort("open_time")
    assert bitcoin["entry"] == frame["close"][-1]
    # Its series has a gap of nine months that ends in February 2025.
    assert signals["1000PEPEUSDT"]["data"]["status"] == "live"


def test_a_signal_has_levels_layers_and_versions(weft: Weft, folder: Path) -> None:
    report = weft("signals", *from_files(folder), "--as-of", WALK_END, "--json").json()
    assert [s["symbol"] for s in report["signals"]] == ["BTCUSDT", "ETHUSDT"]
    for signal in report["signals"]:
        assert signal["as_of"] == WALK_END
        assert signal["interval"] == "1h"
        assert signal["horizon"] == "12h"
        assert signal["direction"] in {"LONG", "SHORT", "NEUTRAL"}
        assert -100 <= signal["score"] <= 100
        assert 0 <= signal["confidence"] <= 100
        assert signal["calibrated"] is False
        if signal["direction"] == "LONG":
            assert signal["stop_loss"] < signal["entry"] < signal["take_profit"]
        if signal["direction"] == "SHORT":
            assert signal["stop_loss"] > signal["entry"] > signal["take_profit"]
        by_name = {layer["name"]: layer for layer in signal["layers"]}
        assert by_name.keys() == {"correlation", "ml", "on_chain", "sentiment", "technical"}
        technical = by_name["technical"]
        assert technical["status"] == "ok"
        parts = ("trend", "momentum", "volatility", "volume", "structure")
        contributed = sum(technical["evidence"][part] or 0.0 for part in parts)
        assert contributed == pytest.approx(technical["score"])
        assert signal["versions"]["plugins"]["layer:technical"].startswith("weft ")


def test_signals_of_named_symbols_only(weft: Weft, folder: Path) -> None:
    done = weft("signals", "ETHUSDT", *from_files(folder), "--as-of", WALK_END, "--json")
    assert [s["symbol"] for s in done.json()["signals"]] == ["ETHUSDT"]


def test_every_signal_is_recorded_once(weft: Weft, folder: Path) -> None:
    for _ in range(2):
        weft("signals", *from_files(folder), "--as-of", WALK_END)
    # Two signals, and the arithmetic they were computed under.
    assert weft("ledger", "verify").out.startswith("3 rows")
    weft("signals", *from_files(folder), "--as-of", "2024-02-04T00:00:00Z", "--no-record")
    assert weft("ledger", "verify").out.startswith("3 rows")


def test_made_up_data_is_marked_in_json_table_and_messages(weft: Weft) -> None:
    done = weft("signals", "--json")
    report = done.json()
    assert report["data"] == "synthetic"
    assert {s["data"]["kind"] for s in report["signals"]} == {"synthetic"}
    assert "synthetic" in done.err
    table = weft("signals")
    assert "synthetic data" in table.out


def test_real_candles_replace_made_up_ones(weft: Weft, folder: Path) -> None:
    weft("signals")
    report = weft("signals", *from_files(folder), "--json").json()
    assert report["data"] == "real"
    assert {s["symbol"] for s in report["signals"]} == {"BTCUSDT", "ETHUSDT"}


def test_made_up_data_beside_real_data_is_refused(weft: Weft, folder: Path) -> None:
    done = weft("signals", *from_files(folder), "--set", "providers.synthetic.enabled=true")
    assert done.code == 2
    assert "providers.synthetic.enabled" in done.err


def test_a_hole_is_not_bridged(weft: Weft, tmp_path: Path, walk: Walk) -> None:
    frame = walk("BTCUSDT", rows=900)
    folder = tmp_path / "holed"
    folder.mkdir()
    pl.concat([frame[:700], frame[880:]]).write_parquet(folder / "BTCUSDT.parquet")
    report = weft(
        "signals", *from_files(folder), *ALONE_SET, "--as-of", "2024-02-07T12:00:00Z", "--json"
    ).json()
    (signal,) = report["signals"]
    # Twenty candles after the gap are too few for the long averages.
    assert signal["layers"][0]["evidence"]["sma_200"] is None
    assert signal["data"]["coverage"] < 0.2
    during = weft(
        "signals", *from_files(folder), "--as-of", "2024-02-01T00:00:00Z", "--json"
    ).json()
    assert during["signals"] == []
    assert "stop at 2024-01-30T04:00:00Z" in during["omitted"]["BTCUSDT"]


def test_a_late_candle_gives_a_stale_neutral_signal(weft: Weft, folder: Path, walk: Walk) -> None:
    walk("ETHUSDT")[:-2].write_parquet(folder / "ETHUSDT.parquet")
    report = weft("signals", "ETHUSDT", *from_files(folder), "--json").json()
    (signal,) = report["signals"]
    assert signal["data"]["status"] == "stale"
    assert signal["data"]["age_seconds"] == 7200
    assert signal["direction"] == "NEUTRAL"
    assert signal["entry"] is None
    assert signal["position_size"] == 0.0


BAD_FILES: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str]] = {
    "a missing column": (lambda f: f.drop("low"), "low"),
    "a high below a low": (
        lambda f: f.with_columns(
            high=pl.when(pl.int_range(pl.len()) == 5).then(1e-3).otherwise("high")
        ),
        "high below low",
    ),
    "a repeated candle": (lambda f: pl.concat([f, f[10:12]]), "repeated"),
    "a candle with two values": (
        lambda f: pl.concat([f, f[10:11].with_columns(pl.col("volume") * 2)]),
        "different values",
    ),
    "a file in disorder": (lambda f: f.sample(fraction=1.0, shuffle=True, seed=1), "out of order"),
    "a candle from the future": (
        lambda f: f.with_columns(
            open_time=pl.when(pl.int_range(pl.len()) == pl.len() - 1)
            .then(pl.col("open_time").dt.offset_by("20y"))
            .otherwise("open_time")
        ),
        "in the future",
    ),
    "seconds taken for milliseconds": (
        lambda f: f.with_columns(
            open_time=(pl.col("open_time").dt.epoch("s")).cast(pl.Datetime("ms", "UTC"))
        ),
        "1970",
    ),
}


# Only the technical layer: other layers use all coins together.
OF_THE_GOOD_ONE = ("signals", "BTCUSDT", *ALONE_SET, "--as-of", WALK_END, "--json")


@pytest.fixture(scope="module")
def without_the_bad_one(tmp_path_factory: pytest.TempPathFactory, walk: Walk) -> list[object]:
    """Signals of the good file without the bad one."""
    folder = tmp_path_factory.mktemp("good")
    walk("BTCUSDT").write_parquet(folder / "BTCUSDT.parquet")
    home = {"WEFT_HOME": str(tmp_path_factory.mktemp("home"))}
    expected: list[object] = run_weft(
        folder, *OF_THE_GOOD_ONE, *from_files(folder), env=home
    ).json()["signals"]
    return expected


@pytest.mark.parametrize("fault", BAD_FILES)
def test_a_bad_file_is_named_and_does_not_affect_other_files(
    fault: str, weft: Weft, folder: Path, walk: Walk, without_the_bad_one: list[object]
) -> None:
    spoil, message = BAD_FILES[fault]
    spoil(walk("ETHUSDT")).write_parquet(folder / "ETHUSDT.parquet")
    done = weft(*OF_THE_GOOD_ONE, *from_files(folder))
    assert message in done.err
    assert done.json()["signals"] == without_the_bad_one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("signals", "BTCUSD"), "Did you mean BTCUSDT?"),
        (("signals", "--as-of", "yesterday"), "not an ISO 8601 time"),
        (("signals", "--as-of", "2024-02-01T00:00:00"), "no time zone"),
        (("signals", "--as-of", "2044-02-01T00:00:00Z"), "in the future"),
        (("signals", "--as-of", "2001-02-01T00:00:00Z"), "earliest stored candle"),
        (("signals", "--set", "interval=7x"), "interval"),
    ],
)
def test_a_mistake_gives_one_message(
    arguments: tuple[str, ...], message: str, weft: Weft, folder: Path
) -> None:
    done = weft(*arguments, *from_files(folder))
    assert done.code != 0
    assert message in done.err
    assert done.out == ""


def test_an_empty_or_absent_folder_is_named(weft: Weft, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "absent"):
        done = weft("signals", *from_files(folder))
        assert done.code != 0
        assert str(folder) in done.err
