"""What tests share: real history where it is there, candle folders, and the command line."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

from tests.support import Weft, run_weft

# A machine that is busy with something else must not fail a test, and the same tree is always
# tested alike; `make explore` looks for examples that nobody has seen yet.
settings.register_profile("weft", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("weft")

ROOT = Path(__file__).parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


_LONGEST = ("entrypoints", "packaging", "faults", "validity", "providers")
"""Folders whose tests run whole programs; no worker shall be left alone with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the folders with the longest tests go first."""
    first = {ROOT / "tests" / name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: min((first.get(p, 99) for p in item.path.parents), default=99))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real market history; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("needs the real market history in ../shared/data")
    return REAL_DATA


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep lake and ledger of every test in its own folder, and no setting of the machine."""
    for name in list(os.environ):
        if name.upper().startswith("WEFT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("WEFT_HOME", str(tmp_path / "state"))


@pytest.fixture
def weft(tmp_path: Path) -> Weft:
    """Runs the `weft` command in a process of its own, in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()

    return partial(run_weft, folder)


@pytest.fixture(scope="session")
def walk() -> Callable[..., pl.DataFrame]:
    """Makes a frame of random-walk candles of one symbol."""

    def make(
        symbol: str = "BTCUSDT",
        rows: int = 900,
        start: str = "2024-01-01T00:00:00",
        seed: int = 0,
    ) -> pl.DataFrame:
        rng = np.random.default_rng([seed, *symbol.encode()])
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, rows)))
        opened = np.concatenate([close[:1], close[:-1]])
        times = pl.datetime_range(
            pl.lit(start).str.to_datetime(time_unit="ms", time_zone="UTC"),
            pl.lit(start).str.to_datetime(time_unit="ms", time_zone="UTC")
            + pl.duration(hours=rows - 1),
            "1h",
            eager=True,
        )
        return pl.DataFrame(
            {
                "symbol": [symbol] * rows,
                "interval": ["1h"] * rows,
                "open_time": times,
                "open": opened,
                "high": np.maximum(opened, close) * 1.002,
                "low": np.minimum(opened, close) * 0.998,
                "close": close,
                "volume": rng.lognormal(4, 1, rows),
            }
        )

    return make
