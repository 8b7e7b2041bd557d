"""Check the batches of providers, store them, and update the market."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from weft.collect.checks.clean import clean_candles, clean_observations, clean_texts
from weft.collect.checks.jumps import LastClose, last_closes
from weft.components.provider import Batch, CompleteSpan, FactKey
from weft.domain.candles import FIELDS
from weft.foundation.clock import Clock
from weft.foundation.times import SECOND, Interval, iso
from weft.market.corrections import about_restated, late_by
from weft.market.market import Market
from weft.store.store import Appended, Span, Store
from weft.store.tables import CANDLES


@dataclass(slots=True)
class RoundResult:
    """Result of one provider in one round.

    Attributes:
        provider: key of the provider in config.
        new: number of rows that were not stored before.
        restated: number of rows that came with another value than the stored one.
        problems: refused or repaired rows, one readable line each.
        error: why the provider ended early; None where it did not.
        reached: latest open or event time of the last batch, microseconds since 1970.
    """

    provider: str
    new: int = 0
    restated: int = 0
    problems: list[str] = field(default_factory=list)
    error: str | None = None
    reached: int | None = None


class Intake:
    """Checks and stores batches, and tracks how far the stored facts of each source reach.

    Args:
        base: interval of the candles.
        store: receives the rows.
        market: receives every stored fact and text.
        clock: gives the present instant, later than which nothing can be known.
    """

    def __init__(self, base: Interval, store: Store, market: Market, clock: Clock) -> None:
        self._base = base
        self._store = store
        self._market = market
        self._clock = clock
        self._facts: dict[str, dict[FactKey, Span]] = {}
        self._closes: dict[str, dict[str, LastClose]] = {}

    def take(self, source: str, batch: Batch, result: RoundResult) -> pl.DataFrame:
        """Store a batch: first the rows, then the cursor, so that no row is skipped after a crash.

        Args:
            source: name under which the rows are stored.
            batch: the rows.
            result: receives the counts, and a line for everything refused.

        Returns:
            The candles that were added; the caller passes them on to the market.

        Raises:
            WeftError: the batch cannot be stored.
        """
        added = pl.DataFrame(schema=CANDLES.schema)
        result.problems += batch.problems
        if batch.instruments:
            self._store.describe_instruments(source, batch.instruments)
        if batch.candles is not None:
            now = self._clock.now()
            before = self._closes.setdefault(source, {})
            checked = clean_candles(batch.candles, self._base, now, result.provider, before)
            # The files provider has checked and reported its rows already, with line numbers.
            reported = "\n".join(batch.problems)
            result.problems += [line for line in checked.problems if line not in reported]
            for symbol, last in last_closes(checked.frame).items():
                before[symbol] = max(last, before.get(symbol, last))
            rows = [checked.frame, *self._withdrawn(source, batch.complete_spans, checked.frame)]
            stored = self._store.append_candles(source, pl.concat(rows))
            result.reached = _latest(checked.frame["open_time"]) or result.reached
            added = stored.rows
            result.problems += self._late(stored)
            if stored.restated:
                restated = stored.rows.filter(~stored.is_new), stored.was.filter(~stored.is_new)
                result.problems += about_restated(*restated, result.provider)
            result.new += stored.new
            result.restated += stored.restated
        if batch.observations is not None:
            now = self._clock.now()
            facts = clean_observations(batch.observations, now, result.provider)
            result.problems += facts.problems
            appended = self._store.append_observations(source, facts.frame)
            result.reached = _latest(facts.frame["event_time"]) or result.reached
            result.new += appended.new
            result.restated += appended.restated
            self._note(source, appended.rows)
            self._market.absorb_facts(appended.rows)
        if batch.texts is not None:
            texts = clean_texts(batch.texts, self._clock.now(), result.provider)
            result.problems += texts.problems
            appended = self._store.append_texts(source, texts.frame)
            result.new += appended.new
            result.restated += appended.restated
            self._market.absorb_texts(appended.rows)
        if batch.cursor is not None:
            self._store.save_cursor(source, self._base, batch.cursor)
        return added

    def facts_of(self, source: str) -> dict[FactKey, Span]:
        """Return the span of each stored series of observations of a source."""
        if source not in self._facts:
            self._facts[source] = self._store.known_facts(source)
        return self._facts[source]

    def newest_fact(self, source: str) -> int | None:
        """Return the event time of the newest observation of a source; None without any."""
        return max((span.last for span in self._facts.get(source, {}).values()), default=None)

    def _note(self, source: str, rows: pl.DataFrame) -> None:
        """Extend the known spans of a source by new rows."""
        time = pl.col("event_time").to_physical()
        spans = rows.group_by("metric", "scope", "entity").agg(first=time.min(), last=time.max())
        known = self._facts.setdefault(source, {})
        for *names, first, last in spans.iter_rows():
            key, span = FactKey(*names), Span(first, last)
            known[key] = span.union(known.get(key, span))

    def _withdrawn(
        self, source: str, whole: Sequence[CompleteSpan], candles: pl.DataFrame
    ) -> Iterator[pl.DataFrame]:
        """Yield the stored candles that are no longer in their source, with NaN values.

        Stored as a correction, such a row means: from now on there is no such candle.
        """
        for symbol, first, last in whole:
            stored = self._store.candles({source: [symbol]}, self._base, first, last)
            present = candles.filter(pl.col("symbol") == symbol)
            gone = stored.unique("open_time", keep="last", maintain_order=True).join(
                present, on="open_time", how="anti", maintain_order="left"
            )
            nothing = [pl.lit(float("nan")).alias(name) for name in FIELDS]
            yield gone.with_columns(nothing).select(candles.columns)

    def _late(self, stored: Appended) -> list[str]:
        """Return a line for each symbol with candles that were known too late for their row."""
        base, delay = self._base, self._market.plan.delay
        late = (
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
            for symbol, count, most, first in late.iter_rows()
        ]


def _latest(times: pl.Series) -> int | None:
    latest = times.to_physical().max()
    return latest if isinstance(latest, int) else None
