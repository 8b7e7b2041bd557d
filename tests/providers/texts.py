"""Runs a fetch of a provider of texts, and returns its results."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from tests.providers.sandboxed import NOW, SINCE, Row
from weft.collect.checks.clean import clean_observations, clean_texts
from weft.components.provider import FactKey, Provider, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ProviderError
from weft.foundation.times import Interval
from weft.sources.http import Http, ResponseCache

_H1 = Interval.parse("1h")


@dataclass
class Came:
    """The results of one fetch; instants of texts are microseconds since 1970."""

    texts: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    error: ProviderError | None = None
    cursor: str | None = None
    requests: int = 0


def fetch(
    provider: Provider,
    *,
    now: int = NOW,
    since: int = SINCE,
    known: Mapping[FactKey, int] | None = None,
    cursor: str | None = None,
    cache: Path | None = None,
) -> Came:
    """Run one fetch to its end, and return its results, including the error that ended it."""
    return asyncio.run(_fetch(provider, now, since, known or {}, cursor, cache))


async def _fetch(
    provider: Provider,
    now: int,
    since: int,
    known: Mapping[FactKey, int],
    cursor: str | None,
    cache: Path | None,
) -> Came:
    clock, fetched = SimulatedClock(now), Came(cursor=cursor)
    request = Request(_H1, (), since, known_facts=dict(known), cursor=cursor)
    assert provider.web is not None
    stored = ResponseCache(cache) if cache else None
    try:
        async with Http(
            provider.web,
            name=provider.name,
            clock=clock,
            rng=random.Random(1),
            key=provider.config.api_key,
            base_url=provider.base_url,
            cache=stored,
        ) as http:
            try:
                async for batch in provider.fetch(request, http, clock):
                    fetched.problems += batch.problems
                    fetched.cursor = batch.cursor or fetched.cursor
                    micros = pl.col("event_time", "known_at").to_physical()
                    if batch.texts is not None:
                        checked = clean_texts(batch.texts, clock.now(), provider.name)
                        fetched.problems += checked.problems
                        fetched.texts += checked.frame.with_columns(micros).to_dicts()
                    if batch.observations is not None:
                        facts = clean_observations(batch.observations, clock.now(), provider.name)
                        fetched.problems += facts.problems
                        frame = facts.frame.with_columns(micros).select(Row._fields)
                        fetched.rows += [Row(*row) for row in frame.iter_rows()]
            except ProviderError as error:
                fetched.error = error
            fetched.requests = http.status().requests
    finally:
        if stored is not None:
            await stored.__aexit__(None, None, None)
    return fetched
