"""Recorded answers: the rows that a provider parses from bodies of its API, without a server."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import polars as pl

from weft.collect.checks.clean import CANDLE_SCHEMA, TEXT_SCHEMA
from weft.components.provider import FactKey, Provider
from weft.testing.providers.case import ProviderCase, StandIn
from weft.testing.providers.fetching import Fetched, Known, run_fetch
from weft.testing.providers.wiretap import Ask, Tap


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One answer as it was recorded.

    Attributes:
        body: bytes as they came, or a JSON value.
        status: of the answer.
        headers: of the answer; the content type is JSON unless they name another.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> httpx.Response:
        """Return the answer as the client receives it."""
        body = self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)
        headers = {"content-type": "application/json", **self.headers}
        return httpx.Response(self.status, headers=headers, content=body)


Answers: TypeAlias = Mapping[str, Any]
"""Recorded answers by path: a `Recorded`, a body, or a tuple of them, one for each page."""


class Fact(NamedTuple):
    """One observation; instants in microseconds since 1970."""

    metric: str
    scope: str
    entity: str
    event_time: int
    known_at: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRows:
    """The rows of recorded answers that passed the checks before the store.

    Attributes:
        facts: observations, in order of metric, entity and time.
        candles: columns of `Batch.candles`.
        texts: columns of `Batch.texts`.
        problems: lines on rows that were left out, refusals and repairs.
        error: the error that ended the fetch; None where it ended normally.
        asked: requests, in the order they were sent.
    """

    facts: tuple[Fact, ...]
    candles: pl.DataFrame
    texts: pl.DataFrame
    problems: tuple[str, ...]
    error: Exception | None
    asked: tuple[Ask, ...]

    def of(self, metric: str, entity: str = "") -> list[Fact]:
        """Return the facts of one series, oldest first."""
        return [fact for fact in self.facts if (fact.metric, fact.entity) == (metric, entity)]


def parse_recorded(
    provider: Provider,
    answers: Answers,
    *,
    now: int,
    days: float = 7.0,
    known: Mapping[FactKey, int] | None = None,
    cache: Path | None = None,
    **case: Any,  # noqa: ANN401  # fields of ProviderCase
) -> ParsedRows:
    """Return the rows that a provider parses from recorded answers.

    The provider runs as it does in the engine: it chooses paths and parameters, follows pages and
    parses. Only the connection is replaced, so no socket is opened. A body from the documentation
    of a vendor, or from a bug report, becomes a test in a few lines::

        from weft.testing import Recorded, parse_recorded

        def test_a_recorded_answer() -> None:
            parsed = parse_recorded(
                Tides(Tides.Config(assets=("BTC",))),
                {"/v1/level": {"data": [{"time": 1748736000, "level": 1.5}]}},
                now=parse_time("2025-06-03T00:00:00Z"),
            )
            assert [fact.value for fact in parsed.of("tide_level", "BTC")] == [1.5]

    Each key of `answers` is a path below the API's base address (``/v1/level``), or a full address
    for providers of several hosts (``https://news.example/feed``). A key with a query
    (``/v1/level?coin=BTC``) answers only requests that have these parameters; of several matching
    keys, the longest query answers. A tuple holds the answers to successive requests, such as
    pages; its last entry answers all further requests.

    Args:
        provider: with its options; this instance fetches, and its state stays with it.
        answers: recorded answers by path.
        now: simulated time, microseconds since 1970.
        days: how far back the request reaches.
        known: latest event time in the store, by series.
        cache: folder for cached answers and standing refusals; None for no cache.
        case: further fields of `ProviderCase`, such as `interval`, `symbols` and `assets`.

    Raises:
        AssertionError: the provider requested a path without a recorded answer; the message names
            the path.
    """
    player = _Player(answers, provider.base_url or "")
    stand_in = StandIn(api=httpx.MockTransport(player.answer), now=now)
    subject = ProviderCase(provider=provider, stand_in=stand_in, days=days, **case)
    stored = Known({}, known or {}, None)
    tap = Tap(httpx.MockTransport(player.answer))
    fetched = asyncio.run(run_fetch(subject, provider, tap, known=stored, cache=cache))
    if player.missing:
        raise AssertionError(
            f"not recorded: {', '.join(sorted(player.missing))}; recorded are {', '.join(answers)}"
        )
    return _parsed(fetched)


class _Player:
    """Answers requests from recorded answers."""

    def __init__(self, answers: Answers, base_url: str) -> None:
        self._base = httpx.URL(base_url.rstrip("/"))
        self._turns = {key: _turns(value) for key, value in answers.items()}
        self._given = dict.fromkeys(answers, 0)
        self.missing: set[str] = set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Return the recorded answer to a request; 404 where there is none."""
        matches = [key for key in self._turns if self._matches(key, request.url)]
        if not matches:
            self.missing.add(f"{request.method} {request.url}")
            return httpx.Response(404)
        key = max(matches, key=lambda match: len(urlsplit(match).query))
        turns, given = self._turns[key], self._given[key]
        self._given[key] += 1
        return turns[min(given, len(turns) - 1)].response()

    def _matches(self, key: str, url: httpx.URL) -> bool:
        wanted = urlsplit(key if "://" in key else f"{self._base}{key}")
        same_place = (wanted.netloc, wanted.path) == (url.netloc.decode(), url.path)
        sent = set(parse_qsl(url.query.decode(), keep_blank_values=True))
        return same_place and set(parse_qsl(wanted.query)) <= sent


def _turns(value: Any) -> tuple[Recorded, ...]:  # noqa: ANN401  # a body is any JSON
    values = value if isinstance(value, tuple) else (value,)
    return tuple(v if isinstance(v, Recorded) else Recorded(body=v) for v in values)


def _parsed(fetched: Fetched) -> ParsedRows:
    kinds: dict[str, list[Any]] = {"fact": [], "candle": [], "text": []}
    for kind, *row in sorted(fetched.rows, key=str):
        kinds[kind].append(row)
    facts = sorted(Fact(*row) for row in kinds["fact"])
    return ParsedRows(
        facts=tuple(facts),
        candles=_frame(kinds["candle"], CANDLE_SCHEMA),
        texts=_frame(kinds["text"], TEXT_SCHEMA),
        problems=(*fetched.problems, *fetched.refused),
        error=fetched.error,
        asked=tuple(fetched.asked),
    )


def _frame(rows: Sequence[Any], schema: pl.Schema) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=list(schema), orient="row")
    if "assets" in schema:
        assets = pl.col("assets").cast(pl.String)
        listed = pl.when(assets == "").then(pl.lit([])).otherwise(assets.str.split(" "))
        frame = frame.with_columns(assets=listed)
    return frame.cast(schema)
