"""Compiled loops over pairs of texts, and over rows and texts."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats, Times

NEVER: Final = 2**63 - 1

ByFeed = tuple[FloatPanel, FloatPanel, Times]
"""Weight and weighted tone (column, feed), and the story that named each column last (column,)."""

Links = tuple[Times, Times]
"""For each text its first version with the same story, and the text that its story began with."""

_compiled: Callable[[Callable[..., Any]], Callable[..., Any]] = njit(cache=True, nogil=True)


class Titles(NamedTuple):
    """Titles in the order in which they became known.

    Attributes:
        event: when each was published, microseconds (text,).
        known: when each became known, ascending (text,).
        earlier: the version of the same text before each, -1 where it is the first (text,).
        tokens: of all titles, each title's ascending, one title after the other.
        begins: where each title's tokens begin, and the end (text + 1,).
        bits: one bit for each token of a title (text,).
        figures: of all titles, like `tokens`.
        figures_begin: where each title's figures begin, and the end (text + 1,).
        moods: +1 good news, -1 bad news, 0 neither (text,).
    """

    event: Times
    known: Times
    earlier: Times
    tokens: Times
    begins: Times
    bits: NDArray[np.uint64]
    figures: Times
    figures_begin: Times
    moods: Times


class Entries(NamedTuple):
    """Stories, each in as many entries as it became better known, ascending by `starts`.

    Attributes:
        starts: from when each counts, microseconds (entry,).
        ends: until when (entry,).
        event: when it was published (entry,).
        trust: credibility of its most credible teller, 0 to 1 (entry,).
        tone: -1 to +1 (entry,).
        tellers: texts that tell it (entry,).
        late: 1 where it was published after its reader was made, else 0 (entry,).
        feed: number of its feed (entry,).
        reach: how much it is about every coin that it does not name (entry,).
        mentions_begin: where the columns it names begin, and the end (entry + 1,).
        columns: that it names (mention,).
        shares: how much it is about each (mention,).
    """

    starts: Times
    ends: Times
    event: Times
    trust: Floats
    tone: Floats
    tellers: Floats
    late: Floats
    feed: Times
    reach: Floats
    mentions_begin: Times
    columns: Times
    shares: Floats


@_compiled
def _ones(bits: int) -> int:
    """Return how many bits are set (Warren, Hacker's Delight, 5-1)."""
    x = np.uint64(bits)
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_compiled
def _shared(values: Times, begins: Times, i: int, j: int) -> int:
    """Return how many values two ascending runs have in common."""
    a, a_end, b, b_end = begins[i], begins[i + 1], begins[j], begins[j + 1]
    count = 0
    while a < a_end and b < b_end:
        if values[a] == values[b]:
            count += 1
            a += 1
            b += 1
        elif values[a] < values[b]:
            a += 1
        else:
            b += 1
    return count


@_compiled
def _same_story(x: Titles, i: int, j: int, alike: float) -> bool:
    n_i, n_j = x.begins[i + 1] - x.begins[i], x.begins[j + 1] - x.begins[j]
    if n_i == 0 or n_j == 0 or x.moods[i] * x.moods[j] < 0:
        return False
    # Jaccard's index is at least `alike` where at least this many are shared.
    needed = alike / (1.0 + alike) * (n_i + n_j) - 1e-9
    # Tokens that fell on one bit are counted once in `bits`, so as many more may be shared.
    hidden = min(n_i - _ones(x.bits[i]), n_j - _ones(x.bits[j]))
    if _ones(x.bits[i] & x.bits[j]) + hidden < needed:
        return False
    shared = _shared(x.tokens, x.begins, i, j)
    if shared < needed or (min(n_i, n_j) < 4 and shared < max(n_i, n_j)):
        return False
    # One may give fewer figures than the other, but not others.
    f_i = x.figures_begin[i + 1] - x.figures_begin[i]
    f_j = x.figures_begin[j + 1] - x.figures_begin[j]
    return bool(_shared(x.figures, x.figures_begin, i, j) == min(f_i, f_j))


@_compiled
def _prefixes(x: Titles, alike: float) -> tuple[Times, Times]:
    """Return where each title's postings begin, and for each posting the one before of its token.

    Titles that share enough tokens share one among their first n - ceil(alike n) + 1 in any order
    that is the same for all (Chaudhuri, Ganti & Kaushik 2006, the prefix filter).
    """
    count = len(x.event)
    begins = np.zeros(count + 1, dtype=np.int64)
    for i in range(count):
        n = x.begins[i + 1] - x.begins[i]
        begins[i + 1] = begins[i] + (n - int(np.ceil(alike * n - 1e-9)) + 1 if n else 0)
    posted = np.empty(begins[count], dtype=np.int64)
    for i in range(count):
        for k in range(begins[i + 1] - begins[i]):
            posted[begins[i] + k] = x.tokens[x.begins[i] + k]
    order = np.argsort(posted, kind="mergesort")
    before = np.full(len(posted), -1, dtype=np.int64)
    for k in range(1, len(order)):
        if posted[order[k]] == posted[order[k - 1]]:
            before[order[k]] = order[k - 1]
    return begins, before


@_compiled
def _find_stories(x: Titles, alike: float, window: int, group: Times, links: Links) -> None:
    """Fill the first text of each text's story: itself, an earlier one, or -1 for a copy's copy."""
    version, story = links
    begins, before = _prefixes(x, alike)
    text_of, seen = np.empty(len(before), dtype=np.int64), np.full(len(version), -1, dtype=np.int64)
    for i in range(len(version)):
        original, first = True, NEVER
        for posting in range(begins[i], begins[i + 1]):
            text_of[posting] = i
            p = before[posting]
            # Texts known so long before were published even longer before.
            while p >= 0 and x.known[text_of[p]] >= x.event[i] - window:
                j = text_of[p]
                p = before[p]
                if seen[j] == i or group[j] == group[i] or version[j] >= version[i]:
                    continue
                seen[j] = i
                if abs(x.event[j] - x.event[i]) <= window and _same_story(x, i, j, alike):
                    original = False
                    # A copy is followed to an original only: following copies of copies could
                    # chain back without end.
                    if story[j] == version[j]:
                        first = min(first, version[j])
        story[i] = version[i] if original else (first if first < NEVER else -1)


@_compiled
def link(x: Titles, alike: float, window: int, version: Times, story: Times, ends: Times) -> None:
    """Link each text to the earliest text telling the same story.

    Args:
        x: the titles.
        alike: least share of tokens that two titles of one story have in common.
        window: furthest apart that two texts of one story are published, microseconds.
        version: filled with the first version of each text that has the same story (text,).
        story: filled with the text that the story began with; -1 where it is not counted (text,).
        ends: filled with when a later version replaced each (text,).
    """
    group = np.empty(len(version), dtype=np.int64)
    for i in range(len(version)):
        version[i], ends[i], j = i, NEVER, x.earlier[i]
        group[i] = i if j < 0 else group[j]
        while j >= 0:
            if x.event[i] >= x.event[j] - window and ends[j] == NEVER:
                ends[j] = x.known[i]
            if x.event[j] >= x.event[i] - window and _same_story(x, i, j, alike):
                version[i] = j
            j = x.earlier[j]
    _find_stories(x, alike, window, group, (version, story))


@_compiled
def _add(
    x: Entries,
    e: int,
    age: float,
    weight: float,
    takes_market: NDArray[np.bool_],
    by_feed: ByFeed,
    sums: FloatPanel,
) -> None:
    """Add a story to every column it is about."""
    weights, tones, named = by_feed
    begin, end = x.mentions_begin[e], x.mentions_begin[e + 1]
    for m in range(begin, end):
        named[x.columns[m]] = e
    everybody = len(takes_market) if x.reach[e] > 0.0 else 0
    for m in range(begin, end + everybody):
        c = x.columns[m] if m < end else m - end
        if m >= end and (named[c] == e or not takes_market[c]):
            continue
        added = weight * (x.shares[m] if m < end else x.reach[e])
        weights[c, x.feed[e]] += added
        tones[c, x.feed[e]] += added * x.tone[e]
        sums[2, c] += 1.0
        sums[3, c] += x.tellers[e]
        sums[4, c] += added * age
        sums[5, c] += added * x.late[e]


@_compiled
def _sum_feeds(by_feed: ByFeed, cap: float, sums: FloatPanel) -> None:
    """Sum over the feeds, each with a weight of at most `cap`, and reset their sums."""
    weights, tones, _ = by_feed
    for c in range(weights.shape[0]):
        raw = 0.0
        for f in range(weights.shape[1]):
            if weights[c, f] > 0.0:
                capped = min(weights[c, f], cap)
                raw += weights[c, f]
                sums[0, c] += capped
                sums[1, c] += tones[c, f] * (capped / weights[c, f])
                sums[6, c] += 1.0
                weights[c, f] = tones[c, f] = 0.0
        if raw > 0.0:
            sums[4, c] /= raw
            sums[5, c] /= raw


@_compiled
def weigh(
    rows: Times,
    decided: Times,
    x: Entries,
    takes_market: NDArray[np.bool_],
    feeds: int,
    rule: tuple[int, float, float],
    out: NDArray[np.float64],
) -> None:
    """Sum the stories that count on each row, by column.

    Args:
        rows: decision rows, microseconds (row,).
        decided: until when what became known counts on each (row,).
        x: the stories.
        takes_market: columns for which news of the whole market count (column,).
        feeds: how many there are.
        rule: age in microseconds above which nothing counts; at which a story counts half; and
            the most that one feed counts, in fresh stories that are fully credible.
        out: zeros, filled with weight, weighted tone, stories, tellers, mean age in microseconds,
            share published after the reader was made, and feeds (row, 7, column).
    """
    width = len(takes_market)
    horizon, half_life, cap = rule
    by_feed = (
        np.zeros((width, feeds)),
        np.zeros((width, feeds)),
        np.full(width, -1, dtype=np.int64),
    )
    for r in range(len(rows)):
        oldest = rows[r] - horizon
        first = np.searchsorted(x.starts, oldest, side="left")
        last = np.searchsorted(x.starts, decided[r], side="right")
        by_feed[2][:] = -1
        for e in range(first, last):
            if x.ends[e] > decided[r] and x.event[e] >= oldest:
                age = float(decided[r] - x.event[e])
                weight = x.trust[e] * 0.5 ** (age / half_life)
                _add(x, e, age, weight, takes_market, by_feed, out[r])
        if last > first:
            _sum_feeds(by_feed, cap, out[r])


@_compiled
def unusual(
    values: FloatPanel, history: tuple[int, int, int], floor: float, out: FloatPanel
) -> None:
    """Fill in how far values lie from their history, in standard deviations.

    Args:
        values: the history, and then the rows of `out` (time, symbol).
        history: rows between two samples, number of samples, and samples that must be known.
        floor: added to the standard deviation.
        out: filled for the last rows; unchanged where too little is known (row, symbol).
    """
    spacing, samples, least = history
    before = len(values) - len(out)
    for r in range(len(out)):
        for c in range(values.shape[1]):
            count, total = 0, 0.0
            for k in range(1, samples + 1):
                at = before + r - k * spacing
                if at >= 0 and not np.isnan(values[at, c]):
                    count += 1
                    total += values[at, c]
            if count < least or np.isnan(values[before + r, c]):
                continue
            mean, squares = total / count, 0.0
            for k in range(1, samples + 1):
                at = before + r - k * spacing
                if at >= 0 and not np.isnan(values[at, c]):
                    squares += (values[at, c] - mean) ** 2
            out[r, c] = (values[before + r, c] - mean) / (np.sqrt(squares / count) + floor)
