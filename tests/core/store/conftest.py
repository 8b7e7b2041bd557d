"""A store of its own for each test, and its clock."""

from pathlib import Path

import pytest

from tests.core.store.rows import NOW
from weft.foundation.clock import SimulatedClock
from weft.store.lake import Lake
from weft.store.store import Store


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: SimulatedClock) -> Store:
    return Store(Lake(tmp_path / "lake"), clock)
