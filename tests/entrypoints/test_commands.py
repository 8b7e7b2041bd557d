"""The other commands, and what all of them share."""

import os
import subprocess
import sys

import pytest

import weft as package
from tests.support import Weft

HEAVY = ("pandas", "torch", "sklearn", "xgboost", "transformers", "numba", "polars", "deltalake")


def test_help_imports_nothing_heavy_and_takes_no_time_to_speak_of() -> None:
    code = (
        "import sys, weft_app.cli as cli\n"
        "try: cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(weft: Weft) -> None:
    assert weft("--version").out == f"weft {package.__version__}\n"


def test_plugins_list_tells_what_is_used(weft: Weft) -> None:
    rows = {(r["kind"], r["name"]): r for r in weft("plugins", "list", "--json").json()}
    assert rows["layer", "technical"]["status"] == "active"
    assert rows["provider", "synthetic"]["status"] == "active"
    assert rows["provider", "binance"]["status"] in {"discovered", "disabled"}
    assert "technical" in weft("plugins", "list").out


def test_plugins_list_is_shown_even_where_the_config_has_a_mistake(weft: Weft) -> None:
    done = weft("plugins", "list", "--set", "layers.tecnical.weight=1")
    assert done.code == 2
    assert "Did you mean technical?" in done.err
    assert "volatility_target" in done.out


def test_plugins_info_tells_options_and_needs(weft: Weft) -> None:
    about = weft("plugins", "info", "technical", "--json").json()
    assert {option["name"] for option in about["options"]} >= {"trend", "momentum"}
    assert "rsi(window=14)" in about["needs"]
    assert "Options" in weft("plugins", "info", "provider:files").out


def test_plugins_info_of_nothing_suggests_something(weft: Weft) -> None:
    done = weft("plugins", "info", "tecnical")
    assert done.code == 1
    assert "Did you mean technical?" in done.err


def test_config_check_names_every_mistake_with_its_key(weft: Weft) -> None:
    assert weft("config", "check").code == 0
    done = weft(
        "config",
        "check",
        "--set",
        "server.prot=1",
        "--set",
        "layers.technical.trned=0.5",
        "--set",
        "risk.window=many",
    )
    assert done.code == 2
    for told in ("server.prot", "did you mean port"):
        assert told.casefold() in done.err.casefold()


def test_doctor_finds_a_healthy_machine_healthy(weft: Weft) -> None:
    done = weft("doctor")
    assert done.code == 0, done.out
    for about in ("machine", "config", "lake", "ledger", "indicators", "candles"):
        assert about in done.out


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_doctor_names_a_folder_that_cannot_be_written(weft: Weft) -> None:
    done = weft("doctor", "--set", "storage.lake=/proc/lake")
    assert done.code == 1
    assert "storage.lake" in done.out


def test_ledger_verify_of_an_empty_ledger(weft: Weft) -> None:
    assert weft("ledger", "verify").out.startswith("0 rows")


def test_recorded_signals_are_made_again(weft: Weft) -> None:
    at = ("--as-of", "2026-03-01T00:00:00Z")
    signals = weft("signals", *at, "--json").json()["signals"]
    weft("signals", "--as-of", "2026-02-01T00:00:00Z")
    done = weft("replay")
    assert done.code == 0
    assert f"{2 * len(signals)} of {2 * len(signals)} made again to the last byte" in done.err
    one = weft("replay", signals[0]["id"][:8])
    assert "1 of 1 made again" in one.err
    changed = weft("replay", signals[0]["id"], "--set", "ensemble.long_above=99")
    assert changed.code == 1
    assert "versions.config" in changed.err
    unknown = weft("replay", "0123456789")
    assert unknown.code == 1
    assert "no signal '0123456789' is recorded" in unknown.err
