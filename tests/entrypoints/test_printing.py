"""Text from plugins, sources and files is printed as it is, never read as markup."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import ALONE, ALONE_SET, fetch, make_engine, sample_signal
from weft.collect.intake import RoundResult
from weft.domain.signal import UNKNOWN_REGIME, Report
from weft.engine.explain import Explanation
from weft_app.cli import app as command_line
from weft_app.commands import backfill, explain, signals
from weft_app.figures import RISK, SIZING, wording_of
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
def test_a_problem_is_printed_without_markup(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_problems(RoundResult("rss", problems=[line, "next"], error=f"{line}."))
    assert capsys.readouterr().err.splitlines() == [f"rss: {line}", "rss: next", f"rss: {line}."]


def test_an_error_that_repeats_a_problem_is_printed_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_problems(RoundResult("rss", problems=["HTTP 503", "next"], error="HTTP 503"))
    assert capsys.readouterr().err.splitlines() == ["rss: HTTP 503", "rss: next"]


@pytest.mark.parametrize("line", LINES)
def test_an_error_in_a_table_is_printed_without_markup(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    open_results().print(backfill._summary([RoundResult("rss", error=line)]))
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("line", LINES)
def test_texts_of_a_signal_are_printed_without_markup(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sample_signal(symbol=line, missing_models={"regime": line})
    signals._print_table(Report(one.as_of, "real", (one,), {"ETHUSDT": line}), "real data", {})
    output = capsys.readouterr().out
    assert f"regime: {line}" in output
    assert f" {line} " in output
    assert f"ETHUSDT: no signal: {line}" in output
    explain._print_head(open_results(), one, "real data")
    assert f"{line} as of" in capsys.readouterr().out


def test_an_untrusted_regime_is_printed_as_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample = sample_signal()
    assert sample.regime is not None
    for regime, expected, unexpected in (
        (sample.regime, "bull (bull 75%), trust 0.90; probability of a change", "unknown"),
        (
            replace(sample.regime, name=UNKNOWN_REGIME, trust=0.0, change_probability=None),
            "Regime unknown: trust in its model is 0.00",
            "75%",
        ),
    ):
        one = replace(sample, regime=regime)
        explain._print_head(open_results(), one, "real data")
        head = " ".join(capsys.readouterr().out.split())
        assert expected in head
        assert unexpected not in head
        title = signals._regime(Report(one.as_of, "real", (one,), {}))
        assert title == f"; regime {'bull (75%)' if regime.trust else 'unknown'}"


def test_figures_are_printed_with_words_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    risk = {"var_99": 0.0412, "gbm_var_99": 0.0385, "stop_first": 0.39, "shock_covid_2020_03": 0.5}
    missing = {"models.a": "not trained yet", "models.b": "not trained yet"}
    sizing = {"unlimited": 0.23, "value_0": -7.604e-05, "same_asset_share": -5.4e-20, "luck": 2.0}
    explain._print(
        Explanation(
            Report("2026-01-01T00:00:00Z", "real", (), {}),
            sample_signal(risk=risk, sizing=sizing, missing_layers={}, missing_models=missing),
            {},
        ),
        "real data, candles 3 days old",
        {},
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "real data, candles 3 days old" in lines[0]
    for row in (
        "VaR 99 4.12 % 3.85 %",
        "probability: stop reached first 39.00 %",
        "loss in the fall of covid 2020 03 50.00 %",
        "size before the gross limit 23.00 %",
        "action value of 0 % of the full size -7.604e-05",
        "share left beside signals of the same asset 0.00 %",
        "luck 2",
        "missing models.a, models.b: not trained yet",
    ):
        assert row in lines


def test_every_figure_of_the_built_in_risk_and_sizers_has_words(tmp_path: Path) -> None:
    engine = fetch(make_engine(tmp_path, *ALONE, "risk.use=monte_carlo", "sizer.use=dqn"))
    signal = engine.report(engine.compose(engine.view())).signals[0]
    engine.close()
    assert {"var_99", "gbm_var_99", "stop_first"} <= signal.risk.keys()
    assert {"share", "fractional_kelly"} <= signal.sizing.keys()
    assert signal.risk["horizon"] == "12h"
    for name in signal.risk.keys() - {"horizon"}:
        assert "_" not in wording_of(name.removeprefix("gbm_"), RISK).label
        assert name.removeprefix("gbm_") in RISK or name.startswith("shock_")
    for name in signal.sizing:
        assert name in SIZING or name.startswith("value_")


def test_symbols_without_a_signal_share_a_line_for_each_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = sample_signal(missing_models={"models.a": "none", "models.b": "none", "models.c": "none"})
    omitted = {f"COIN{n}USDT": "not in the universe (listed)" for n in range(35)}
    report = Report(one.as_of, "real", (one,), {**omitted, "SOLUSDT": "its candles stop"})
    signals._print_table(report, "real data", {"models.c": "training since 21:21 UTC, 30 % done"})
    output = capsys.readouterr().out
    assert "35 other symbols have no signal: not in the universe (listed)" in output
    assert "SOLUSDT: no signal: its candles stop" in output
    assert "COIN7USDT" not in output
    assert "models.a, models.b: none" in output
    assert "models.c: training since 21:21 UTC, 30 % done" in output


def test_the_table_names_missing_layers(capsys: pytest.CaptureFixture[str]) -> None:
    one = sample_signal(missing_layers={"correlation": "gave no answer within 20 seconds"})
    signals._print_table(Report(one.as_of, "real", (one,), {}), "real data", {})
    line = "The signals lack the layer correlation: gave no answer within 20 seconds"
    assert line in capsys.readouterr().out


def test_sources_with_problems_share_a_line(
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
    output = capsys.readouterr().err.splitlines()
    assert output[0] == "files: BTC.csv: a candle was refused"
    assert output[1].startswith("2 sources answered in full; 1 in part: glassnode; 1 did not")
    assert output[1].endswith(
        "not answer: fred. For the reasons, add -v or run `weft providers check fred`."
    )
    assert len(output) == 2
    engine.close()


CANDLES = """symbol,interval,open_time,open,high,low,close,volume
BTC[/x],1h,2024-01-01T00:00:00Z,1,2,0.5,1,1
BTC[/x],1h,2024-01-01T01:00:00Z,1,2,0.5,1,-1
"""


@pytest.mark.parametrize("command", [["signals"], ["backfill"], ["providers", "status"]])
def test_markup_in_a_file_or_symbol_breaks_no_command(
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


def test_markup_in_an_error_does_not_break_the_provider_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "BTC[red].csv").write_text("[/x]\n1\n")
    over = ["--set", f"providers.files.path={tmp_path}/BTC[red].csv", *ALONE_SET]
    done = CliRunner().invoke(command_line, ["providers", "check", *over])
    assert done.exit_code == 1
    assert "BTC[red].csv" in done.stdout
    assert "[/x]" in done.stdout


def test_markup_in_the_name_of_a_config_file_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a[b].yaml").write_text("{}")
    done = CliRunner().invoke(command_line, ["config", "check", "--config", "a[b].yaml"])
    assert "a[b].yaml: no mistakes" in done.stdout


@pytest.mark.parametrize(
    ("seconds", "output"),
    [
        (0.25, "0.2 s"),
        (119, "119.0 s"),
        (120, "2 minutes"),
        (7_200, "2 hours"),
        (86_400, "24 hours"),
        (9 * 31_557_600, "9 years"),
    ],
)
def test_a_duration_is_printed_in_one_unit(seconds: float, output: str) -> None:
    assert duration(seconds) == output
