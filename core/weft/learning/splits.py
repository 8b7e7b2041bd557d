"""Splits of history into training and test rows whose outcomes share no time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Split:
    """Positions of the training and the test samples, both ascending."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def purge(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    test: NDArray[np.int64],
    embargo: int = 0,
) -> NDArray[np.int64]:
    """Return the samples that share no time with any test sample.

    A sample spans the time from its row to the row at which its outcome is known, inclusive. A
    sample that overlaps a test span is left out, and so is one that starts within `embargo` after
    a test span, because its features look back into it. Only times count, so samples of all
    symbols may be mixed. López de Prado (2018), Advances in Financial Machine Learning, section
    7.4.

    Args:
        starts: row of each sample, or its time (n,).
        ends: row at which its outcome is known, at or after `starts` (n,).
        test: positions of the test samples.
        embargo: rows, or time, after a test span.
    """
    order = np.argsort(starts[test], kind="stable")
    first, last = starts[test][order], ends[test][order]
    reach = np.maximum.accumulate(last) if len(last) else last
    # Among the test samples that start by a sample's end, the latest end counts.
    place = np.searchsorted(first, ends, side="right") - 1
    clear = np.ones(len(starts), dtype=np.bool_)
    later = place >= 0
    clear[later] = reach[place[later]] + embargo < starts[later]
    clear[test] = False
    return np.flatnonzero(clear)


def walk_forward(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    folds: int,
    embargo: int = 0,
) -> Iterator[Split]:
    """Yield splits in which all training samples are earlier than the test samples.

    Time is cut into `folds` + 1 spans with equally many distinct starts. Each span except the first
    is tested once, with training samples whose outcome was known before the span begins.

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
    """Yield splits that test each of `folds` spans of time once, with all other samples purged.

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
