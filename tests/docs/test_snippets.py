"""The code in docs/plugins.md runs as printed, and keeps to the contracts it explains."""

import re
from collections.abc import Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from weft.foundation.times import DAY, SECOND, parse_time
from weft.testing import ProviderCase, StandIn, check_component, check_feature, check_sink
from weft.testing.providers import check_provider

ROOT = Path(__file__).parents[2]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()


@cache
def written() -> Mapping[str, Any]:
    """Return the names that all blocks of the document define, run one after the other."""
    scope: dict[str, Any] = {"__name__": "snippets"}
    for block in re.findall(r"^```python\n(.*?)^```", PLUGINS, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/plugins.md", "exec"), scope)
    return scope


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


def test_examples_of_tests_are_parametrised_with_every_check() -> None:
    tests = [written()[name] for name in ("test_conformance", "test_provider", "test_sink")]
    marks = chain.from_iterable(test.pytestmark for test in tests)
    assert all(mark.name == "parametrize" and mark.args[1] for mark in marks)
