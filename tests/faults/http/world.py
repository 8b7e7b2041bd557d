"""What tests of faults share: an engine over the sandbox, and what stands in its lake."""

import asyncio
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

import weft_providers
from tests.support import make_engine
from weft.collect.intake import RoundResult
from weft.components.provider import Provider
from weft.engine.engine import Engine
from weft.engine.provider_status import ProviderStatus, provider_status
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, parse_time
from weft.plugins.discovery import discover
from weft.store.tables import CANDLES, OBSERVATIONS, TEXTS, Table
from weft_sandbox import Sandbox

NOW = parse_time("2024-03-20T12:34:56Z")
EXCHANGES = ("binance", "bybit", "coinbase")
_PATHS = {"binance_futures": "binance"}
_SYMBOLS = {"coinbase": "BTC-USD, ETH-USD"}
_KEYS = {"reddit": "an-id:{}"}

Rows: TypeAlias = set[tuple[Any, ...]]


@cache
def classes() -> dict[str, type[Provider]]:
    """Return every provider of the package that asks over HTTP, by name, registered or not."""
    providers = {}
    for info in pkgutil.walk_packages(weft_providers.__path__, "weft_providers."):
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            continue
        for cls in vars(module).values():
            is_defined_here = inspect.isclass(cls) and cls.__module__ == info.name
            if is_defined_here and issubclass(cls, Provider) and cls.web:
                providers[cls.name] = cls
    return {name: cls for name, cls in providers.items() if not inspect.isabstract(cls)}


def settings(sandbox: Sandbox, names: Collection[str], key: str) -> Iterator[str]:
    """Overrides that switch some providers on, all of them asking the sandbox."""
    yield from ("interval=1h", "history_days=3", "providers.files.enabled=false")
    for name, cls in classes().items():
        chosen = name in names
        yield f"providers.{name}.enabled={'true' if chosen else 'false'}"
        yield f"providers.{name}.on_error=degrade"
        if not chosen:
            continue
        yield f"providers.{name}.base_url={sandbox.url(_PATHS.get(name, name))}"
        if "symbols" in cls.Config.model_fields:
            yield f"providers.{name}.symbols=[{_SYMBOLS.get(name, 'BTCUSDT, ETHUSDT')}]"
        if cls.web is not None and cls.web.key is not None:
            yield f"providers.{name}.api_key={_KEYS.get(name, '{}').format(key)}"


@dataclass
class Desk:
    """An engine of its own lake, with a clock that stands still but for pauses."""

    engine: Engine
    clock: SimulatedClock

    def collect(self, at: int | None = None) -> dict[str, RoundResult]:
        """Run one round, and return what each provider brought."""
        if at is not None:
            self.clock.advance_to(at)
        return {one.provider: one for one in asyncio.run(self.engine.update())}

    def collect_since(self, since: int) -> None:
        """Run one round that reaches further back than before."""
        asyncio.run(self.engine.update(since=since))

    def status(self) -> dict[str, ProviderStatus]:
        """What status says of each provider."""
        return {one.name: one for one in provider_status(self.engine)}

    def troubles(self) -> dict[str, str]:
        """All that status says went wrong, by provider."""
        return {
            name: "\n".join([*one.problems, *([one.error] if one.error else [])])
            for name, one in self.status().items()
        }

    def rows(self, *tables: Table) -> Rows:
        """What the lake says, but for what is told as of the moment it is asked."""
        return {
            row
            for table in tables or (CANDLES, OBSERVATIONS, TEXTS)
            for row, known_at in self._rows(table)
            if known_at < NOW
        }

    def rows_of(self, table: Table, symbol: str) -> Rows:
        """Return all that the lake says of a symbol, whenever it was known."""
        return {row for row, _ in self._rows(table) if symbol in row}

    def _rows(self, table: Table) -> Iterator[tuple[tuple[Any, ...], int]]:
        frame = self.engine.store.lake.read(table, lambda rows: rows)
        frame = frame.drop("recorded_at")
        if "assets" in frame.columns:
            frame = frame.with_columns(pl.col("assets").list.join(" "))
        known = frame["known_at"].to_physical()
        for row, known_at in zip(frame.iter_rows(), known, strict=True):
            yield (table.name, *map(str, row)), known_at

    def composes(self) -> bool:
        """Whether signals come of what there is."""
        composed = self.engine.compose(self.engine.view())
        return bool(self.engine.report(composed).signals)


def open_desk(
    folder: Path,
    sandbox: Sandbox,
    names: Collection[str] | None = None,
    key: str = "a-key",
    *overrides: str,
    **web: Any,
) -> Desk:
    """Return an engine over a sandbox.

    Args:
        folder: of lake, ledger and cache.
        sandbox: whom to ask.
        names: providers to switch on; None for all.
        key: of all of them.
        overrides: further settings.
        web: what is different about every API: deadlines, attempts.
    """
    known = {record.name for record in discover() if record.kind == Provider.kind}
    extra = [cls for name, cls in classes().items() if name not in known]
    clock = SimulatedClock(NOW)
    chosen = classes() if names is None else names
    options = [*settings(sandbox, list(chosen), key), f"storage.cache={folder}/cache", *overrides]
    engine = make_engine(folder, *options, extra=extra, clock=clock)
    for configured in engine.composition.providers:
        provider = configured.component
        if web and provider.web is not None:
            provider.web = replace(provider.web, **web)
    return Desk(engine, clock)


__all__ = ["EXCHANGES", "HOUR", "NOW", "Desk", "classes", "open_desk"]
