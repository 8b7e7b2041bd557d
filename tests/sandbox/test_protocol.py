"""The tools of a protocol module: keys, limits, parameters, pages and the example."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import NOW, make_sandbox
from weft.foundation.errors import WeftError
from weft.foundation.times import DAY, SECOND, iso
from weft_sandbox import Sandbox, protocols
from weft_sandbox.app import find_apis
from weft_sandbox.clock import SandboxClock
from weft_sandbox.limits import Budget, Usage
from weft_sandbox.paging import decimal, decode_cursor, encode_cursor, numbered, window
from weft_sandbox.protocol import Answer, Api, Ask, Json, Problem, Refusal


@pytest.fixture
def manual(tmp_path: Path) -> Iterator[ModuleType]:
    """A package with the module of the documented example."""
    text = protocols.__doc__ or ""
    code = re.search(r"In full::\n\n(.*?)\nRules for handlers", text, re.DOTALL)
    assert code
    lines = [line.removeprefix("    ") for line in code[1].splitlines()]
    package = ModuleType("manual")
    package.__path__ = [str(tmp_path)]
    (tmp_path / "example.py").write_text("\n".join(lines))
    (tmp_path / "_helper.py").write_text("raise RuntimeError")
    sys.modules["manual"] = package
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "manual"]:
        del sys.modules[name]


def test_the_documented_protocol_example_works(manual: ModuleType) -> None:
    apis = find_apis(manual)
    assert list(apis) == ["example"]
    with make_sandbox(apis=apis.values(), speed=0) as sandbox:
        path = sandbox.url("example") + "/v1/metrics/mvrv"

        def ask(key: str | None, **query: Any) -> httpx.Response:
            return httpx.get(path, params=query, headers={"X-Api-Key": key} if key else {})

        answer = ask("good", a="BTC")
        rows = answer.json()
        assert len(rows) == 30
        assert rows[-1]["t"] == (NOW // DAY - 1) * DAY // SECOND
        assert answer.headers["X-Remaining"] == "59"
        assert ask("good", a="NOPE").status_code == 400
        assert ask(None, a="BTC").status_code == 401
        assert ask("invalid-key", a="BTC").status_code == 401
        for _ in range(70):
            answer = ask("good", a="BTC")
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_budgets_are_counted_by_client_in_windows() -> None:
    now = [1_000.0]
    usage = Usage(clock=lambda: now[0])
    budgets = (Budget("weight", 10, 60), Budget("calls", 3, 5))

    def charge(client: str = "a", weight: int = 4) -> tuple[int, bool]:
        meters = usage.charge("x", client, budgets, {"weight": weight})
        assert set(meters) == {"weight"}
        return meters["weight"].used, meters["weight"].over

    assert [charge() for _ in range(3)] == [(4, False), (8, False), (12, True)]
    assert charge("b") == (4, False)
    now[0] += 60
    assert charge() == (4, False)


def test_the_clock_runs_stops_and_jumps() -> None:
    real = [0.0]
    clock = SandboxClock(NOW, 60, monotonic=lambda: real[0])
    real[0] = 2.0
    assert clock.now() == NOW + 120 * SECOND
    assert clock.seconds_until(NOW + 180 * SECOND) == pytest.approx(1.0)
    clock.move(speed=0)
    real[0] = 9.0
    assert clock.now() == NOW + 120 * SECOND
    assert clock.seconds_until(NOW + 180 * SECOND) == float("inf")
    clock.move(NOW)
    assert clock.now() == NOW
    with pytest.raises(ValueError, match="must not be negative"):
        SandboxClock(NOW, -1)


def test_pages_and_numbers() -> None:
    assert window(10, 3, newest=True) == slice(7, 10)
    assert window(10, 3, newest=False) == slice(0, 3)
    assert list(numbered(range(10), 2, 4)) == [4, 5, 6, 7]
    assert decode_cursor(encode_cursor({"page": 3})) == {"page": 3}
    with pytest.raises(Refusal) as refused:
        decode_cursor("?")
    assert refused.value.answer is Problem.BAD_PARAMETER
    assert [decimal(n, 3) for n in (0, 5, 12_345)] == ["0.000", "0.005", "12.345"]
    assert decimal(7, 0) == "7"
    assert decimal(7, 0, 2) == "7.00"


def test_the_clock_moves_over_http(frozen: Sandbox) -> None:
    route = frozen.url() + "/_sandbox/clock"
    reply = httpx.post(route, json={"now": iso(NOW + DAY), "speed": 0}).json()
    assert reply["now"] == iso(NOW + DAY)
    assert httpx.post(route, json={"now": "yesterday"}).status_code == 422


def test_a_taken_port_is_reported() -> None:
    with make_sandbox() as sandbox, pytest.raises(WeftError, match="cannot listen"):
        make_sandbox(port=sandbox.port).start()


def test_an_error_of_a_module_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    api = Api("broken", errors=lambda problem, _: Answer({"oops": problem}, 500))

    @api.get("/x")
    def mistake(ask: Ask) -> Json:
        return 1 / 0

    with make_sandbox(apis=(api,)) as sandbox:
        answer = httpx.get(sandbox.url("broken") + "/x")
    assert (answer.status_code, answer.json()) == (500, {"oops": "server"})
    assert "ZeroDivisionError" in caplog.text
