"""Stories: texts about the same event, counted once, as known at each instant."""

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
"""Windows of one story that a text may depend on: that of the text, of the text that it repeats,
and of an earlier version."""


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
    """Texts with their readings, in the order in which they became known.

    Attributes:
        news: the texts.
        reads: reading of each text.
        tags: assets that each text is about.
        tones: of each text, -1 to +1.
        late: whether each was published after the reader's knowledge cutoff.
    """

    news: News
    reads: Sequence[Read]
    tags: Sequence[Tags]
    tones: Sequence[float]
    late: NDArray[np.bool_]


class StorySums(NamedTuple):
    """Sums over the stories of each row and column (time, symbol).

    Attributes:
        weight: of all stories, in fresh ones that are fully credible.
        tone: mean, -1 to +1; NaN where there is no story.
        stories: number of stories.
        tellers: number of texts that tell them.
        age_hours: mean; NaN where there is no story.
        after_cutoff: share of the weight published after the reader's knowledge cutoff.
        feeds: number of feeds that were first to tell them.
    """

    weight: FloatPanel
    tone: FloatPanel
    stories: FloatPanel
    tellers: FloatPanel
    age_hours: FloatPanel
    after_cutoff: FloatPanel
    feeds: FloatPanel


def add_up(
    texts: ParsedTexts, columns: Columns, rules: Rules, rows: Times, decided: Times
) -> StorySums:
    """Return the sums over the stories that count on each row.

    A row depends only on the texts known by its decision and published since `horizon` and
    `REPEATS` windows before it.

    Args:
        texts: with their readings.
        columns: that the texts may be about.
        rules: how stories count.
        rows: decision rows, microseconds since 1970 (time,).
        decided: when each decision is taken (time,).
    """
    from weft_plugins.layers.sentiment.text import kernels  # noqa: PLC0415  # numba takes long to import

    sums = np.zeros((len(rows), 7, len(columns.takes_market)))
    if len(texts.news):
        titles = _titles(texts)
        links = tuple(np.empty(len(texts.news), dtype=np.int64) for _ in range(3))
        kernels.link(titles, rules.alike, rules.window, *links)
        feeds = {feed: number for number, feed in enumerate(sorted(set(texts.news.feeds)))}
        entries = _entries(texts, links, titles.event, feeds, columns, rules)
        kernels.weigh(
            np.ascontiguousarray(rows),
            np.ascontiguousarray(decided),
            entries,
            columns.takes_market,
            len(feeds),
            (rules.horizon, rules.half_life, rules.feed_cap),
            sums,
        )
    weight, tones, stories, tellers, ages, late, count = sums.transpose(1, 0, 2)
    is_known = weight > 0.0
    return StorySums(
        weight=weight,
        tone=np.divide(tones, weight, out=np.full_like(tones, np.nan), where=is_known),
        stories=stories,
        tellers=tellers,
        age_hours=np.where(is_known, ages / HOUR, np.nan),
        after_cutoff=np.where(is_known, np.minimum(late, 1.0), np.nan),
        feeds=count,
    )


def _titles(texts: ParsedTexts) -> "Titles":
    from weft_plugins.layers.sentiment.text.kernels import Titles  # noqa: PLC0415  # numba takes long to import

    news, reads = texts.news, texts.reads
    latest = dict[tuple[str, str], int]()
    earlier = np.empty(len(news), dtype=np.int64)
    for place, key in enumerate(zip(news.sources, news.ids, strict=True)):
        earlier[place] = latest.get(key, -1)
        latest[key] = place
    return Titles(
        # A text dated after it was seen is dated when it was seen.
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


def _is_about(tags: Tags, columns: Columns) -> bool:
    return tags.is_market or not columns.of_asset.keys().isdisjoint(tags.assets)


def _entries(
    texts: ParsedTexts,
    links: tuple[Times, ...],
    event: Times,
    feeds: Mapping[str, int],
    columns: Columns,
    rules: Rules,
) -> "Entries":
    """Return an entry for each story, from when it is known and from each further text on."""
    from weft_plugins.layers.sentiment.text.kernels import Entries  # noqa: PLC0415  # numba takes long to import

    news = texts.news
    first, story, ends = (link.tolist() for link in links)
    known, credibility = news.known_at.tolist(), news.credibility.tolist()
    further_texts = dict[int, list[int]]()
    for place, story_of in enumerate(story):
        if story_of >= 0 and story_of != first[place]:
            further_texts.setdefault(story_of, []).append(place)
    rows = list[tuple[int, int, int, float, float]]()
    for place, story_of in enumerate(story):
        if story_of != first[place] or not _is_about(texts.tags[place], columns):
            continue
        start, trust, tellers = known[place], credibility[place], 1.0
        for teller in further_texts.get(story_of, ()):
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
            for asset, share in texts.tags[place].assets.items()
            if share > 0.0
            for column in columns.of_asset.get(asset, ())
        ]
        for place in places
    ]
    flat = [mention for mentions_of in mentions for mention in mentions_of]
    return Entries(
        starts=np.array([row[0] for row in rows], dtype=np.int64),
        ends=np.array([row[2] for row in rows], dtype=np.int64),
        event=event[places],
        trust=np.array([row[3] for row in rows], dtype=np.float64),
        tone=np.array([texts.tones[place] for place in places], dtype=np.float64),
        tellers=np.array([row[4] for row in rows], dtype=np.float64),
        late=texts.late[places].astype(np.float64),
        feed=np.array([feeds[news.feeds[place]] for place in places], dtype=np.int64),
        reach=np.array(
            [rules.market if texts.tags[place].is_market else 0.0 for place in places],
            dtype=np.float64,
        ),
        mentions_begin=_begins([len(mentions_of) for mentions_of in mentions]),
        columns=np.array([column for column, _ in flat], dtype=np.int64),
        shares=np.array([share for _, share in flat], dtype=np.float64),
    )
