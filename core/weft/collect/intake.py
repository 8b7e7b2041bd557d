"""Taking in: what a provider brought is checked, stored, and made known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from weft.collect.checks.clean import clean_candles, clean_observations, clean_texts
from weft.collect.checks.jumps import LastClose, last_closes
from weft.components.provider import Batch, FactKey, Whole
from weft.domain.candles import FIELDS
from weft.foundation.clock import Clock
from weft.foundation.times import SECOND, Interval, iso
from weft.market.corrections import about_restated, late_by
from weft.market.market import Market
from weft.store.store import Appended, Span, Store
from weft.store.tables import CANDLES


@dataclass(slots=True)
class RoundResult:
    """What one provider brought in one round.

    Attributes:
        provider: its name.
        new: facts not known before.
        restated: facts that came with another value than before.
        problems: what was refused or repaired, one line each.
        error: why the provider stopped early; None where it did not.
        reached: latest open or event time of the last batch, microseconds since 1970.
    """

    provider: str
    new: int = 0
    restated: int = 0
    problems: list[str] = field(default_factory=list)
    error: str | None = None
    reached: int | None = None


class Intake:
    """The way of every batch into the store, and how far each source's facts reach there.

    Args:
        base: the candles that are stored.
        store: where rows are kept.
        market: learns of every fact and text stored.
        clock: tells what can be known by now.
    """

    def __init__(self, base: Interval, store: Store, market: Market, clock: Clock) -> None:
        self._base = base
        self._store = store
        self._market = market
        self._clock = clock
        self._facts: dict[str, dict[FactKey, Span]] = {}
        self._closes: dict[str, dict[str, LastClose]] = {}

    def take(self, source: str, batch: Batch, collected: RoundResult) -> pl.DataFrame:
        """Store a batch: the facts before the cursor that says they need not be asked again.

        Args:
            source: under whose name.
            batch: what came.
            collected: counts what was stored, and takes a line for all that was refused.

        Returns:
            The candles that were added; the market is told of them by the caller, at its time.

        Raises:
            WeftError: it cannot be stored.
        """
        added = pl.DataFrame(schema=CANDLES.schema)
        collected.problems += batch.problems
        if batch.instruments:
            self._store.describe_instruments(source, batch.instruments)
        if batch.candles is not None:
            now = self._clock.now()
            before = self._closes.setdefault(source, {})
            checked = clean_candles(batch.candles, self._base, now, collected.provider, before)
            collected.problems += checked.problems
            for symbol, last in last_closes(checked.frame).items():
                before[symbol] = max(last, before.get(symbol, last))
            came = [checked.frame, *self._withdrawn(source, batch.whole, checked.frame)]
            stored = self._store.append_candles(source, pl.concat(came))
            collected.reached = _latest(checked.frame["open_time"]) or collected.reached
            added = stored.rows
            collected.problems += self._late(stored)
            if stored.restated:
                restated = stored.rows.filter(~stored.is_new), stored.was.filter(~stored.is_new)
                collected.problems += about_restated(*restated, collected.provider)
            collected.new += stored.new
            collected.restated += stored.restated
        if batch.observations is not None:
            now = self._clock.now()
            facts = clean_observations(batch.observations, now, collected.provider)
            collected.problems += facts.problems
            noted = self._store.append_observations(source, facts.frame)
            collected.reached = _latest(facts.frame["event_time"]) or collected.reached
            collected.new += noted.new
            collected.restated += noted.restated
            self._note(source, noted.rows)
            self._market.take_in_facts(noted.rows)
        if batch.texts is not None:
            texts = clean_texts(batch.texts, self._clock.now(), collected.provider)
            collected.problems += texts.problems
            kept = self._store.append_texts(source, texts.frame)
            collected.new += kept.new
            collected.restated += kept.restated
            self._market.take_in_texts(kept.rows)
        if batch.cursor is not None:
            self._store.save_cursor(source, self._base, batch.cursor)
        return added

    def facts_of(self, source: str) -> dict[FactKey, Span]:
        """Return how far a source's observations reach, read from the store the first time."""
        if source not in self._facts:
            self._facts[source] = self._store.known_facts(source)
        return self._facts[source]

    def newest_fact(self, source: str) -> int | None:
        """Return the event time of a source's newest observation, None where it has none."""
        return max((span.last for span in self._facts.get(source, {}).values()), default=None)

    def _note(self, source: str, rows: pl.DataFrame) -> None:
        """Remember from where to where the series of a source reach."""
        time = pl.col("event_time").to_physical()
        spans = rows.group_by("metric", "scope", "entity").agg(first=time.min(), last=time.max())
        known = self._facts.setdefault(source, {})
        for *names, first, last in spans.iter_rows():
            key, span = FactKey(*names), Span(first, last)
            known[key] = span.union(known.get(key, span))

    def _withdrawn(
        self, source: str, whole: Sequence[Whole], came: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """Yield the stored candles that are no longer in their source, with nothing for values.

        Kept as a correction like any other, each says from now on that there is no such candle.
        """
        for symbol, first, last in whole:
            stored = self._store.candles({source: [symbol]}, self._base, first, last)
            here = came.filter(pl.col("symbol") == symbol)
            gone = stored.unique("open_time", keep="last", maintain_order=True).join(
                here, on="open_time", how="anti", maintain_order="left"
            )
            nothing = [pl.lit(float("nan")).alias(name) for name in FIELDS]
            yield gone.with_columns(nothing).select(came.columns)

    def _late(self, stored: Appended) -> list[str]:
        """Return a line for each symbol with candles known too late for their own row."""
        base, delay = self._base, self._market.plan.delay
        found = (
            stored.rows.filter(stored.is_new)
            .with_columns(late=late_by(base, delay))
            .filter(pl.col("late") > 0)
            .with_columns(pl.col("late") + delay)
            .group_by("symbol")
            .agg(pl.len(), pl.col("late").max(), first=pl.col("open_time").min().to_physical())
            .sort("symbol")
        )
        return [
            f"{symbol}: {count} candles, the first at {iso(first)}, became known up to "
            f"{most / SECOND:g} seconds after their row, and will not be seen; "
            "raise decision_delay_seconds to have them"
            for symbol, count, most, first in found.iter_rows()
        ]


def _latest(times: pl.Series) -> int | None:
    latest = times.to_physical().max()
    return latest if isinstance(latest, int) else None
