"""The code in the documents runs as it is printed, and keeps to the contracts it explains."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from weft.foundation.times import DAY, SECOND, parse_time
from weft.testing import (
    ProviderCase,
    StandIn,
    check_component,
    check_feature,
    check_portfolio_risk,
    check_sink,
)
from weft.testing.providers import check_provider

ROOT = Path(__file__).parents[2]


def run_blocks(document: str) -> dict[str, Any]:
    """Return the names that the code blocks of a document define, run one after the other."""
    scope: dict[str, Any] = {"__name__": "snippets"}
    text = (ROOT / document).read_text()
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, document, "exec"), scope)
    return scope


@cache
def written() -> Mapping[str, Any]:
    """Return the names that the page about plugins defines."""
    return run_blocks("docs/plugins.md")


@pytest.mark.parametrize("name", ["Liquid", "Mean", "Percent", "Tenth"])
def test_examples_of_components_keep_to_their_contracts(name: str) -> None:
    report = check_component(written()[name](), expected_failures={"imports_light": "a document"})
    report.raise_if_failed()


def test_example_of_a_feature_keeps_to_its_contract() -> None:
    excused = {"imports_light": "a document"}
    check_feature(written()["Ema"](), expected_failures=excused).raise_if_failed()


def test_example_of_a_sink_keeps_to_its_contract(tmp_path: Path) -> None:
    lines = written()["Lines"]
    path = tmp_path / "signals.jsonl"
    excused = {"imports_light": "a document"}
    check_sink(lines(lines.Config(path=path)), expected_failures=excused).raise_if_failed()
    assert path.read_text().startswith('{"symbol": "LONGUSDT", "score": 60.0}\n')


def test_the_example_of_a_portfolio_risk_keeps_to_its_contract() -> None:
    excused = {"imports_light": "a document"}
    check_portfolio_risk(written()["Historical"](), expected_failures=excused).raise_if_failed()


def answer(request: httpx.Request) -> httpx.Response:
    """Answer like the API of the example: a value of every day, dated by its beginning."""
    now = parse_time("2026-01-01T12:00:00Z")
    if request.url.params["asset"] not in {"BTC", "ETH"}:
        return httpx.Response(404, json={"error": "unknown asset"})
    since = int(request.url.params["since"]) * SECOND
    first = -(-since // DAY) * DAY
    days = range(first, now - DAY + 1, DAY)
    rows = [{"t": day // SECOND, "v": float(day // DAY % 17)} for day in days]
    return httpx.Response(200, json={"data": rows})


def test_example_of_a_provider_keeps_to_its_contract() -> None:
    example = written()["Example"]
    case: ProviderCase = written()["CASE"]
    assert case.provider.config.api_key == SecretStr("any")
    stand_in = StandIn(api=httpx.MockTransport(answer), now=case.stand_in.now)
    report = check_provider(example(example.Config(api_key="any")), stand_in)
    report.raise_if_failed()
    assert {result.name for result in report.results} > {"steps_equal_backfill", "key_stays_secret"}


EXAMPLES = ("test_conformance", "test_provider", "test_sink", "test_portfolio_risk")


def test_examples_of_tests_are_parametrised_with_every_check() -> None:
    tests = [written()[name] for name in EXAMPLES]
    marks = chain.from_iterable(test.pytestmark for test in tests)
    assert all(mark.name == "parametrize" and mark.args[1] for mark in marks)


def test_the_page_about_python_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run_blocks("docs/python.md")
    assert scope["rounds"]["error"].to_list() == [None]
    assert scope["newest"]["symbol"].to_list() == ["BTCUSDT", "ETHUSDT"]
    assert len(scope["one_day"]) == 24
    assert scope["newest"]["time"][0] - scope["week_ago"]["time"][-1] == timedelta(days=7)
    assert scope["layers"]["layer"].n_unique() == len(scope["shares"]) > 1
    assert len(scope["prices"]) == 200
    assert len(scope["returns"]) == 88
    assert scope["returns"]["move"].null_count() == 0
    assert scope["recorded"].is_empty()
