"""A sandbox whose time stands still, and what a lake holds without faults."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.http.world import EXCHANGES, NOW, Desk, Rows, open_desk
from weft_sandbox import Sandbox


@pytest.fixture(scope="session")
def _served() -> Iterator[Sandbox]:
    with Sandbox(start=NOW, speed=0, limits=float("inf")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_served: Sandbox) -> Iterator[Sandbox]:
    """The sandbox; healed after every test."""
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


@pytest.fixture
def desk(tmp_path: Path, sandbox: Sandbox) -> Iterator[Callable[..., Desk]]:
    """Opens engines, each over a lake of its own."""
    opened: list[Desk] = []

    def make(*names: str, overrides: tuple[str, ...] = (), **web: Any) -> Desk:
        folder = tmp_path / f"desk{len(opened)}"
        folder.mkdir()
        opened.append(open_desk(folder, sandbox, names or None, "a-key", *overrides, **web))
        return opened[-1]

    yield make
    for one in opened:
        one.engine.close()


@pytest.fixture(scope="session")
def clean(_served: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What all providers bring without faults."""
    return _clean(_served, tmp_path_factory.mktemp("clean"), None)


@pytest.fixture(scope="session")
def clean_candles(_served: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """What the exchanges bring without faults."""
    return _clean(_served, tmp_path_factory.mktemp("candles"), EXCHANGES)


def _clean(sandbox: Sandbox, folder: Path, names: tuple[str, ...] | None) -> Rows:
    made = open_desk(folder, sandbox, names)
    made.collect()
    rows = made.rows()
    assert rows
    made.engine.close()
    return rows
