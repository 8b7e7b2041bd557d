"""Training from the command line and while serving."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.entrypoints.test_server import free_port
from tests.support import ALONE, ALONE_SET, PATIENCE_SECONDS, Weft, make_engine
from weft.config.loading import load_settings
from weft.foundation.errors import ConfigError
from weft.foundation.times import Interval
from weft_app.live import LiveService
from weft_app.scheduler import Retrainer, retrained, scheduled
from weft_app.server import create_app

TREES = (
    *ALONE,
    "layers.ml.enabled=true",
    "history_days=80",
    "universe.symbols=[BTCUSDT, ETHUSDT, SOLUSDT, DOGEUSDT]",
    "models.trees.use=xgboost",
    "models.trees.trees=5",
    "models.trees.depth=3",
    "models.trees.hold_out=false",
)
SETS = [word for option in TREES for word in ("--set", option)]


def test_a_model_is_trained_used_shown_explained_and_rolled_back(weft: Weft) -> None:
    first = weft("train", *SETS)
    assert first.code == 0, first.err
    assert "models.trees" in first.out
    assert "promoted: the first artifact of this component" in first.out
    signal = weft("signals", "BTCUSDT", "--json", *SETS).json()["signals"][0]
    assert signal["forecasts"][0]["model"] == "trees"
    assert {"technical", "ml"} <= {layer["name"] for layer in signal["layers"]}
    listed = weft("models", "list", "--json", *SETS).json()
    status = next(one for one in listed if one["key"] == "models.trees")
    assert status["artifact"] == signal["versions"]["artifacts"]["models.trees"]
    card = weft("models", "show", "trees", "--json", *SETS).json()
    assert card["artifact"] == status["artifact"]
    assert card["component"] == "model xgboost"

    at = ("--as-of", signal["as_of"])
    result = weft("explain", "BTCUSDT", "--json", *at, *SETS).json()
    assert result["signal"]["id"] == signal["id"]
    assert 1 <= len(result["features"]["trees"]) <= 8
    shown = weft("explain", "BTCUSDT", *at, *SETS).out
    assert "What each layer adds" in shown
    assert next(iter(result["features"]["trees"])) in shown

    # Trained on earlier rows, so another artifact.
    assert weft("train", "trees", "--as-of", status["trained_through"], *SETS).code == 0
    listing = weft("models", "show", "trees", *SETS)
    artifacts = weft("models", "show", "trees", "--json", *SETS).json()["artifacts"]
    assert [one["digest"] for one in artifacts][1] == status["artifact"]
    assert artifacts[1]["trained_through"] == status["trained_through"]
    for one in artifacts:
        word = "promoted" if one["promoted"] else "kept aside"
        assert f"{one['digest'][:8]}  {one['trained_through']}  {word}" in listing.out
    # With other options no artifact is in use, but all are listed.
    other = weft("models", "show", "trees", *SETS, "--set", "models.trees.depth=2")
    assert "No artifact of models.trees is in use" in other.out
    assert all(one["digest"][:8] in other.out for one in artifacts)
    # The artifact trained on earlier rows was in use before.
    done = weft("models", "rollback", "trees", *SETS)
    assert f"uses {artifacts[0]['digest'][:8]} again" in done.out
    done = weft("models", "promote", "trees", status["artifact"][:8], *SETS)
    assert "uses " + status["artifact"][:8] in done.out


def test_the_guide_lists_stored_rows_and_training_times(weft: Weft) -> None:
    weft("signals", *SETS)
    before = weft("guide", "--json", *SETS).json()
    trees = next(one for one in before if one["key"] == "models.trees")
    assert trees["ready"]
    assert not trees["measured"]
    assert trees["seconds_per_row"] > 0
    assert "~" in weft("guide", *SETS).out
    assert weft("train", "trees", "--no-fetch", *SETS).code == 0
    after = weft("guide", "--json", *SETS).json()
    assert next(one for one in after if one["key"] == "models.trees")["measured"]
    shown = weft("guide", *SETS).out
    assert "20,000" in shown
    assert "9 years" in shown


def test_train_names_the_missing_rows_and_unknown_models(weft: Weft) -> None:
    done = weft("train", *SETS, "--set", "history_days=10")
    assert done.code == 1
    assert "are missing and will be there at" in done.out
    done = weft("train", "tres", *SETS)
    assert done.code == 1
    assert "Did you mean trees?" in done.err


def test_train_without_models_is_an_error(weft: Weft) -> None:
    done = weft("train", *ALONE_SET)
    assert done.code == 1
    assert "nothing in this composition is trained" in done.err


def test_retraining_intervals_come_from_the_settings(tmp_path: Path) -> None:
    loaded = load_settings(overrides=[*TREES, "models.trees.retrain=6h"], environ={})
    keys = ["models.trees", "sizer"]
    assert retrained(loaded.settings, keys)["models.trees"] == Interval.parse("6h")
    off = [*TREES, "models.trees.retrain=6h", "training.scheduled=false"]
    assert retrained(load_settings(overrides=off, environ={}).settings, keys) == {}
    with pytest.raises(ConfigError, match="retrain"):
        load_settings(overrides=[*TREES, "models.trees.retrain=often"], environ={})


class Counting(Retrainer):
    """Notes the keys it trains; each training takes a moment."""

    def __init__(self) -> None:
        super().__init__(None, [])
        self.asked: list[str] = []
        self.ended = threading.Event()

    def train(self, key: str) -> bool:
        self.asked.append(key)
        time.sleep(0.1)
        return True

    def stop(self) -> None:
        self.ended.set()


def test_scheduled_components_are_trained_repeatedly_until_the_end() -> None:
    retrainer = Counting()
    every = {"a": Interval.parse("1s"), "b": Interval.parse("1h"), "c": Interval.parse("1h")}
    with scheduled(every, retrainer, untrained=["c"]):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while retrainer.asked.count("a") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert retrainer.asked.count("a") >= 2
    assert [retrainer.asked.count(key) for key in "bc"] == [0, 1]
    assert retrainer.ended.is_set()


def test_the_next_composition_uses_an_artifact_trained_in_a_child_process(
    tmp_path: Path,
) -> None:
    engine = make_engine(tmp_path, *TREES)
    asyncio.run(engine.update())
    service = LiveService(engine)
    before = service.compose().report.signals[0]
    assert "models.trees" in before.missing_models
    places = ("lake", "models")
    overrides = [*TREES, *(f"storage.{place}={tmp_path}/{place}" for place in places)]
    retrainer = Retrainer(None, [*overrides, f"storage.ledger=sqlite:///{tmp_path}/ledger.db"])
    assert retrainer.train("models.trees")
    after = service.compose().report.signals[0]
    assert after.versions.artifacts
    assert asyncio.run(_status(service))[0]["artifact"] == after.versions.artifacts["models.trees"]
    assert not retrainer.train("models.other")
    retrainer.stop()
    assert not retrainer.train("models.trees")
    engine.close()


async def _status(service: LiveService) -> list[dict[str, object]]:
    app = create_app(service, allowed_hosts=["test"])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get("/models/status")
    result: list[dict[str, object]] = answer.raise_for_status().json()
    return [one for one in result if one["key"] == "models.trees"]


def test_a_terminated_server_leaves_no_training_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "weft_app.cli", "serve", "--port", str(free_port())]
    lasting = (*TREES, "models.trees.trees=10000", "models.trees.depth=12")
    options = (*lasting, "models.trees.retrain=6h", f"storage.lake={tmp_path}/lake")
    for option in (*options, f"storage.ledger=sqlite:///{tmp_path}/ledger.db"):
        command += ["--set", option]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 100
        while not (training := _children(server.pid)) and time.monotonic() < deadline:
            time.sleep(0.1)
        server.terminate()
        server.wait(30)
    assert training
    deadline = time.monotonic() + 10
    while any(map(_is_alive, training)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_is_alive, training))


def _children(process: int) -> list[int]:
    result = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in result.stdout.split()]


def _is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


class Late(subprocess.Popen[str]):
    """A process that starts slowly."""

    begun: ClassVar[threading.Event] = threading.Event()
    stopping: ClassVar[threading.Event] = threading.Event()
    started: ClassVar[list["Late"]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.begun.set()
        self.stopping.wait(PATIENCE_SECONDS)
        # `stop` sets the event just before it takes its lock.
        time.sleep(0.2)
        super().__init__(*arguments, **options)
        self.started.append(self)


def test_stop_ends_a_training_that_is_just_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", Late)
    retrainer = Retrainer(None, [])
    with ThreadPoolExecutor() as threads:
        training = threads.submit(retrainer.train, "models.trees")
        assert Late.begun.wait(PATIENCE_SECONDS)
        Late.stopping.set()
        retrainer.stop()
        assert not training.result(PATIENCE_SECONDS)
    (process,) = Late.started
    assert process.returncode == -signal.SIGTERM


def test_no_training_starts_after_stop() -> None:
    retrainer = Retrainer(None, [])
    retrainer.stop()
    assert not retrainer.train("models.trees")
