"""What others wrote is printed as it is: it is no markup of ours."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import ALONE, ALONE_SET, make_engine, sample_signal
from weft.collect.intake import RoundResult
from weft.domain.signal import UNKNOWN_REGIME, Report
from weft_app.cli import app as command_line
from weft_app.commands import backfill, explain, signals
from weft_app.progress import duration
from weft_app.session import print_problems, print_round
from weft_app.terminal import open_results

LINES = (
    "needs feedparser. pip install 'weft[news]'",
    "the line [/x] ends what never began",
    "[bold red]loud[/]",
    "a key :key: is no picture",
    "a folder C:\\data\\[a]",
)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")


@pytest.mark.parametrize("line", LINES)
def test_a_problem_is_printed_whole(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_problems(RoundResult("rss", problems=[line, "next"], error=f"{line}."))
    assert capsys.readouterr().err.splitlines() == [f"rss: {line}", "rss: next", f"rss: {line}."]


def test_an_error_that_is_among_the_problems_is_printed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_problems(RoundResult("rss", problems=["HTTP 503", "next"], error="HTTP 503"))
    assert capsys.readouterr().err.splitlines() == ["rss: HTTP 503", "rss: next"]


@pytest.mark.parametrize("line", LINES)
def test_an_error_stands_whole_in_a_table(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    open_results().print(backfill._summary([RoundResult("rss", error=line)]))
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("line", LINES)
def test_what_a_signal_says_stands_whole_in_a_table(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sample_signal(symbol=line, missing_models={"regime": line})
    signals._print_table(Report(one.as_of, "real", (one,), {"ETHUSDT": line}), "real data", {})
    told = capsys.readouterr().out
    assert f"regime: {line}" in told
    assert f" {line} " in told
    assert f"ETHUSDT: no signal: {line}" in told
    explain._print_head(open_results(), one, "real data")
    assert f"{line} as of" in capsys.readouterr().out


def test_a_regime_that_is_not_trusted_is_not_printed_as_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = sample_signal()
    assert known.regime is not None
    for regime, said, unsaid in (
        (known.regime, "bull (bull 75%), trust 0.90; probability of a change", "unknown"),
        (
            replace(known.regime, name=UNKNOWN_REGIME, trust=0.0, change_probability=None),
            "Regime unknown: trust in its model is 0.00",
            "75%",
        ),
    ):
        one = replace(known, regime=regime)
        explain._print_head(open_results(), one, "real data")
        head = " ".join(capsys.readouterr().out.split())
        assert said in head
        assert unsaid not in head
        title = signals._regime(Report(one.as_of, "real", (one,), {}))
        assert title == f"; regime {'bull (75%)' if regime.trust else 'unknown'}"


def test_symbols_without_a_signal_share_a_line_for_each_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = sample_signal(missing_models={"models.a": "none", "models.b": "none", "models.c": "none"})
    omitted = {f"COIN{n}USDT": "not in the universe (listed)" for n in range(35)}
    report = Report(one.as_of, "real", (one,), {**omitted, "SOLUSDT": "its candles stop"})
    signals._print_table(report, "real data", {"models.c": "training since 21:21 UTC, 30 % done"})
    told = capsys.readouterr().out
    assert "35 other symbols have no signal: not in the universe (listed)" in told
    assert "SOLUSDT: no signal: its candles stop" in told
    assert "COIN7USDT" not in told
    assert "models.a, models.b: none" in told
    assert "models.c: training since 21:21 UTC, 30 % done" in told


def test_the_table_says_which_layers_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    one = sample_signal(missing_layers={"correlation": "gave no answer within 20 seconds"})
    signals._print_table(Report(one.as_of, "real", (one,), {}), "real data", {})
    line = "The signals lack the layer correlation: gave no answer within 20 seconds"
    assert line in capsys.readouterr().out


def test_sources_that_lack_something_share_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    on = [f"providers.{name}.api_key=a-key" for name in ("glassnode", "fred", "messari")]
    engine = make_engine(tmp_path, *ALONE, *on, f"providers.files.path={tmp_path}")
    files = RoundResult("files", problems=["BTC.csv: a candle was refused"])
    lacking = RoundResult("glassnode", problems=["sopr ETH: " + "not in the plan " * 20])
    print_round(engine, [files, RoundResult("fred"), RoundResult("messari"), lacking])
    assert len(capsys.readouterr().err.splitlines()) == 2
    failed = RoundResult("fred", error="HTTP 503")
    print_round(engine, [files, failed, RoundResult("messari"), lacking])
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "files: BTC.csv: a candle was refused"
    assert told[1].startswith("2 sources answered in full; 1 in part: glassnode; 1 did not")
    assert told[1].endswith(
        "not answer: fred. For the reasons, add -v or run `weft providers check fred`."
    )
    assert len(told) == 2
    engine.close()


CANDLES = """symbol,interval,open_time,open,high,low,close,volume
BTC[/x],1h,2024-01-01T00:00:00Z,1,2,0.5,1,1
BTC[/x],1h,2024-01-01T01:00:00Z,1,2,0.5,1,-1
"""


@pytest.mark.parametrize("command", [["signals"], ["backfill"], ["providers", "status"]])
def test_no_name_breaks_a_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "[red]candles"
    folder.mkdir()
    (folder / "BTC[red].csv").write_text(CANDLES)
    over = ["--set", f"providers.files.path={folder}", *ALONE_SET]
    done = CliRunner().invoke(command_line, [*command, *over])
    assert (done.exception, done.exit_code) == (None, 0)
    if command != ["providers", "status"]:
        assert "BTC[/x]" in done.stderr


def test_no_error_breaks_the_check_of_a_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BTC[red].csv").write_text("[/x]\n1\n")
    over = ["--set", f"providers.files.path={tmp_path}/BTC[red].csv", *ALONE_SET]
    done = CliRunner().invoke(command_line, ["providers", "check", *over])
    assert done.exit_code == 1
    assert "BTC[red].csv" in done.stdout
    assert "[/x]" in done.stdout


def test_a_config_file_is_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[b].yaml").write_text("{}")
    done = CliRunner().invoke(command_line, ["config", "check", "--config", "a[b].yaml"])
    assert "a[b].yaml: no mistakes" in done.stdout


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.25, "0.2 s"),
        (119, "119.0 s"),
        (120, "2 minutes"),
        (7_200, "2 hours"),
        (86_400, "24 hours"),
        (9 * 31_557_600, "9 years"),
    ],
)
def test_a_time_span_is_told_in_one_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told
