"""Join batches that arrive in quick succession, so that one commit stores them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import polars as pl

from weft.components.provider import Batch

_FRAMES = ("candles", "observations", "texts")
_ROWS_AT_ONCE = 20_000
_SECONDS_BUFFERED = 2.0


class BatchBuffer:
    """Batches that wait to be stored.

    A commit to the store costs about the same for few rows as for many, so a source that pages
    through its history in small steps would spend most of its time in commits.

    Args:
        time: returns monotonic seconds.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._batches: list[Batch] = []
        self._rows = 0
        self._since = 0.0

    def add(self, batch: Batch) -> bool:
        """Add a batch; return whether it is time to store the batches."""
        if not self._batches:
            self._since = self._time()
        self._batches.append(batch)
        frames = (getattr(batch, name) for name in _FRAMES)
        self._rows += sum(len(frame) for frame in frames if frame is not None)
        return self._rows >= _ROWS_AT_ONCE or self._time() - self._since >= _SECONDS_BUFFERED

    def take(self) -> list[Batch]:
        """Return the batches, and empty the buffer."""
        batches, self._batches, self._rows = self._batches, [], 0
        return batches

    def __bool__(self) -> bool:
        return bool(self._batches)


def merge_batches(batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[Batch]]]:
    """Join adjacent batches whose frames have the same columns; yield each with its parts."""
    for _, group in groupby(batches, key=_columns):
        same = list(group)
        cursors = [batch.cursor for batch in same if batch.cursor is not None]
        yield (
            Batch(
                candles=_joined([batch.candles for batch in same]),
                observations=_joined([batch.observations for batch in same]),
                texts=_joined([batch.texts for batch in same]),
                instruments=tuple(i for batch in same for i in batch.instruments),
                problems=tuple(line for batch in same for line in batch.problems),
                cursor=cursors[-1] if cursors else None,
                complete_spans=tuple(span for batch in same for span in batch.complete_spans),
            ),
            same,
        )


def _columns(batch: Batch) -> list[pl.Schema | None]:
    frames = (getattr(batch, name) for name in _FRAMES)
    return [None if frame is None else frame.schema for frame in frames]


def _joined(frames: Sequence[pl.DataFrame | None]) -> pl.DataFrame | None:
    present = [frame for frame in frames if frame is not None]
    return pl.concat(present) if present else None
