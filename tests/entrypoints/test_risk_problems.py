"""Risk over HTTP: windows of long candles, and problems told as what they are."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from tests.support import ALONE, fetch, make_engine, sample_signal
from weft.foundation.errors import StorageError
from weft.foundation.times import Interval
from weft_app.cli import app as command_line
from weft_app.live import LiveService
from weft_app.server import create_app
from weft_plugins.risks.portfolio.gaussian import window_days


def test_long_candles_are_measured_over_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = (*ALONE, "interval=1d", "universe.symbols=[BTCUSDT, ETHUSDT]")
    service = LiveService(fetch(make_engine(tmp_path, *daily)))
    service.compose()
    told = asyncio.run(_ask(service, "/risk")).raise_for_status().json()
    assert told["measured"]["interval"] == "1d"
    assert told["measured"]["rows"] >= 100
    service.engine.close()
    monkeypatch.chdir(tmp_path)
    words = [word for option in daily for word in ("--set", option)]
    done = CliRunner().invoke(command_line, ["risk", "BTCUSDT=0.5", "--json", *words])
    assert json.loads(done.stdout)["measured"]["rows"] == told["measured"]["rows"]


@pytest.mark.parametrize(
    ("interval", "days"),
    [("1m", 60), ("1h", 60), ("4h", 60), ("8h", 67), ("1d", 200), ("1w", 1_400)],
)
def test_the_window_holds_enough_returns(interval: str, days: int) -> None:
    assert window_days(Interval.parse(interval)) == days


def test_what_cannot_be_measured_is_answered_as_a_problem(tmp_path: Path) -> None:
    service = LiveService(fetch(make_engine(tmp_path, *ALONE)))
    published = service.compose()

    def asked_of(**changes: Any) -> httpx.Response:
        service.published = replace(published, report=replace(published.report, **changes))
        return asyncio.run(_ask(service, "/risk"))

    early = asked_of(as_of="2020-01-01T00:00:00Z")
    assert (early.status_code, early.json()["error"]) == (422, "NoData")
    assert early.json()["message"]
    ahead = asked_of(as_of="2100-01-01T00:00:00Z")
    assert (ahead.status_code, ahead.json()["error"]) == (422, "LookAhead")
    unknown = asked_of(signals=(sample_signal(symbol="BTCUSD"),))
    assert (unknown.status_code, unknown.json()["error"]) == (404, "UnknownSymbol")
    assert "Did you mean BTCUSDT?" in unknown.json()["message"]
    service.engine.close()


def test_what_fails_in_weft_is_answered_as_a_problem_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(tmp_path, *ALONE)
    app = create_app(LiveService(engine), allowed_hosts=["test"])

    def fail() -> None:
        raise StorageError("the disk is full", where="lake")

    app.add_api_route("/failing", fail)
    answer = asyncio.run(_ask_app(app, "/failing"))
    assert answer.status_code == 500
    assert answer.json() == {"error": "Storage", "message": "lake: the disk is full"}
    assert "/failing failed: lake: the disk is full" in caplog.text
    engine.close()


def test_the_schema_tells_every_problem(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, *ALONE)
    schema = asyncio.run(_ask(LiveService(engine), "/openapi.json")).json()
    answers = schema["paths"]["/risk"]["get"]["responses"]
    assert {"200", "404", "422", "500", "503"} <= answers.keys()
    for status in ("404", "422", "500", "503"):
        told = answers[status]["content"]["application/json"]["schema"]
        assert told == {"$ref": "#/components/schemas/Problem"}
    assert all("500" in way["get"]["responses"] for way in schema["paths"].values())
    engine.close()


async def _ask(service: LiveService, path: str) -> httpx.Response:
    return await _ask_app(create_app(service, allowed_hosts=["test"]), path)


async def _ask_app(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)
