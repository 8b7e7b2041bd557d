"""One fetch of a provider to its end, and its outcome."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache as cache_result
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import polars as pl

from weft.collect.checks.clean import clean_candles, clean_observations, clean_texts
from weft.components.provider import Batch, FactKey, Provider, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import Interval
from weft.sources.http import Http, ResponseCache, SourceStatus
from weft.testing.providers.case import ProviderCase, Row
from weft.testing.providers.wiretap import Ask, Tap
from weft.testing.report import require


class Known(NamedTuple):
    """The latest rows in a store after some fetches, as a request names them."""

    candles: Mapping[str, int]
    facts: Mapping[FactKey, int]
    cursor: str | None


NOTHING = Known({}, {}, None)


@dataclass(slots=True)
class Fetched:
    """The outcome of one fetch.

    Attributes:
        began: simulated time of its begin, microseconds since 1970.
        ended: simulated time of its end; pauses count.
        rows: rows that passed the checks before the store.
        refused: problems that these checks found.
        batches: as the provider yielded them.
        problems: lines of the batches.
        error: exception that ended the fetch early.
        asked: requests, in the order they were sent.
        status: of the client at the end.
    """

    began: int
    ended: int = 0
    rows: set[Row] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    error: Exception | None = None
    asked: list[Ask] = field(default_factory=list)
    status: SourceStatus | None = None

    def add(self, batch: Batch, interval: Interval, now: int, source: str) -> None:
        """Put a batch through the checks before the store, and add the rows that pass."""
        self.batches.append(batch)
        self.problems += batch.problems
        if batch.candles is not None:
            candles = clean_candles(batch.candles, interval, now, source)
            self._add("candle", candles.frame, candles.problems)
        if batch.observations is not None:
            facts = clean_observations(batch.observations, now, source)
            self._add("fact", facts.frame, facts.problems)
        if batch.texts is not None:
            texts = clean_texts(batch.texts, now, source)
            frame = texts.frame.with_columns(pl.col("assets").list.join(" "))
            self._add("text", frame, texts.problems)

    def _add(self, kind: str, frame: pl.DataFrame, problems: Collection[str]) -> None:
        self.refused += problems
        in_micros = frame.with_columns(pl.selectors.temporal().to_physical())
        self.rows |= {(kind, *row) for row in in_micros.iter_rows()}

    @property
    def known(self) -> Known:
        """The latest rows in a store that holds this fetch."""
        candles: dict[str, int] = {}
        facts: dict[FactKey, int] = {}
        for kind, *row in self.rows:
            if kind == "candle":
                candles[row[0]] = max(row[2], candles.get(row[0], row[2]))
            elif kind == "fact":
                key = FactKey(*row[:3])
                facts[key] = max(row[3], facts.get(key, row[3]))
        cursors = [batch.cursor for batch in self.batches if batch.cursor is not None]
        return Known(candles, facts, cursors[-1] if cursors else None)

    @property
    def lasting(self) -> set[Row]:
        """The rows that a later fetch brings again.

        Values of the moment of the request have no history, and are known only when they came.
        """
        return {row for row in self.rows if known_at(row) < self.began}


def known_at(row: Row) -> int:
    """Return when a row became known, microseconds since 1970."""
    at = {"candle": 9, "fact": 5, "text": 3}[row[0]]
    instant: int = row[at]
    return instant


def event_time(row: Row) -> int:
    """Return when a row was true, microseconds since 1970; for a candle when it opened."""
    at = {"candle": 3, "fact": 4, "text": 2}[row[0]]
    instant: int = row[at]
    return instant


def key_of(row: Row) -> Row:
    """Return a row without its values and the time it became known."""
    return row[: {"candle": 4, "fact": 5, "text": 2}[row[0]]]


def fetch(
    case: ProviderCase,
    provider: Provider | None = None,
    tap: Tap | None = None,
    **options: Any,  # noqa: ANN401  # those of `run_fetch`
) -> Fetched:
    """Run one fetch to its end, in an event loop of its own; see `run_fetch`."""
    return asyncio.run(run_fetch(case, provider or case.build(), tap, **options))


async def run_fetch(
    case: ProviderCase,
    provider: Provider,
    tap: Tap | None = None,
    *,
    now: int | None = None,
    known: Known = NOTHING,
    limits: bool = False,
    cache: Path | None = None,
    fetched: Fetched | None = None,
) -> Fetched:
    """Run one fetch to its end.

    Args:
        case: the request, and the stand-in for the API.
        provider: the instance that fetches; its state stays with it.
        tap: between the provider and the stand-in.
        now: simulated time; that of the stand-in if None.
        known: rows in the store.
        limits: whether to keep to the rate limits of the API. Waiting moves the clock on.
        cache: folder for cached answers.
        fetched: filled during the fetch, for a caller that cancels it.
    """
    clock = SimulatedClock(case.stand_in.now if now is None else now)
    fetched = fetched or Fetched(clock.now())
    tap = tap or new_tap(case)
    interval = Interval.parse(case.interval)
    request = Request(
        interval,
        case.symbols,
        case.since,
        known.candles,
        known.facts,
        case.assets,
        known.cursor,
    )
    async with opened(provider, clock, tap, limits=limits, cache=cache) as http:
        try:
            async for batch in provider.fetch(request, http, clock):
                fetched.add(batch, interval, clock.now(), provider.source)
        except Exception as error:  # noqa: BLE001  # the checks judge any error
            fetched.error = error
        fetched.status = http.status()
    fetched.asked, fetched.ended = tap.asked, clock.now()
    return fetched


def new_tap(case: ProviderCase, **options: Any) -> Tap:  # noqa: ANN401  # options of a tap
    """Return a tap before the stand-in for the API."""
    api = case.stand_in.api
    return Tap(api if isinstance(api, httpx.AsyncBaseTransport) else None, **options)


@asynccontextmanager
async def opened(
    provider: Provider,
    clock: SimulatedClock,
    tap: Tap,
    *,
    limits: bool = False,
    cache: Path | None = None,
) -> AsyncIterator[Http]:
    """Open the client of a provider behind a tap, as the engine does."""
    if provider.web is None:
        raise AssertionError(f"provider {provider.name} declares no API: set `web = Api(...)`")
    web = provider.web if limits else replace(provider.web, limits=())
    with tap.listening():
        responses = None if cache is None else ResponseCache(cache)
        try:
            async with Http(
                web,
                name=provider.name,
                clock=clock,
                rng=random.Random(1),  # noqa: S311  # no secret depends on it
                key=provider.config.api_key,
                base_url=provider.base_url,
                cache=responses,
                tls=_trust(),
            ) as http:
                yield http
        finally:
            if responses is not None:
                await responses.aclose()


@cache_result
def _trust() -> ssl.SSLContext:
    # Reading all certificate authorities takes longer than a short fetch.
    return ssl.create_default_context()


def require_fine(fetched: Fetched, when: str) -> None:
    """Require that a fetch ended without an error."""
    if fetched.error is not None:
        kind = type(fetched.error).__name__
        raise AssertionError(f"{kind} {when}: {fetched.error}") from fetched.error


def require_same(rows: set[Row], expected: set[Row], when: str) -> None:
    """Require that two sets of rows are equal."""
    require_part(rows, expected, when)
    lost = sorted(map(str, expected - rows))
    require(not lost, f"{len(lost)} rows are missing {when}: {lost[:2]}")


def require_part(
    rows: set[Row], expected: set[Row], when: str, problem: str = "are not among those expected"
) -> None:
    """Require that every row is among the expected ones; `problem` describes rows that are not."""
    more = sorted(map(str, rows - expected))
    require(not more, f"{len(more)} rows {problem} {when}: {more[:2]}")
