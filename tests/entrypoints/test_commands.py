"""`weft plugins`, `config`, `doctor`, `ledger` and `replay`."""

import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

import weft as package
from tests.support import ALONE_SET, Weft
from weft.config.loading import load_settings
from weft.foundation.errors import UnknownSymbolError
from weft_app.cli import app as command_line
from weft_app.commands import doctor, serve
from weft_app.scheduler import Retrainer

HEAVY = ("pandas", "torch", "sklearn", "xgboost", "transformers", "numba", "polars", "deltalake")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, weft_app.cli as cli\n"
        "try: cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(weft_process: Weft) -> None:
    assert weft_process("--version").out == f"weft {package.__version__}\n"


def test_plugins_list_shows_which_components_are_in_use(weft: Weft) -> None:
    rows = {(r["kind"], r["name"]): r for r in weft("plugins", "list", "--json").json()}
    assert rows["layer", "technical"]["status"] == "active"
    assert rows["provider", "synthetic"]["status"] == "active"
    assert rows["provider", "binance"]["status"] in {"discovered", "disabled"}
    assert "technical" in weft("plugins", "list").out


def test_plugins_list_is_printed_despite_a_config_mistake(weft: Weft) -> None:
    done = weft("plugins", "list", "--set", "layers.tecnical.weight=1")
    assert done.code == 2
    assert "Did you mean technical?" in done.err
    assert "volatility_target" in done.out


def test_plugins_info_lists_options_and_needs(weft: Weft) -> None:
    about = weft("plugins", "info", "technical", "--json").json()
    assert {option["name"] for option in about["options"]} >= {"trend", "momentum"}
    assert "rsi(window=14)" in about["needs"]
    assert "Options" in weft("plugins", "info", "provider:files").out


def test_plugins_info_of_an_unknown_name_suggests_a_component(weft: Weft) -> None:
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
    for text in ("server.prot", "did you mean port"):
        assert text.casefold() in done.err.casefold()


def test_config_init_writes_a_valid_file_and_never_overwrites_one(
    weft: Weft, tmp_path: Path
) -> None:
    done = weft("config", "init")
    assert done.code == 0
    assert "weft config check -c config.yaml" in done.out
    file = tmp_path / "cwd" / "config.yaml"
    assert weft("config", "check", "-c", "config.yaml").code == 0
    file.write_text("interval: 4h\n")
    again = weft("config", "init")
    assert again.code == 1
    assert "config.yaml: exists already" in again.err
    assert file.read_text() == "interval: 4h\n"


def test_doctor_passes_on_a_healthy_machine(weft: Weft) -> None:
    done = weft("doctor")
    assert done.code == 0, done.out
    for about in ("machine", "config", "lake", "ledger", "indicators", "candles"):
        assert about in done.out


@pytest.fixture
def ipv6() -> Iterator[socket.socket]:
    """A socket that listens on the loopback of IPv6."""
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        taken.listen()
        yield taken


def _doctor_on(host: str, port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    over = ["--set", f"server.host={host}", "--set", f"server.port={port}"]
    done = CliRunner().invoke(command_line, ["doctor", *ALONE_SET, *over])
    return next(line for line in done.stdout.splitlines() if " port: " in line)


def test_doctor_checks_the_configured_address(
    ipv6: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = ipv6.getsockname()[1]
    assert "is in use" in _doctor_on("::1", port, tmp_path, monkeypatch)
    assert f"127.0.0.1:{port} is free" in _doctor_on("127.0.0.1", port, tmp_path, monkeypatch)
    ipv6.close()
    assert f"[::1]:{port} is free" in _doctor_on("::1", port, tmp_path, monkeypatch)
    # An address reserved for documentation; no machine has it.
    text = _doctor_on("192.0.2.1", port, tmp_path, monkeypatch)
    assert text.startswith("bad ")
    assert f"cannot listen on 192.0.2.1:{port}" in text


def test_doctor_checks_every_package_of_the_extras() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert doctor.EXTRAS.keys() == extras.keys() - {"all", "dev", "postgres", "testing"}
    homes = packages_distributions()
    for extra, modules in doctor.EXTRAS.items():
        asked = [Requirement(text) for text in extras[extra]]
        wanted = {canonicalize_name(r.name) for r in asked if not r.marker or r.marker.evaluate()}
        packages = {canonicalize_name(home) for module in modules for home in homes[module]}
        assert packages >= wanted
        assert len(modules) == len(wanted)


@pytest.mark.parametrize(("extra", "module"), [("news", "feedparser"), ("text", "transformers")])
def test_doctor_names_a_missing_extra(
    extra: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    packages = {one.about: one for one in doctor._extras()}
    assert (
        packages.pop(f"extra {extra}").says
        == f"{module} not installed; pip install 'weft[{extra}]'"
    )
    assert {one.says for one in packages.values()} == {"installed"}


def _is_open(file: Path) -> bool:
    return str(file) in {os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()}


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@needs_proc
def test_failed_signals_close_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = tmp_path / "ledger.db"
    over = ["--set", f"storage.ledger=sqlite:///{ledger}", *ALONE_SET]
    done = CliRunner().invoke(command_line, ["signals", "NOPE", *over])
    assert isinstance(done.exception, UnknownSymbolError)
    assert ledger.exists()
    assert not _is_open(ledger)


@needs_proc
def test_a_failed_server_closes_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "ledger.db"
    places = [f"storage.lake={tmp_path}/lake", f"storage.ledger=sqlite:///{ledger}"]
    loaded = load_settings(overrides=[*ALONE_SET[1::2], *places], environ={})
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def listen(*_: object, **__: object) -> None:
        assert _is_open(ledger)
        raise ConnectionError

    def create(*_: object, **__: object) -> None:
        return None

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionError) as failed:
        serve._serve(loaded, Retrainer(None, []), "127.0.0.1", port, create, listen)
    assert failed.traceback
    assert not _is_open(ledger)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_doctor_names_a_read_only_folder(weft: Weft) -> None:
    done = weft("doctor", "--set", "storage.lake=/proc/lake")
    assert done.code == 1
    assert "storage.lake" in done.out


def test_ledger_verify_of_an_empty_ledger(weft: Weft) -> None:
    assert weft("ledger", "verify").out.startswith("0 rows")


def test_replay_composes_recorded_signals_again(weft: Weft) -> None:
    at = ("--as-of", "2026-03-01T00:00:00Z")
    signals = weft("signals", *at, "--json").json()["signals"]
    weft("signals", "--as-of", "2026-02-01T00:00:00Z")
    done = weft("replay")
    assert done.code == 0
    assert f"{2 * len(signals)} of {2 * len(signals)} identical to the last byte" in done.out
    one = weft("replay", signals[0]["id"][:8])
    assert "1 of 1 identical" in one.out
    changed = weft("replay", signals[0]["id"], "--set", "ensemble.long_above=99")
    assert changed.code == 1
    assert "versions.config" in changed.out
    unknown = weft("replay", "0123456789")
    assert unknown.code == 1
    assert "no signal '0123456789' is recorded" in unknown.err


def test_replay_names_the_differences_of_another_arithmetic(weft: Weft, weft_process: Weft) -> None:
    count = len(weft("signals", "--json").json()["signals"])
    assert "another arithmetic" not in weft("replay").out
    done = weft_process("replay", env={"OPENBLAS_CORETYPE": "Prescott"})
    assert done.code == 0
    assert f"{count} of {count} identical" in done.out
    text = done.out.replace("\n", " ")
    assert "Recorded under another arithmetic: settings was" in text
    assert "OPENBLAS_CORETYPE=Prescott" in text
