"""Stories: texts that say the same, counted once, with what is known of them at each instant."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Times
from weft.foundation.times import HOUR
from weft.market.news import News
from weft.text.tagging import Tags
from weft_plugins.layers.sentiment.text.reading import Read

if TYPE_CHECKING:
    from weft_plugins.layers.sentiment.text.kernels import Entries, Titles

REPEATS = 3
"""Windows for the same story that a text which counts may depend on: its own, that of what it
repeats, and that of an earlier version."""


class Rules(NamedTuple):
    """How stories count.

    Attributes:
        alike: least share of words that two titles of one story have in common.
        window: furthest apart that two texts of one story are published, microseconds.
        horizon: age above which a story does not count, microseconds.
        half_life: age at which it counts half, microseconds.
        feed_cap: most that one feed counts, in fresh stories that are fully credible.
        market: how much a story of the whole market is about each coin, 0 to 1.
    """

    alike: float
    window: int
    horizon: int
    half_life: float
    feed_cap: float
    market: float


class Columns(NamedTuple):
    """The columns that stories may be about.

    Attributes:
        of_asset: by asset.
        takes_market: those for which news of the crypto market count (column,).
    """

    of_asset: Mapping[str, Sequence[int]]
    takes_market: NDArray[np.bool_]


class ParsedTexts(NamedTuple):
    """Texts that can be understood, in the order in which they became known.

    Attributes:
        news: the texts.
        reads: what each says.
        tags: what each is about.
        tones: how each sounds, -1 to +1.
        late: whether each was published after its reader was made.
    """

    news: News
    reads: Sequence[Read]
    tags: Sequence[Tags]
    tones: Sequence[float]
    late: NDArray[np.bool_]


class StorySums(NamedTuple):
    """What the stories come to, on each row and for each column (time, symbol).

    Attributes:
        weight: of all stories, in fresh ones that are fully credible.
        tone: mean, -1 to +1; NaN where there is no story.
        stories: how many there are.
        tellers: how many texts tell them.
        age_hours: mean; NaN where there is no story.
        after_cutoff: share of the weight that was published after the reader was made.
        feeds: how many tell them first.
    """

    weight: FloatPanel
    tone: FloatPanel
    stories: FloatPanel
    tellers: FloatPanel
    age_hours: FloatPanel
    after_cutoff: FloatPanel
    feeds: FloatPanel


def add_up(
    told: ParsedTexts, columns: Columns, rules: Rules, rows: Times, decided: Times
) -> StorySums:
    """Return what the stories come to on each row.

    Each row follows from the texts known by its decision and published since `horizon` and
    `REPEATS` windows before it, whatever other texts there are.

    Args:
        told: the texts.
        columns: what they may be about.
        rules: how they count.
        rows: decision rows, microseconds since 1970 (time,).
        decided: when each decision is taken (time,).
    """
    from weft_plugins.layers.sentiment.text import kernels  # noqa: PLC0415  # numba takes long to import

    found = np.zeros((len(rows), 7, len(columns.takes_market)))
    if len(told.news):
        titles = _titles(told)
        links = tuple(np.empty(len(told.news), dtype=np.int64) for _ in range(3))
        kernels.link(titles, rules.alike, rules.window, *links)
        feeds = {feed: number for number, feed in enumerate(sorted(set(told.news.feeds)))}
        entries = _entries(told, links, titles.event, feeds, columns, rules)
        kernels.weigh(
            np.ascontiguousarray(rows),
            np.ascontiguousarray(decided),
            entries,
            columns.takes_market,
            len(feeds),
            (rules.horizon, rules.half_life, rules.feed_cap),
            found,
        )
    weight, tones, stories, tellers, ages, late, count = found.transpose(1, 0, 2)
    speaks = weight > 0.0
    return StorySums(
        weight=weight,
        tone=np.divide(tones, weight, out=np.full_like(tones, np.nan), where=speaks),
        stories=stories,
        tellers=tellers,
        age_hours=np.where(speaks, ages / HOUR, np.nan),
        after_cutoff=np.where(speaks, np.minimum(late, 1.0), np.nan),
        feeds=count,
    )


def _titles(told: ParsedTexts) -> "Titles":
    from weft_plugins.layers.sentiment.text.kernels import Titles  # noqa: PLC0415  # numba takes long to import

    news, reads = told.news, told.reads
    latest = dict[tuple[str, str], int]()
    earlier = np.empty(len(news), dtype=np.int64)
    for place, key in enumerate(zip(news.sources, news.ids, strict=True)):
        earlier[place] = latest.get(key, -1)
        latest[key] = place
    return Titles(
        # What is said to be published after it was seen was published then.
        event=np.minimum(news.event_time, news.known_at),
        known=np.ascontiguousarray(news.known_at),
        earlier=earlier,
        tokens=np.concatenate([read.tokens for read in reads]),
        begins=_begins([len(read.tokens) for read in reads]),
        bits=np.array([read.bits for read in reads], dtype=np.uint64),
        figures=np.concatenate([read.figures for read in reads]),
        figures_begin=_begins([len(read.figures) for read in reads]),
        moods=np.array([read.mood for read in reads], dtype=np.int64),
    )


def _begins(lengths: Sequence[int]) -> Times:
    begins = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=begins[1:])
    return begins


def _is_heard(tags: Tags, columns: Columns) -> bool:
    return tags.is_market or not columns.of_asset.keys().isdisjoint(tags.assets)


def _entries(
    told: ParsedTexts,
    links: tuple[Times, ...],
    event: Times,
    feeds: Mapping[str, int],
    columns: Columns,
    rules: Rules,
) -> "Entries":
    """Return the stories: one entry from when each is known, and one from each further teller."""
    from weft_plugins.layers.sentiment.text.kernels import Entries  # noqa: PLC0415  # numba takes long to import

    news = told.news
    first, story, ends = (link.tolist() for link in links)
    known, credibility = news.known_at.tolist(), news.credibility.tolist()
    retold = dict[int, list[int]]()
    for place, whose in enumerate(story):
        if whose >= 0 and whose != first[place]:
            retold.setdefault(whose, []).append(place)
    rows = list[tuple[int, int, int, float, float]]()
    for place, whose in enumerate(story):
        if whose != first[place] or not _is_heard(told.tags[place], columns):
            continue
        start, trust, tellers = known[place], credibility[place], 1.0
        for teller in retold.get(whose, ()):
            if known[teller] > start and start < ends[place]:
                rows.append((start, place, min(ends[place], known[teller]), trust, tellers))
                start = known[teller]
            trust = max(trust, credibility[teller])
            tellers += first[teller] == teller
        if start < ends[place]:
            rows.append((start, place, ends[place], trust, tellers))
    rows.sort()
    places = [row[1] for row in rows]
    mentions = [
        [
            (column, share)
            for asset, share in told.tags[place].assets.items()
            if share > 0.0
            for column in columns.of_asset.get(asset, ())
        ]
        for place in places
    ]
    flat = [mention for some in mentions for mention in some]
    return Entries(
        starts=np.array([row[0] for row in rows], dtype=np.int64),
        ends=np.array([row[2] for row in rows], dtype=np.int64),
        event=event[places],
        trust=np.array([row[3] for row in rows], dtype=np.float64),
        tone=np.array([told.tones[place] for place in places], dtype=np.float64),
        tellers=np.array([row[4] for row in rows], dtype=np.float64),
        late=told.late[places].astype(np.float64),
        feed=np.array([feeds[news.feeds[place]] for place in places], dtype=np.int64),
        reach=np.array(
            [rules.market if told.tags[place].is_market else 0.0 for place in places],
            dtype=np.float64,
        ),
        mentions_begin=_begins([len(some) for some in mentions]),
        columns=np.array([column for column, _ in flat], dtype=np.int64),
        shares=np.array([share for _, share in flat], dtype=np.float64),
    )
