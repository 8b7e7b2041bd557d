"""Splitting history into rows to train on and rows to test on, with nothing shared between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of the samples to train on and to test on, both ascending."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def purge(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    test: NDArray[np.int64],
    embargo: int = 0,
) -> NDArray[np.int64]:
    """Return the samples that share no time with any test sample.

    A sample is what lies between the row it is made on and the row its outcome is known at, both
    included. One that meets a test sample's span is left out; so is one that starts within
    `embargo` after such a span, whose features still look back into it. It is times that decide,
    so samples of all symbols may be mixed. López de Prado (2018), section 7.4.

    Args:
        starts: row of each sample, or its time (n,).
        ends: row at which its outcome is known, not before `starts` (n,).
        test: positions of the test samples.
        embargo: rows, or time, after a test span.
    """
    order = np.argsort(starts[test], kind="stable")
    first, last = starts[test][order], ends[test][order]
    reach = np.maximum.accumulate(last) if len(last) else last
    # Of the test samples that start by a sample's end, the one reaching furthest decides.
    place = np.searchsorted(first, ends, side="right") - 1
    clear = np.ones(len(starts), dtype=np.bool_)
    met = place >= 0
    clear[met] = reach[place[met]] + embargo < starts[met]
    clear[test] = False
    return np.flatnonzero(clear)


def walk_forward(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    folds: int,
    embargo: int = 0,
) -> Iterator[Split]:
    """Yield splits in which all samples to train on lie before those to test on.

    Time is cut into `folds` + 1 spans with as many distinct starts each; every span but the first
    is tested once, by what came before it and ended before it begins.

    Raises:
        ValueError: fewer distinct starts than spans.
    """
    for first, last in _spans(starts, folds + 1)[1:]:
        test = np.flatnonzero((starts >= first) & (starts <= last))
        train = np.flatnonzero(ends + embargo < first)
        yield Split(train, test)


def purged_folds(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    folds: int,
    embargo: int = 0,
) -> Iterator[Split]:
    """Yield splits that test each of `folds` spans of time once, by all the rest, purged.

    Raises:
        ValueError: fewer distinct starts than spans.
    """
    for first, last in _spans(starts, folds):
        test = np.flatnonzero((starts >= first) & (starts <= last))
        yield Split(purge(starts, ends, test, embargo), test)


def _spans(starts: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    distinct = np.unique(starts)
    if count < 2 or len(distinct) < count:
        raise ValueError(f"{len(distinct)} distinct starts cannot be cut into {count} spans")
    parts = np.array_split(distinct, count)
    return [(int(part[0]), int(part[-1])) for part in parts]
