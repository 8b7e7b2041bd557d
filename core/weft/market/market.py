"""The market of one engine: its instruments, its hot panel, and views as of any time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import polars as pl

from weft.components.feature import Feature
from weft.components.needs import FeatureNeed, Need
from weft.domain.breaks import lead_rows
from weft.domain.candles import LONGEST_CLOSURE, Candles, aggregate, remembered_rows
from weft.domain.instruments import Instrument, InstrumentTable
from weft.domain.reconcile import Reconciliation
from weft.features.engine import BLOCK, FeatureEngine
from weft.foundation.arrays import Times
from weft.foundation.errors import LookAheadError, NoDataError
from weft.foundation.times import Interval, iso, to_datetime
from weft.market.corrections import Corrected, late_by, merge_corrections
from weft.market.data import MarketData
from weft.market.facts import Facts
from weft.market.listings import CandleSpan, Listings, list_symbols
from weft.market.metrics import MetricPanel, metric_panel
from weft.market.news import NO_NEWS, News, Texts
from weft.market.panels import PLACED, HotPanel, latest_traded, panel_of
from weft.market.plan import Plan, make_plan
from weft.market.view import View
from weft.store.store import Span, Store

_PIECE = 2**16
"""Most candles in one read, but at least one row: reading then needs little memory."""


class Market:
    """Reads the store for one composition.

    Args:
        store: the stored rows.
        sources: names of the sources, the preferred one first.
        plan: combined needs of the components.
        make_feature: builds a feature from its name and options.
        features: computes them.
        reconciliation: how several sources of one metric are reconciled.
    """

    def __init__(
        self,
        store: Store,
        sources: Sequence[str],
        plan: Plan,
        make_feature: Callable[[FeatureNeed], Feature],
        features: FeatureEngine,
        reconciliation: Reconciliation | None = None,
    ) -> None:
        self.plan = plan
        self._store = store
        self._facts = Facts(store, sources)
        self._texts = Texts(store, sources)
        self._reconciliation = reconciliation or Reconciliation()
        self._sources = tuple(sources)
        self.make_feature = make_feature
        self._features = features
        self._hot: HotPanel | None = None
        self.listings: Listings = {}
        self.instruments = InstrumentTable()
        self.corrected: Corrected = {}
        self.refresh()

    @property
    def last_close(self) -> int | None:
        """The latest decision row with a candle; None while there are no candles."""
        closes = [listing.last_close for listing in self.listings.values()]
        return self.plan.interval.floor(max(closes)) if closes else None

    def rows_until(self, last: int) -> int:
        """Return the number of decision rows from the first with a candle to `last`."""
        closes = [listing.first_close for listing in self.listings.values()]
        if not closes:
            return 0
        first = self.plan.interval.ceil(min(closes))
        return max(0, (last - first) // self.plan.interval.micros + 1)

    def planned_for(self, needs: Sequence[Need]) -> "Market":
        """Return this market with other needs."""
        plan = self.plan
        fresh = make_plan(
            plan.interval, plan.base, needs, self.make_feature, plan.delay, plan.horizon
        )
        return self._with(self._store, fresh)

    def as_recorded(self, instant: int) -> "Market":
        """Return this market with its store as of a time of recording, for a replay."""
        return self._with(self._store.as_recorded(instant), self.plan)

    def _with(self, store: Store, plan: Plan) -> "Market":
        return Market(
            store,
            self._sources,
            plan,
            self.make_feature,
            self._features,
            self._reconciliation,
        )

    def refresh(self) -> None:
        """Read the known instruments from the store again."""
        described = {s: {i.symbol: i for i in self._store.instruments(s)} for s in self._sources}
        micros = pl.col("first", "last").to_physical() + self.plan.base.micros
        spans = self._store.spans(self.plan.base).with_columns(micros)
        series = [
            CandleSpan(source, instrument, first, last)
            for source, symbol, first, last in spans.iter_rows()
            if (instrument := described.get(source, {}).get(symbol)) is not None
        ]
        self._list(series)
        self.corrected = {}
        self._note_corrected(self._sources)

    def _note_corrected(self, sources: Sequence[str], since: int | None = None) -> None:
        """Read from the store which candles were corrected too late for their row."""
        base, late = self.plan.base, late_by(self.plan.base, self.plan.delay) > 0
        corrections = self._store.corrected(sources, base, late, since)
        self.corrected = merge_corrections(self.corrected, corrections)

    def _list(self, series: Iterable[CandleSpan]) -> None:
        listings, instruments = list_symbols(series, self._sources), InstrumentTable()
        for listing in listings.values():
            instruments.add(listing.series[0].instrument)
        # In one assignment: other threads may be reading.
        self.listings, self.instruments = listings, instruments

    def known_spans(self, source: str) -> dict[str, Span]:
        """Return first and last open time of each symbol's candles from one source."""
        length = self.plan.base.micros
        return {
            listing.symbol: Span(series.first_close - length, series.last_close - length)
            for listing in self.listings.values()
            for series in listing.series
            if series.source == source
        }

    def awaited(self, row: int, max_age_rows: int) -> list[str]:
        """Return the symbols whose candle for a row may still come.

        These traded within the last `max_age_rows` decision rows, or in a market with sessions
        within the last twelve days.

        Args:
            row: a decision row, microseconds since 1970.
            max_age_rows: rows without a candle after which a 24-hour market is not awaited.
        """
        awaited = []
        for listing in self.listings.values():
            last = self.plan.base.ceil(listing.last_close)
            patience = max_age_rows * self.plan.interval.micros
            if not listing.series[0].instrument.always_open:
                patience = LONGEST_CLOSURE
            if row - patience <= last < row:
                awaited.append(listing.symbol)
        return awaited

    def absorb_facts(self, rows: pl.DataFrame) -> None:
        """Make observations that were just stored visible to views."""
        self._facts.absorb(rows)

    def absorb_texts(self, rows: pl.DataFrame) -> None:
        """Make texts that were just stored visible to views."""
        self._texts.absorb(rows)

    def absorb(self, source: str, added: Sequence[pl.DataFrame]) -> None:
        """Make candles that were just stored visible to views.

        Args:
            source: their source.
            added: rows that the store added.
        """
        if not any(len(rows) for rows in added):
            return
        rows = pl.concat(added)
        late = rows.filter(late_by(self.plan.base, self.plan.delay) > 0)["open_time"].to_physical()
        if isinstance(first := late.min(), int):
            self._note_corrected([source], first)
        symbols = rows["symbol"].unique().to_list()
        handovers_before = self._handovers(symbols)
        self._note(source, rows)
        handovers = self._handovers(symbols)
        if handovers != handovers_before:
            # The hot panel was built with other handovers between sources.
            self._hot = None
        if self._hot is None:
            return
        listed = [self.listings[s].last_close for s in symbols if s in self.listings]
        # Rounded up: a candle that closed at half past belongs to the next full row.
        last_close = max(self._hot.last_close, self.plan.base.ceil(max(listed, default=0)))
        hot = self._hot_of(self._columns(last_close))
        if hot is None or not hot.extend(_in_use(source, rows, handovers), last_close):
            self._hot = None

    def _handovers(self, symbols: Iterable[str]) -> dict[tuple[str, str], int]:
        """Return the handover times of symbols (see `SymbolSources.handover_times`)."""
        listings = [self.listings[symbol] for symbol in symbols if symbol in self.listings]
        base = self.plan.base
        return {k: v for listing in listings for k, v in listing.handover_times(base).items()}

    def _note(self, source: str, rows: pl.DataFrame) -> None:
        """Update the listings; only a new symbol needs a read of the store."""
        closes = rows.group_by("symbol").agg(
            first=pl.col("open_time").min().to_physical() + self.plan.base.micros,
            last=pl.col("open_time").max().to_physical() + self.plan.base.micros,
        )
        listed = {
            (series.source, listing.symbol): series
            for listing in self.listings.values()
            for series in listing.series
        }
        for symbol, first, last in closes.iter_rows():
            if (source, symbol) not in listed:
                self.refresh()
                return
            listed[source, symbol] = listed[source, symbol].with_closes(first, last)
        self._list(listed.values())

    def warm_up_to(self, as_of: int) -> None:
        """Load recent candles into memory, so that views as of `as_of` and later read no disk."""
        instruments = self._columns(as_of)
        needed = self.plan.base_rows(as_of, as_of, sessions=_any_closes(instruments))
        lead = self._lead(instruments)
        needed += lead
        last = self.plan.base.floor(as_of)
        first = last - (needed - 1) * self.plan.base.micros
        hot = self._hot_of(instruments)
        if hot is not None and hot.first_close <= first and hot.last_close >= last:
            return
        depth = max(needed, self._deepest(as_of, instruments) + lead)
        first = last - (depth - 1) * self.plan.base.micros
        hot = HotPanel(self.plan.base, instruments, first, depth, self.plan.delay)
        for piece in self._pieces(instruments, first, last):
            hot.extend(piece, hot.last_close)
        hot.extend(piece.clear(), last)
        self._hot = hot

    def _deepest(self, as_of: int, instruments: Sequence[Instrument]) -> int:
        """Return the most base rows that a view can need, up to the end of the current blocks."""
        ends = []
        for interval in self.plan.intervals:
            newest = interval.floor(as_of)
            left = BLOCK - 1 - interval.index(newest) % BLOCK
            ends.append(newest + left * interval.micros)
        sessions = _any_closes(instruments)
        return max(self.plan.base_rows(end, end, sessions=sessions) for end in ends)

    def view(self, as_of: int, steps: int = 1) -> View:
        """Return the view as of the last decision row at or before `as_of`.

        Args:
            as_of: microseconds since 1970.
            steps: number of decision rows, the last at or before `as_of`.

        Raises:
            NoDataError: no instrument had a candle by then.
            LookAheadError: `steps` is below 1.
        """
        if steps < 1:
            raise LookAheadError(f"a view has at least one decision row, not {steps}")
        last = self.plan.interval.floor(as_of)
        first = last - (steps - 1) * self.plan.interval.micros
        read_at = self._store.mark()
        instruments = self._columns(last)
        if not instruments:
            earliest = min((x.first_close for x in self.listings.values()), default=None)
            hint = (
                "Check the providers in config.yaml; `weft doctor` shows what they bring"
                if earliest is None
                else f"The earliest stored candle closed at {iso(earliest)}"
            )
            raise NoDataError(f"no candles were known at {iso(last)}", hint=hint)
        sessions = _any_closes(instruments)
        base = self._base(instruments, last, self.plan.base_rows(first, last, sessions=sessions))
        candles = {self.plan.base: base}
        for interval in self.plan.intervals:
            if interval != self.plan.base:
                opened = self.plan.first_open(interval, first, sessions=sessions)
                candles[interval] = _aggregate(base, interval, opened)
        data = MarketData(
            interval=self.plan.interval,
            instruments=instruments,
            candles=candles,
            metrics=self._metrics(instruments, first),
            make_feature=self.make_feature,
            engine=self._features,
            listings=tuple(self.listings[i.symbol] for i in instruments),
            read_at=read_at,
            news=self._news(first, last),
            delay=self.plan.delay,
            horizon=self.plan.horizon,
            corrected=self.corrected,
        )
        return View(data, steps)

    def _news(self, first: int, last: int) -> News:
        reach = self.plan.news_reach
        if reach is None:
            return NO_NEWS
        return self._texts.between(first - reach, last + self.plan.delay)

    def _columns(self, as_of: int) -> tuple[Instrument, ...]:
        """Return all instruments that had a candle by `as_of`, delisted ones included."""
        described = (listing.described_at(as_of) for listing in self.listings.values())
        return tuple(instrument for instrument in described if instrument is not None)

    def _base(self, instruments: tuple[Instrument, ...], last: int, rows: int) -> Candles:
        last = self.plan.base.floor(last)
        hot = self._hot_of(instruments)
        # The judgement of a candle uses earlier candles.
        reach = rows + self._lead(instruments)
        if hot is not None and (panel := hot.candles(last, reach)) is not None:
            return panel.tail(rows)
        first = last - (reach - 1) * self.plan.base.micros
        pieces = self._pieces(instruments, first, last)
        panel = panel_of(pieces, self.plan.base, instruments, first, reach, self.plan.delay)
        return panel.tail(rows)

    def _lead(self, instruments: Sequence[Instrument]) -> int:
        return lead_rows(self.plan.base, sessions=_any_closes(instruments))

    def _hot_of(self, instruments: tuple[Instrument, ...]) -> HotPanel | None:
        """Return the hot panel if it has these columns."""
        hot = self._hot
        return hot if hot is not None and hot.instruments == instruments else None

    def _pieces(
        self, instruments: Sequence[Instrument], first: int, last: int
    ) -> Iterator[pl.DataFrame]:
        """Yield the candles of the rows from `first` to `last`, some rows at a time."""
        wanted: dict[str, list[str]] = {}
        for symbol in (instrument.symbol for instrument in instruments):
            for series in self.listings[symbol].series:
                wanted.setdefault(series.source, []).append(symbol)
        base = self.plan.base
        handovers = self._handovers(instrument.symbol for instrument in instruments)
        read = partial(
            self._store.candles, wanted, base, ends=handovers, seen=self._store.candles_seen()
        )
        # A candle may close up to one interval before its row.
        since = first - 2 * base.micros + 1
        # `rows_since_traded` must not depend on the length of the panel.
        reach = since - remembered_rows(base) * base.micros
        traded = latest_traded(base, first, self.plan.delay)
        yield read(reach, since - 1, lambda rows: traded(rows).select(PLACED))
        step = max(1, _PIECE // max(1, len(instruments))) * base.micros
        for start in range(since, last - base.micros + 1, step):
            until = min(start + step - 1, last - base.micros)
            yield read(start, until, lambda rows: rows.select(PLACED))

    def _metrics(
        self, instruments: Sequence[Instrument], first: int
    ) -> Mapping[str, Callable[[Times], MetricPanel]]:
        """Return a function for each metric that builds its panel from the present facts."""
        builders = {}
        for name, warmup in self.plan.metrics.items():
            facts = self._facts.of(name, first - warmup * self.plan.interval.micros)
            builders[name] = partial(
                metric_panel,
                name,
                facts,
                self._sources,
                instruments,
                self._reconciliation,
                self.plan,
            )
        return builders


def _in_use(
    source: str, rows: pl.DataFrame, handovers: Mapping[tuple[str, str], int]
) -> pl.DataFrame:
    """Return the candles of a source up to its handovers to preferred sources."""
    unused = (
        (pl.col("symbol") == symbol) & (pl.col("open_time") >= to_datetime(end))
        for (replaced, symbol), end in handovers.items()
        if replaced == source
    )
    return rows.filter(~pl.any_horizontal(pl.lit(value=False), *unused))


def _any_closes(instruments: Sequence[Instrument]) -> bool:
    return not all(instrument.always_open for instrument in instruments)


def _aggregate(base: Candles, interval: Interval, opened: int) -> Candles:
    """Return base candles aggregated to an interval, the first candle opening at `opened`."""
    start = (opened - int(base.times[0])) // base.interval.micros + 1
    return aggregate(base.slice(max(0, start), len(base)), interval)
