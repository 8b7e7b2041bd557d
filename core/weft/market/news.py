"""Texts in memory, with the time at which each became known."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from weft.foundation.arrays import Floats, Times, read_only
from weft.foundation.times import parse_time
from weft.store.store import Store
from weft.store.tables import TEXTS


@dataclass(frozen=True, slots=True)
class News:
    """Texts in the order in which they became known.

    An edited text is a version of its own, with the same `ids` entry and a later `known_at`.

    Attributes:
        known_at: when each text became known, microseconds since 1970, ascending (text,).
        event_time: stated time of publication, microseconds since 1970 (text,).
        sources: name of the source (text,).
        ids: id of the text within its source (text,).
        titles: headlines (text,).
        summaries: text after the headline, empty where there is none (text,).
        feeds: publisher (text,).
        urls: address of the text (text,).
        assets: assets that the source tags, such as ``BTC`` (text,).
        credibility: credibility of the source, 0 to 1 (text,).
    """

    known_at: Times
    event_time: Times
    sources: tuple[str, ...]
    ids: tuple[str, ...]
    titles: tuple[str, ...]
    summaries: tuple[str, ...]
    feeds: tuple[str, ...]
    urls: tuple[str, ...]
    assets: tuple[tuple[str, ...], ...]
    credibility: Floats

    def __post_init__(self) -> None:
        for name in ("known_at", "event_time", "credibility"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.ids)

    def between(self, published_since: int, known_by: int) -> "News":
        """Return the texts published from one time on and known by another."""
        kept = np.flatnonzero((self.event_time >= published_since) & (self.known_at <= known_by))
        return self if len(kept) == len(self) else _pick(self, kept.tolist())

    def merged(self, other: "News") -> "News":
        """Return the texts of both, each version once, in order."""
        if not len(other):
            return self
        # New texts are nearly always the newest, so only the end needs sorting.
        start = int(np.searchsorted(self.known_at, other.known_at.min(), side="left"))
        head, tail = _pick(self, range(start)), _pick(self, range(start, len(self)))
        both = _chain(tail, other)
        versions = zip(
            both.known_at.tolist(), both.sources, both.ids, both.event_time.tolist(), strict=True
        )
        places: dict[tuple[int, str, str, int], int] = {}
        for place, version in enumerate(versions):
            places.setdefault(version, place)
        return _chain(head, _pick(both, [places[version] for version in sorted(places)]))


def news_of(rows: pl.DataFrame) -> News:
    """Return stored texts as `News`.

    Args:
        rows: columns of the table of texts, in the order in which they became known.
    """
    columns = (rows[name].fill_null("").to_list() for name in ("title", "summary", "feed", "url"))
    titles, summaries, feeds, urls = columns
    return News(
        known_at=rows["known_at"].to_physical().to_numpy(),
        event_time=rows["event_time"].to_physical().to_numpy(),
        sources=tuple(rows["source"].to_list()),
        ids=tuple(rows["id"].to_list()),
        titles=tuple(titles),
        summaries=tuple(summaries),
        feeds=tuple(feeds),
        urls=tuple(urls),
        assets=tuple(tuple(marks or ()) for marks in rows["assets"].to_list()),
        credibility=rows["credibility"].to_numpy(),
    )


def _pick(news: News, places: Sequence[int]) -> News:
    rows = np.asarray(places, dtype=np.int64)
    return News(
        known_at=news.known_at[rows],
        event_time=news.event_time[rows],
        sources=tuple(news.sources[i] for i in places),
        ids=tuple(news.ids[i] for i in places),
        titles=tuple(news.titles[i] for i in places),
        summaries=tuple(news.summaries[i] for i in places),
        feeds=tuple(news.feeds[i] for i in places),
        urls=tuple(news.urls[i] for i in places),
        assets=tuple(news.assets[i] for i in places),
        credibility=news.credibility[rows],
    )


def _chain(first: News, second: News) -> News:
    return News(
        known_at=np.concatenate([first.known_at, second.known_at]),
        event_time=np.concatenate([first.event_time, second.event_time]),
        sources=first.sources + second.sources,
        ids=first.ids + second.ids,
        titles=first.titles + second.titles,
        summaries=first.summaries + second.summaries,
        feeds=first.feeds + second.feeds,
        urls=first.urls + second.urls,
        assets=first.assets + second.assets,
        credibility=np.concatenate([first.credibility, second.credibility]),
    )


_ALL = parse_time("9999-01-01T00:00:00Z")
"""Later than any text."""

NO_NEWS = news_of(pl.DataFrame(schema=TEXTS.schema))
"""No texts."""


_MOST_CACHED = 200_000
"""Most texts in memory, about 200 MB; beyond it, the cache is dropped and read again on demand."""


class Texts:
    """Cache of the stored texts, from the earliest requested time on. Thread-safe.

    Args:
        store: where the texts are.
        sources: names of the sources to read.
    """

    def __init__(self, store: Store, sources: Sequence[str]) -> None:
        self._store = store
        self._sources = tuple(sources)
        self._cached: News | None = None
        self._since = 0
        # New texts must not arrive between reading the store and caching the result.
        self._lock = threading.Lock()

    def between(self, published_since: int, known_by: int) -> News:
        """Return the texts published from one time on and known by another."""
        with self._lock:
            cached = self._cached
            if cached is None or published_since < self._since:
                rows = self._store.texts(self._sources, published_since, _ALL)
                cached = NO_NEWS.merged(news_of(rows))
                self._cached, self._since = cached, published_since
        return cached.between(published_since, known_by)

    def absorb(self, rows: pl.DataFrame) -> None:
        """Add texts that were just stored.

        Args:
            rows: rows that the store added.
        """
        with self._lock:
            if self._cached is None:
                return
            if len(self._cached) + len(rows) > _MOST_CACHED:
                self._cached = None
                return
            wanted = rows.filter(
                pl.col("source").is_in(self._sources),
                pl.col("event_time").to_physical() >= self._since,
            )
            # The latest read of the store may already include some of these rows.
            self._cached = self._cached.merged(news_of(wanted))
