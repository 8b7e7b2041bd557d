"""Texts as panels see them: what was published, and from which row on it was known."""

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
        known_at: when each became known, microseconds since 1970, ascending (text,).
        event_time: when each says that it was published, microseconds since 1970 (text,).
        sources: who brought it (text,).
        ids: what tells texts of one source apart (text,).
        titles: headlines (text,).
        summaries: what follows the headline, empty where nothing does (text,).
        feeds: who published it (text,).
        urls: where it stands (text,).
        assets: what it is about by its source's own marks, such as ``BTC`` (text,).
        credibility: of its source, 0 to 1 (text,).
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
        """Return the texts published from one instant on and known by another."""
        kept = np.flatnonzero((self.event_time >= published_since) & (self.known_at <= known_by))
        return self if len(kept) == len(self) else _pick(self, kept.tolist())

    def joined(self, other: "News") -> "News":
        """Return the texts of both, each version once."""
        if not len(other):
            return self
        # What comes is nearly always the newest, so only the end has to be put in order.
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
"""Later than anything becomes known."""

NO_NEWS = news_of(pl.DataFrame(schema=TEXTS.schema))
"""No texts at all."""


_MOST_HELD = 200_000
"""Texts in memory, some 200 MB, beyond which the store is read anew for what is asked then."""


class Texts:
    """Keeps in memory what the store holds from the earliest instant asked for on.

    Safe to use from several threads.

    Args:
        store: where the texts are.
        sources: names of the sources to read.
    """

    def __init__(self, store: Store, sources: Sequence[str]) -> None:
        self._store = store
        self._sources = tuple(sources)
        self._held: News | None = None
        self._since = 0
        # Between reading the store and holding what was read, nothing may be taken in.
        self._lock = threading.Lock()

    def between(self, published_since: int, known_by: int) -> News:
        """Return the texts published from one instant on and known by another."""
        with self._lock:
            held = self._held
            if held is None or published_since < self._since:
                rows = self._store.texts(self._sources, published_since, _ALL)
                held = NO_NEWS.joined(news_of(rows))
                self._held, self._since = held, published_since
        return held.between(published_since, known_by)

    def take_in(self, rows: pl.DataFrame) -> None:
        """Add texts that were just stored.

        Args:
            rows: as the store added them.
        """
        with self._lock:
            if self._held is None:
                return
            if len(self._held) + len(rows) > _MOST_HELD:
                self._held = None
                return
            wanted = rows.filter(
                pl.col("source").is_in(self._sources),
                pl.col("event_time").to_physical() >= self._since,
            )
            # What the store was read for a moment ago may hold some of these already.
            self._held = self._held.joined(news_of(wanted))
