"""What tests share."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from weft.components.base import Component
from weft.config.loading import load_settings
from weft.domain.signal import (
    DataProvenance,
    Direction,
    ForecastReport,
    LayerReport,
    LayerStatus,
    RegimeReport,
    Signal,
    Versions,
    with_id,
)
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.clock import Clock
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry

ALONE = (
    *(f"layers.{name}.enabled=false" for name in ("correlation", "on_chain", "sentiment", "ml")),
    *(f"models.xgboost_{group}.enabled=false" for group in ("majors", "alts", "memes")),
    "models.transformer.enabled=false",
    "regime.enabled=false",
    "risk.use=atr_levels",
    "sizer.use=volatility_target",
)
"""Overrides that leave the technical layer alone in the composition, and nothing trained."""

ALONE_SET = tuple(word for option in ALONE for word in ("--set", option))
"""The same as arguments of the command line."""


PATIENCE_SECONDS = 60.0
"""How long a test waits for what should happen soon: only what would never end takes as long."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run of the command line."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What was printed, as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


def run_weft(folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """Run the `weft` command in a process of its own, in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "weft_app.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


Weft: TypeAlias = Callable[..., Done]
"""Runs the `weft` command with the arguments given, in an empty folder."""


def make_engine(
    folder: Path,
    *overrides: str,
    extra: Iterable[type[Component]] = (),
    clock: Clock | None = None,
) -> Engine:
    """Return an engine with its lake and ledger in a folder, and classes of the test's own."""
    places = [
        f"storage.lake={folder}/lake",
        f"storage.ledger=sqlite:///{folder}/ledger.db",
        f"storage.models={folder}/models",
    ]
    loaded = load_settings(overrides=[*places, *overrides], environ={})
    return assemble(loaded, Registry(discover(), extra), clock)


def fetch(engine: Engine) -> Engine:
    """Bring an engine's store up to date, and return the engine."""
    asyncio.run(engine.update())
    return engine


_AS_OF = "2026-01-01T00:00:00Z"
_SAMPLE = Signal(
    id="",
    symbol="BTCUSDT",
    as_of=_AS_OF,
    interval="1h",
    horizon="12h",
    direction=Direction.LONG,
    score=12.5,
    confidence=60.0,
    calibrated=False,
    entry=100.0,
    stop_loss=98.0,
    take_profit=104.0,
    risk_reward=2.0,
    position_size=0.1,
    layers=(LayerReport("technical", 12.5, 1.0, 0.6, LayerStatus.OK, {"rsi": 61.0}),),
    missing_layers={"chain": "no key"},
    forecasts=(
        ForecastReport("trees", "a0a0", 0.5, 0.55, 0.002, {"0.05": -0.03}, {"epistemic": 0.01}),
    ),
    regime=RegimeReport("bull", 0.9, {"bull": 0.75}, 0.05, 20.0, 0.8, "b1b1"),
    risk={"var_99": 0.04},
    sizing={"fractional_kelly": 0.07},
    missing_models={"models.transformer": "not trained yet"},
    data=DataProvenance("real", "binance", "live", _AS_OF, 0.0, 1.0, ("a hole",), {"mvrv": 9e5}),
    versions=Versions("0.1.0", "c0ffee", {"layer:technical": "weft 0.1.0"}, {}),
)


def sample_signal(**changes: Any) -> Signal:
    """Return a plain signal with some fields changed, under the id of its content."""
    return with_id(replace(_SAMPLE, **changes))
