"""Collecting: asks every provider for what is new, checks it, stores it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx
import polars as pl

from weft.clock import Clock
from weft.components.provider import Batch, Provider, Request
from weft.composition import PlacedProvider
from weft.errors import WeftError
from weft.market.checks import clean_candles, clean_observations
from weft.market.market import Market
from weft.runner import fault
from weft.store.lake import CANDLES
from weft.store.store import Store
from weft.times import DAY, Interval


@dataclass(slots=True)
class Collected:
    """What one provider brought in one round.

    Attributes:
        provider: its name.
        new: facts not known before.
        restated: facts that came with another value than before.
        problems: what was refused or repaired, one line each.
        error: why the provider stopped early; None where it did not.
    """

    provider: str
    new: int = 0
    restated: int = 0
    problems: list[str] = field(default_factory=list)
    error: str | None = None


Progress = Callable[[Collected], None]


class Collector:
    """Brings the store of one composition up to date.

    Args:
        providers: whom to ask.
        base: candles to ask for.
        store: where they are kept.
        market: learns of every row stored.
        clock: tells what is closed by now.
        history_days: how far back the first round reaches where a source has to be asked piece
            by piece.
    """

    def __init__(
        self,
        providers: tuple[PlacedProvider, ...],
        base: Interval,
        store: Store,
        market: Market,
        clock: Clock,
        history_days: int,
    ) -> None:
        self._providers = providers
        self._base = base
        self._store = store
        self._market = market
        self._clock = clock
        self._history = history_days * DAY

    async def collect(self, progress: Progress | None = None) -> list[Collected]:
        """Ask every provider at once, and return what each brought.

        Args:
            progress: called after every batch that was stored.

        Raises:
            WeftError: a provider that must not be missing failed. The others have finished.
        """
        async with httpx.AsyncClient(timeout=30.0, follow_redirects=False) as http:
            rounds = [self._ask(p.provider, http, progress or _ignore) for p in self._providers]
            answers = await asyncio.gather(*rounds, return_exceptions=True)
        collected = []
        for placed, answer in zip(self._providers, answers, strict=True):
            if isinstance(answer, Collected):
                collected.append(answer)
                continue
            if not isinstance(answer, Exception):
                raise answer
            known = isinstance(answer, WeftError)
            error = answer if known else fault(f"provider {placed.provider.name}", answer)
            if placed.place.required:
                raise error from answer
            collected.append(Collected(placed.provider.name, error=str(error)))
        return collected

    async def _ask(
        self, provider: Provider, http: httpx.AsyncClient, progress: Progress
    ) -> Collected:
        collected = Collected(provider.name)
        source = provider.source
        request = Request(
            interval=self._base,
            symbols=(),
            since=self._base.floor(self._clock.now() - self._history),
            known=self._known(source),
            cursor=self._store.cursor(source, self._base),
        )
        added: list[pl.DataFrame] = []
        try:
            async for batch in provider.fetch(request, http, self._clock):
                added.append(self._keep(source, batch, collected))
                progress(collected)
        finally:
            self._market.take_in(source, added)
        return collected

    def _keep(self, source: str, batch: Batch, collected: Collected) -> pl.DataFrame:
        """Store a batch: the facts before the cursor that says they need not be asked again.

        Returns the candles that were added.
        """
        added = pl.DataFrame(schema=CANDLES.schema)
        collected.problems += batch.problems
        if batch.instruments:
            self._store.describe_instruments(source, batch.instruments)
        if batch.candles is not None:
            now = self._clock.now()
            checked = clean_candles(batch.candles, self._base, now, collected.provider)
            collected.problems += checked.problems
            stored = self._store.append_candles(source, checked.frame)
            added = stored.rows
            collected.new += stored.new
            collected.restated += stored.restated
        if batch.observations is not None:
            now = self._clock.now()
            facts = clean_observations(batch.observations, now, collected.provider)
            collected.problems += facts.problems
            noted = self._store.append_observations(source, facts.frame)
            collected.new += noted.new
            collected.restated += noted.restated
        if batch.cursor is not None:
            self._store.save_cursor(source, self._base, batch.cursor)
        return added

    def _known(self, source: str) -> Mapping[str, int]:
        spans = self._store.spans(self._base).filter(pl.col("source") == source)
        return dict(zip(spans["symbol"], spans["last"].to_physical(), strict=True))


def _ignore(_: Collected) -> None:
    pass
