"""The market as one engine sees it: its instruments, its hot panel, and views as of any instant."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from weft.arrays import FloatPanel, Times
from weft.components.feature import Feature
from weft.components.needs import FeatureNeed
from weft.errors import LookAheadError, NoDataError
from weft.features.engine import BLOCK, FeatureEngine
from weft.market.candles import Candles, aggregate, remembered_rows
from weft.market.instruments import Instrument, InstrumentTable, Scope
from weft.market.metrics import MetricPanel, latest_known
from weft.market.panels import HotPanel, latest_traded, panel_of
from weft.market.plan import Plan
from weft.market.view import MarketData, View
from weft.store.store import Store
from weft.times import Interval, iso


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument, where its candles come from, and since when there are any.

    Attributes:
        instrument: what it is.
        source: whose candles are taken: the first source in config order that has it.
        first_close: close of its earliest candle, microseconds since 1970.
        last_close: close of its latest candle.
    """

    instrument: Instrument
    source: str
    first_close: int
    last_close: int


class Market:
    """Reads the store for one composition.

    Args:
        store: where the facts are.
        sources: names of the sources, the preferred one first.
        plan: what the components need.
        make_feature: builds a feature from its name and options.
        features: computes them.
    """

    def __init__(
        self,
        store: Store,
        sources: Sequence[str],
        plan: Plan,
        make_feature: Callable[[FeatureNeed], Feature],
        features: FeatureEngine,
    ) -> None:
        self.plan = plan
        self._store = store
        self._sources = tuple(sources)
        self.make_feature = make_feature
        self._features = features
        self._hot: HotPanel | None = None
        self._hot_sources: tuple[str, ...] = ()
        self.listings: Mapping[str, Listing] = {}
        self.instruments = InstrumentTable()
        self.refresh()

    @property
    def last_close(self) -> int | None:
        """The latest decision row any candle reaches; None while there are no candles."""
        closes = [listing.last_close for listing in self.listings.values()]
        return self.plan.interval.floor(max(closes)) if closes else None

    def refresh(self) -> None:
        """Learn anew from the store what instruments there are."""
        described = {s: {i.symbol: i for i in self._store.instruments(s)} for s in self._sources}
        found: dict[str, Listing] = {}
        micros = pl.col("first", "last").to_physical() + self.plan.base.micros
        spans = self._store.spans(self.plan.base).with_columns(micros)
        for source in reversed(self._sources):
            for row in spans.filter(pl.col("source") == source).iter_rows(named=True):
                instrument = described[source].get(row["symbol"])
                if instrument is not None:
                    found[instrument.symbol] = Listing(
                        instrument,
                        source,
                        row["first"],
                        row["last"],
                    )
        self.listings = dict(sorted(found.items()))
        self.instruments = InstrumentTable()
        for listing in self.listings.values():
            self.instruments.add(listing.instrument)

    def take_in(self, source: str, added: Sequence[pl.DataFrame]) -> None:
        """Let views see candles that were just stored.

        Args:
            source: whose they are.
            added: as the store added them.
        """
        if not any(len(rows) for rows in added):
            return
        self._note(source, pl.concat(added))
        if self._hot is None:
            return
        mine = [s for s, listing in self.listings.items() if listing.source == source]
        rows = pl.concat(added).filter(pl.col("symbol").is_in(mine))
        newest = max((self.listings[s].last_close for s in rows["symbol"].unique()), default=0)
        # Rounded up: a bar that closed at half past is held by the row that comes after it.
        last_close = max(self._hot.last_close, self.plan.base.ceil(newest))
        hot = self._hot_of(self._columns(last_close))
        if hot is None or not hot.extend(rows, last_close):
            self._hot = None

    def _note(self, source: str, rows: pl.DataFrame) -> None:
        """Bring the listings up to date; only a symbol not seen before takes a look at the disk."""
        closes = rows.group_by("symbol").agg(
            first=pl.col("open_time").min().to_physical() + self.plan.base.micros,
            last=pl.col("open_time").max().to_physical() + self.plan.base.micros,
        )
        listings = dict(self.listings)
        for symbol, first, last in closes.iter_rows():
            known = listings.get(symbol)
            if known is None or known.source != source:
                self.refresh()
                return
            listings[symbol] = replace(
                known,
                first_close=min(first, known.first_close),
                last_close=max(last, known.last_close),
            )
        self.listings = listings

    def warm_up_to(self, as_of: int) -> None:
        """Hold recent candles in memory, so that views as of `as_of` and later need no disk."""
        instruments = self._columns(as_of)
        needed = self.plan.base_rows(as_of, as_of, sessions=_any_closes(instruments))
        last = self.plan.base.floor(as_of)
        first = last - (needed - 1) * self.plan.base.micros
        hot = self._hot_of(instruments)
        if hot is not None and hot.first_close <= first and hot.last_close >= last:
            return
        depth = max(needed, self._deepest(as_of, instruments))
        first = last - (depth - 1) * self.plan.base.micros
        hot = HotPanel(self.plan.base, instruments, first, depth)
        hot.extend(self._read(instruments, first, last), last)
        self._hot, self._hot_sources = hot, self._sources_of(instruments)

    def _deepest(self, as_of: int, instruments: Sequence[Instrument]) -> int:
        """Return the most rows a view will need: at the last row of a block, of some interval."""
        ends = []
        for interval in self.plan.intervals:
            newest = interval.floor(as_of)
            left = BLOCK - 1 - interval.index(newest) % BLOCK
            ends.append(newest + left * interval.micros)
        sessions = _any_closes(instruments)
        return max(self.plan.base_rows(end, end, sessions=sessions) for end in ends)

    def view(self, as_of: int, steps: int = 1) -> View:
        """Return what was known at the last decision row by `as_of`.

        Args:
            as_of: microseconds since 1970.
            steps: decision rows, the last of them at or before `as_of`.

        Raises:
            NoDataError: no instrument had a candle by then.
            LookAheadError: fewer than one row is asked for.
        """
        if steps < 1:
            raise LookAheadError(f"a view has at least one decision row, not {steps}")
        last = self.plan.interval.floor(as_of)
        first = last - (steps - 1) * self.plan.interval.micros
        instruments = self._columns(last)
        if not instruments:
            earliest = min((x.first_close for x in self.listings.values()), default=None)
            hint = (
                "Check the providers in config.yaml; `weft doctor` shows what they bring"
                if earliest is None
                else f"The earliest candle there is closed at {iso(earliest)}"
            )
            raise NoDataError(f"no candles were known at {iso(last)}", hint=hint)
        sessions = _any_closes(instruments)
        base = self._base(instruments, last, self.plan.base_rows(first, last, sessions=sessions))
        candles = {self.plan.base: base}
        for interval in self.plan.intervals:
            if interval != self.plan.base:
                opened = self.plan.first_open(interval, first, sessions=sessions)
                candles[interval] = _join(base, interval, opened)
        data = MarketData(
            interval=self.plan.interval,
            instruments=instruments,
            candles=candles,
            metrics=self._metrics(instruments, candles[self.plan.interval].times, steps),
            make_feature=self.make_feature,
            engine=self._features,
        )
        return View(data, steps)

    def _columns(self, as_of: int) -> tuple[Instrument, ...]:
        """Every instrument that had a candle by `as_of`, also those that died since."""
        return tuple(x.instrument for x in self.listings.values() if x.first_close <= as_of)

    def _base(self, instruments: tuple[Instrument, ...], last: int, rows: int) -> Candles:
        last = self.plan.base.floor(last)
        hot = self._hot_of(instruments)
        if hot is not None and (held := hot.candles(last, rows)) is not None:
            return held
        first = last - (rows - 1) * self.plan.base.micros
        frame = self._read(instruments, first, last)
        return panel_of(frame, self.plan.base, instruments, first, rows)

    def _hot_of(self, instruments: tuple[Instrument, ...]) -> HotPanel | None:
        """Return the hot panel, if these are its columns, and from the sources still in use."""
        hot = self._hot
        if hot is None or hot.instruments != instruments:
            return None
        return hot if self._hot_sources == self._sources_of(instruments) else None

    def _sources_of(self, instruments: Sequence[Instrument]) -> tuple[str, ...]:
        return tuple(self.listings[i.symbol].source for i in instruments)

    def _read(self, instruments: Sequence[Instrument], first: int, last: int) -> pl.DataFrame:
        wanted: dict[str, list[str]] = {}
        for instrument in instruments:
            wanted.setdefault(self.listings[instrument.symbol].source, []).append(instrument.symbol)
        base = self.plan.base
        # A stock's candle may close up to an interval before the row that first knows it.
        since = first - 2 * base.micros + 1
        frame = self._store.candles(wanted, base, since, last - base.micros)
        # Since when a symbol has not traded must not depend on how far back a panel reaches.
        reach = since - remembered_rows(base) * base.micros
        traded = latest_traded(base, first)
        return pl.concat([self._store.candles(wanted, base, reach, since - 1, traded), frame])

    def _metrics(
        self, instruments: Sequence[Instrument], times: Times, steps: int
    ) -> dict[str, MetricPanel]:
        panels = {}
        for name, warmup in self.plan.metrics.items():
            rows = times[max(0, len(times) - steps - warmup) :]
            panels[name] = self._metric(name, instruments, rows)
        return panels

    def _metric(self, name: str, instruments: Sequence[Instrument], rows: Times) -> MetricPanel:
        values = np.full((len(rows), len(instruments)), np.nan)
        ages = np.full_like(values, np.nan)
        facts = self._store.observations(name, self._sources, int(rows[-1]))
        for source in reversed(self._sources):
            mine = facts.filter(pl.col("source") == source)
            parts = mine.partition_by("scope", "entity", as_dict=True)
            for (scope, entity), part in sorted(parts.items(), key=_how_particular):
                value, age = latest_known(
                    part["event_time"].to_physical().to_numpy(),
                    part["known_at"].to_physical().to_numpy(),
                    part["value"].to_numpy(),
                    rows,
                )
                reached = _reached(instruments, str(scope), str(entity))
                _overlay(values, ages, reached, value, age)
        return MetricPanel(name, rows, values, ages)


def _how_particular(part: tuple[tuple[object, ...], pl.DataFrame]) -> tuple[int, str]:
    """Return a key that sorts the market's facts first, and an instrument's own last."""
    scope, entity = part[0]
    return list(Scope)[::-1].index(Scope(str(scope))), str(entity)


def _any_closes(instruments: Sequence[Instrument]) -> bool:
    return not all(instrument.always_open for instrument in instruments)


def _join(base: Candles, interval: Interval, opened: int) -> Candles:
    """Return base candles joined into longer ones, the first of them opened at `opened`."""
    start = (opened - int(base.times[0])) // base.interval.micros + 1
    return aggregate(base.slice(max(0, start), len(base)), interval)


def _reached(instruments: Sequence[Instrument], scope: str, entity: str) -> list[int]:
    """Return the columns that a fact about `entity` reaches."""
    if scope == Scope.MARKET:
        return list(range(len(instruments)))
    if scope == Scope.ASSET:
        return [c for c, i in enumerate(instruments) if i.base == entity]
    return [c for c, i in enumerate(instruments) if i.symbol == entity]


def _overlay(
    values: FloatPanel, ages: FloatPanel, columns: list[int], value: FloatPanel, age: FloatPanel
) -> None:
    """Lay a series over columns, leaving what is there where the series knows nothing."""
    known = ~np.isnan(value)
    cells = np.ix_(known, np.array(columns, dtype=np.intp))
    values[cells] = value[known, None]
    ages[cells] = age[known, None]
