"""Options of every command, and the first steps that commands share."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

import weft
from tests.support import ALONE, ALONE_SET, make_engine
from weft.components.universe import Universe
from weft.domain.instruments import describe
from weft.domain.signal import Report
from weft.foundation.errors import ConfigError, NoDataError, StorageError, WeftError
from weft.foundation.times import parse_instant, parse_time
from weft_app import commands as command_package
from weft_app.cli import COMMANDS, LazyCommand
from weft_app.cli import app as command_line
from weft_app.commands.config import notes_on
from weft_app.commands.signals import select
from weft_app.demo import sandboxed
from weft_app.profile import Profile
from weft_app.session import open_engine, warn_about


class _Answering:
    """A server on loopback that answers each path with a document."""

    def __init__(self, documents: dict[str, Any]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(orjson.dumps(documents[self.path]))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._server.server_address[1])

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


SERVERS = {("serve",), ("sandbox",)}
"""Commands that run until they are stopped, and have no result."""


def commands(group: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield name and command of every command that is not a group."""
    for part, listed in group.commands.items():
        command = listed.load() if isinstance(listed, LazyCommand) else listed
        if hasattr(command, "commands"):
            yield from commands(command, (*name, part))
        else:
            yield (*name, part), command


ALL = dict(commands(typer.main.get_command(command_line)))


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_every_command_takes_the_shared_options_once(name: tuple[str, ...]) -> None:
    options = [word for parameter in ALL[name].params for word in parameter.opts]
    shared = ["--config", "-c", "--set", "--sandbox", "--home", "--verbose", "-v"]
    assert {word: options.count(word) for word in shared} == dict.fromkeys(shared, 1)
    assert ("--json" in options) is (name not in SERVERS)


def test_the_list_of_commands_has_their_modules_and_their_help() -> None:
    folder = Path(command_package.__file__ or "").parent
    assert {file.stem.rstrip("_") for file in folder.glob("[!_]*.py")} == set(COMMANDS)
    for name, text in COMMANDS.items():
        assert text.startswith(LazyCommand(name).load().get_short_help_str(200))


@pytest.mark.parametrize(
    "line",
    [
        ["--set", "server.prot=1", "-c", "own.yaml", "config", "check"],
        ["config", "--set", "server.prot=1", "check", "-c", "own.yaml"],
        ["config", "check", "--set", "server.prot=1", "--config", "own.yaml"],
    ],
)
def test_shared_options_work_before_and_after_the_command(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("server: {hots: 127.0.0.1}\n")
    done = CliRunner().invoke(command_line, line)
    assert isinstance(done.exception, ConfigError)
    assert [problem.partition(":")[0] for problem in done.exception.problems] == [
        "server.hots",
        "server.prot",
    ]


def test_later_overrides_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["--set", "interval=4h", "config", "check", "--json", "--set", "interval=1d"]
    done = CliRunner().invoke(command_line, line)
    assert orjson.loads(done.stdout)["interval"] == "1d"


def test_home_selects_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # What the option sets is taken back after the test.
    monkeypatch.setenv("WEFT_HOME", "elsewhere")
    done = CliRunner().invoke(command_line, ["--home", "mine", "ledger", "verify"])
    assert (done.exit_code, done.stdout[:6]) == (0, "0 rows")
    assert (tmp_path / "mine" / "ledger.db").exists()


def test_short_options() -> None:
    assert CliRunner().invoke(command_line, ["-V"]).stdout == f"weft {weft.__version__}\n"
    result = CliRunner().invoke(command_line, ["signals", "-h"])
    assert (result.exit_code, "--as-of" in result.stdout) == (0, True)


def test_a_day_means_midnight_utc() -> None:
    assert parse_instant("2025-06-01") == parse_time("2025-06-01T00:00:00Z")
    assert parse_instant("2025-06-01T02:00:00+02:00") == parse_time("2025-06-01T00:00:00Z")
    with pytest.raises(WeftError, match="has no time zone"):
        parse_instant("2025-06-01T00:00:00")


OUTPUT = """
import orjson
from tests.support import sample_signal
from weft.domain.signal import Report
from weft_app.cli import accept_every_character
from weft_app.commands.signals import _print_table
from weft_app.terminal import print_json
accept_every_character()
one = sample_signal(symbol="\u5e01\u5b89\U0001f600USDT")
print_json(orjson.dumps({"symbol": one.symbol}))
_print_table(Report(one.as_of, "real", (one,), {}), "real data", {})
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_works_in_every_encoding(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTPUT],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    text = done.stdout.decode(encoding)
    assert orjson.loads(text.splitlines()[0]) == {"symbol": "\u5e01\u5b89\U0001f600USDT"}
    assert "\u5e01" in text or "???USDT" in text
    # A pipe has no width that a line could be broken at.
    assert any("USDT" in line and "technical +12" in line for line in text.splitlines()[1:])


def test_sandbox_data_is_kept_in_a_separate_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_HOME", str(tmp_path))
    # One vendor's key alone brings no candles to compose from.
    monkeypatch.setenv("FRED_API_KEY", "a-real-key")
    with sandboxed(Profile(overrides=["sandbox.port=0"])) as profile:
        assert f"storage.lake={tmp_path}/sandbox/lake" in profile.overrides
        assert f"storage.ledger=sqlite:///{tmp_path}/sandbox/ledger.db" in profile.overrides
        assert "providers.fred.api_key=sandbox" in profile.overrides
        assert not any("a-real-key" in override for override in profile.overrides)


def test_the_sandbox_never_replaces_real_candles(tmp_path: Path) -> None:
    real = [f"providers.files.path={tmp_path}"]
    with sandboxed(Profile(overrides=real)) as profile:
        assert profile.overrides == real


def test_a_missing_source_of_candles_is_named(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, *ALONE, "providers.fred.api_key=a-key")
    with pytest.raises(NoDataError, match=r"source of candles is missing.*other data: fred"):
        engine.view()
    assert list(notes_on(engine.composition)) == [
        "providers: no enabled provider brings candles: fred"
    ]
    engine.close()


def test_config_check_notes_layers_without_weight_and_absent_paths(tmp_path: Path) -> None:
    silent = make_engine(tmp_path, *ALONE, "layers.technical.weight=0")
    assert list(notes_on(silent.composition)) == ["layers: every weight is 0, so no layer counts"]
    silent.close()
    gone = tmp_path / "gone"
    over = (*ALONE, "layers.technical.enabled=false", f"providers.files.path={gone}")
    empty = make_engine(tmp_path, *over)
    assert list(notes_on(empty.composition)) == [
        "layers: no layer is enabled, so every signal is NEUTRAL",
        f"providers.files.path: {gone} does not exist",
    ]
    empty.close()


def test_symbols_without_a_source_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = make_engine(tmp_path, *ALONE, "universe.symbols=[btc/usdt, NOPE, ETHUSDT]")
    assert isinstance(engine.composition.universe, Universe)
    _know(engine, "BTCUSDT", "ETHUSDT")
    warn_about(Report("2026-01-01T00:00:00Z", "real", (), {}), engine)
    assert capsys.readouterr().err.splitlines() == [
        "universe: no source brings btc/usdt; did you mean BTCUSDT?",
        "universe: no source brings NOPE",
    ]
    engine.close()


def test_symbols_on_the_command_line_accept_any_spelling(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, *ALONE)
    _know(engine, "BTCUSDT", "ETH-USD")
    report = Report("2026-01-01T00:00:00Z", "real", (), {})
    assert select(report, ["btc/usdt", "ethusd"], engine).omitted.keys() == {"BTCUSDT", "ETH-USD"}
    engine.close()


def _know(engine: Any, *symbols: str) -> None:
    for symbol in symbols:
        engine.market.instruments.add(describe(symbol))


def test_a_command_that_records_nothing_works_without_a_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no-ledger.db").write_text("this is a text, and no database of any kind\n" * 100)
    over = [f"storage.ledger=sqlite:///{tmp_path}/no-ledger.db", *ALONE]
    with pytest.raises(StorageError):
        open_engine(Profile(overrides=over))
    engine = open_engine(Profile(overrides=over), records=False)
    assert engine.ledger.verify()[0] == 0
    assert "records nothing and goes on without the ledger" in capsys.readouterr().err
    engine.close()


@pytest.mark.parametrize("health", [{"installation": "another"}, {"status": "ok"}, ["no map"]])
def test_provider_status_ignores_the_server_of_another_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, health: object
) -> None:
    monkeypatch.chdir(tmp_path)
    with _Answering({"/health": health, "/providers/status": []}) as port:
        line = ["providers", "status", "--set", f"server.port={port}", *ALONE_SET]
        done = CliRunner().invoke(command_line, line)
    assert done.exit_code == 0
    assert f"The server on http://127.0.0.1:{port} is another installation" in done.stderr
    assert "synthetic" in done.stdout
