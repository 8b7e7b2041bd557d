"""What tests share."""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from weft.assembly import assemble
from weft.clock import Clock
from weft.components.base import Component
from weft.config.loading import load_settings
from weft.engine import Engine
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry


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


Weft: TypeAlias = Callable[..., Done]
"""Runs the `weft` command with the arguments given, in an empty folder."""


def make_engine(
    folder: Path,
    *overrides: str,
    extra: Iterable[type[Component]] = (),
    clock: Clock | None = None,
) -> Engine:
    """Return an engine with its lake and ledger in a folder, and classes of the test's own."""
    places = [f"storage.lake={folder}/lake", f"storage.ledger=sqlite:///{folder}/ledger.db"]
    loaded = load_settings(overrides=[*places, *overrides], environ={})
    return assemble(loaded, Registry(discover(), extra), clock)


def fetch(engine: Engine) -> Engine:
    """Bring an engine's store up to date, and return the engine."""
    asyncio.run(engine.update())
    return engine
