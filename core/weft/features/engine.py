"""Computes features over panels, and keeps their state from one candle to the next.

Where a recursive indicator starts decides its last digits. To keep them the same for live, for
history and after a restart, every value is computed from a start fixed by the calendar: time is
cut into blocks of `BLOCK` candles, and within a block the state starts from nothing `warmup`
candles before the block begins. Loading more history, or dropping the cached state, then changes
no bit; and rounding errors cannot pile up beyond a block.

A market with sessions leaves most rows of an intraday grid empty, so its state starts earlier, by
`first_row_needed`; a market that never closes beside it in the panel starts where it always does.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from weft.components.feature import StepFeature
from weft.domain.calendar import BLOCK, first_row_needed
from weft.domain.candles import Candles
from weft.features.history import HistoryRunner
from weft.features.jobs import driver
from weft.features.live import Followed
from weft.features.source import Run, Source
from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import DataError

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig

__all__ = ["BLOCK", "FeatureEngine", "first_row_needed"]

_PANELS_FOLLOWED = 16


class FeatureEngine:
    """Computes features for views, and steps them forward when a view follows the one before.

    Thread-safe. All its state is a cache: `forget` changes no result.

    Args:
        threads: worker threads for panels of many symbols; 0 for one per core.
    """

    def __init__(self, threads: int = 0) -> None:
        self._history = HistoryRunner(threads)
        self._runs: dict[tuple[type[StepFeature], ComponentConfig | str], Run] = {}
        self._followed: OrderedDict[tuple[int, str], Followed] = OrderedDict()
        self._latest: Followed | None = None
        self._lock = threading.Lock()

    def compile(
        self, features: Iterable[StepFeature], progress: Callable[[str], None] | None = None
    ) -> None:
        """Compile the loops of `features` ahead of their use.

        Args:
            features: the features about to be used.
            progress: called with each feature's name once its loop is ready.
        """
        driver()
        for feature in features:
            self._run(feature).kernel  # noqa: B018  # reading it compiles it
            if progress is not None:
                progress(feature.name)

    def forget(self) -> None:
        """Drop all cached state."""
        with self._lock:
            self._followed.clear()
            self._latest = None
        self._history.forget()

    def panels(self, feature: StepFeature, candles: Candles, rows: int) -> Mapping[str, FloatPanel]:
        """Return the last `rows` rows of every output of a feature over a candle panel.

        Args:
            feature: the feature with its options.
            candles: rows far enough back for the block and its warm-up (see `first_row_needed`);
                where they begin later, history is taken to begin there.
            rows: number of rows wanted.

        Raises:
            DataError: the panel has fewer rows than are wanted.
        """
        if rows > len(candles.times):
            raise DataError(
                f"{rows} rows are wanted of a panel of {len(candles)}",
                where=feature.name,
                hint="Load more candles, or ask for fewer rows",
            )
        if candles.generation is None:
            run = self._run(feature)
            return run.named(self._history.compute(run, Source(candles), rows)[0])
        with self._lock:
            followed = self._follow(candles)
            if rows == 1 and (newest := followed.find_newest(feature)) is not None:
                return newest
            run = self._run(feature)
            panels = followed.find(run, rows)
            if panels is None:
                values, state = self._history.compute(run, followed.source, rows)
                followed.keep(run, values, state)
                return run.named(values)
            return panels

    def _run(self, feature: StepFeature) -> Run:
        """Return a feature bound to its loop, one for all of its objects with equal options."""
        try:
            return self._runs[type(feature), feature.config]
        except KeyError:
            return self._runs.setdefault((type(feature), feature.config), Run(feature))
        except TypeError:  # an option that is a list or a dict cannot be hashed
            key = (type(feature), feature.config.model_dump_json())
            return self._runs.get(key) or self._runs.setdefault(key, Run(feature))

    def _follow(self, candles: Candles) -> Followed:
        """Return what is kept for a panel, stepped forward to its latest candle."""
        if self._latest is not None and self._latest.source.candles is candles:
            return self._latest
        key = (candles.generation or 0, candles.interval.name)
        followed = self._followed.get(key)
        if followed is None or not _same(followed.source.candles.symbols, candles.symbols):
            followed = self._followed[key] = Followed(Source(candles))
            if len(self._followed) > _PANELS_FOLLOWED:
                self._followed.popitem(last=False)
        elif followed.source.candles is not candles:
            followed.step_to(Source(candles))
            self._followed.move_to_end(key)
        self._latest = followed
        return followed


def _same(some: tuple[str, ...], others: tuple[str, ...]) -> bool:
    # Live panels share one tuple; comparing it with itself would look at every name.
    return some is others or some == others
