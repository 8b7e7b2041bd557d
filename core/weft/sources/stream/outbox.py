"""Stores what streams bring: gathers rows, hands on a batch, and retries failures."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import polars as pl

from weft.components.provider import Batch, Provider
from weft.domain.candles import FIELDS
from weft.domain.instruments import Instrument, Scope
from weft.foundation.clock import Clock
from weft.foundation.errors import DataError
from weft.foundation.times import Interval
from weft.sources.stream.events import Candle
from weft.sources.stream.sums import Fact

_TIME = pl.Datetime("us", "UTC")
_CANDLES = {"symbol": pl.String(), "open_time": _TIME} | dict.fromkeys(FIELDS, pl.Float64())
_FACTS = {
    "metric": pl.String(),
    "entity": pl.String(),
    "event_time": _TIME,
    "value": pl.Float64(),
    "known_at": _TIME,
}


def candle_frame(candles: Sequence[Candle], interval: Interval) -> pl.DataFrame:
    """Return candles as the table of `Batch.candles`; each is known at its close."""
    rows = [(c.symbol, c.open_time, c.open, c.high, c.low, c.close, c.volume) for c in candles]
    return pl.DataFrame(rows, _CANDLES, orient="row").with_columns(interval=pl.lit(interval.name))


def fact_frame(facts: Sequence[tuple[Fact, int]]) -> pl.DataFrame:
    """Return facts, each with the instant it became known, as the table of `Batch.observations`."""
    rows = [(*fact, known_at) for fact, known_at in facts]
    frame = pl.DataFrame(rows, _FACTS, orient="row")
    return frame.with_columns(scope=pl.lit(Scope.INSTRUMENT.value))


_log = logging.getLogger(__name__)


StoreBatch: TypeAlias = Callable[[Provider, Batch], Awaitable[object]]

"""Stores a batch. Called for one batch of a provider at a time."""


_GATHER_SECONDS = 0.2
_T = TypeVar("_T")


_MOST = 50_000
_LONGEST_PAUSE_SECONDS = 60.0


class Outbox:
    """Collects the rows of one provider's streams, and hands them on in few batches.

    A thousand candles close at one instant, and each batch costs a commit. A batch that could not
    be stored is handed on again; while too many rows wait, `room` blocks the streams.

    Args:
        provider: provider of the streams.
        interval: length of a candle.
        keep: stores a batch.
        clock: current time, and waiting.
        rng: draws the pauses between attempts.

    Attributes:
        failure: error of the last batch; None after a success.
        dropped: rows left out because the store refuses them.
    """

    def __init__(
        self,
        provider: Provider,
        interval: Interval,
        keep: StoreBatch,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.failure: Exception | None = None
        self.dropped = 0
        self._provider, self._interval, self._keep = provider, interval, keep
        self._clock, self._rng = clock, rng
        self._candles: list[Candle] = []
        self._facts: list[tuple[Fact, int]] = []
        self._instruments: list[Instrument] = []
        self._problems: list[str] = []
        self._filled, self._free = asyncio.Event(), asyncio.Event()
        self._free.set()

    def candles(self, candles: Iterable[Candle]) -> None:
        """Add closed candles, in order."""
        self._add(self._candles, candles)

    def facts(self, facts: Iterable[Fact]) -> None:
        """Add observations that became known now."""
        now = self._clock.now()
        self._add(self._facts, ((fact, now) for fact in facts))

    def instruments(self, instruments: Iterable[Instrument]) -> None:
        """Add descriptions of instruments."""
        self._add(self._instruments, instruments)

    def problems(self, lines: Iterable[str]) -> None:
        """Add problems, one line each."""
        self._add(self._problems, lines)

    async def room(self) -> None:
        """Wait until there is room for more rows."""
        await self._free.wait()

    async def run(self) -> None:
        """Hand on batches until cancelled."""
        while True:
            await self._filled.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            try:
                batch = await self._batch()
            except Exception as error:  # noqa: BLE001  # what cannot be a batch must not end the stream
                self.dropped += 1
                self._failed(error)
                continue
            failures = 0
            while not await self._is_done(batch):
                bound = min(_LONGEST_PAUSE_SECONDS, 2.0**failures)
                await asyncio.sleep(self._rng.uniform(0, bound))
                failures += 1

    def _add(self, rows: list[_T], new: Iterable[_T]) -> None:
        rows += new
        self._filled.set()
        if len(self._candles) + len(self._facts) > _MOST:
            self._free.clear()

    async def _batch(self) -> Batch:
        candles, self._candles = self._candles, []
        facts, self._facts = self._facts, []
        problems, self._problems = self._problems, []
        instruments, self._instruments = self._instruments, []
        self._filled.clear()
        if candles:
            # With a clock slightly ahead, a venue sends a candle before its close here.
            last = max(candle.open_time for candle in candles)
            await self._clock.sleep_until(last + self._interval.micros)
        return Batch(
            candles=candle_frame(candles, self._interval) if candles else None,
            observations=fact_frame(facts) if facts else None,
            instruments=tuple(instruments),
            problems=tuple(problems),
        )

    async def _is_done(self, batch: Batch) -> bool:
        """Hand on a batch; return False if it must be handed on again."""
        try:
            await self._keep(self._provider, batch)
        except DataError as error:
            self.dropped += sum(
                len(f) for f in (batch.candles, batch.observations) if f is not None
            )
            self._failed(error)
        except Exception as error:  # noqa: BLE001  # who stores may fail in any way; the stream goes on
            self._failed(error)
            return False
        else:
            self.failure = None
        self._free.set()
        return True

    def _failed(self, error: Exception) -> None:
        self.failure = error
        _log.warning(
            "provider %s: a batch of its streams was not stored: %s", self._provider.key, error
        )
