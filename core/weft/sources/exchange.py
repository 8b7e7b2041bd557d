"""Exchanges that bring metrics of their symbols beside candles, and what an order book says."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Literal

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Batch, Request
from weft.domain.instruments import Scope, split_pair
from weft.foundation.clock import Clock
from weft.foundation.times import HOUR, MINUTE, iso
from weft.sources.candles import CandleConfig, CandleProvider
from weft.sources.http import Http, Reader
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

DOLLARS = frozenset({"USD", "USDT", "USDC", "FDUSD", "BUSD", "TUSD"})
_WITHIN = 0.01
_LATE = 2 * MINUTE
_DEPTH_METRICS = ("bid_depth_usd", "ask_depth_usd", "book_imbalance", "bid_ask_spread")


class ExchangeConfig(CandleConfig, SeriesConfig):
    """Options every exchange with metrics has."""

    assets: tuple[str, ...] = Field(
        default=(), description="bring metrics of pairs of these alone; empty for all symbols"
    )
    only: Literal["candles", "metrics"] | None = Field(
        default=None, description="bring candles or metrics alone; null for both"
    )


class ExchangeProvider(CandleProvider, SeriesProvider):
    """Base of exchanges that bring candles first, and then metrics of the same symbols."""

    class Config(ExchangeConfig):
        """Options."""

    config: ExchangeConfig

    @property
    def brings_candles(self) -> bool:
        """Whether it brings candles: not where it is to bring metrics alone."""
        return self.config.only != "metrics"

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._noted: set[str] = set()
        self._looked: dict[tuple[str, str], int] = {}

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield candles, then what is due of every metric.

        Raises:
            ProviderError: the exchange has no such candles, cannot be read, or refuses.
        """
        if self.config.only != "metrics":
            async with aclosing(CandleProvider.fetch(self, request, http, clock)) as candles:  # type: ignore[type-var]  # an async generator can be closed
                async for batch in candles:
                    yield batch
        if self.config.only != "candles":
            async with aclosing(SeriesProvider.fetch(self, request, http, clock)) as metrics:  # type: ignore[type-var]  # an async generator can be closed
                async for batch in metrics:
                    yield batch

    def entities(self, series: Series, request: Request) -> Iterable[str]:
        """Return the symbols asked about, but for those the exchange was found not to list."""
        for symbol in dict.fromkeys(request.symbols or self.config.symbols):
            base, _, _ = split_pair(symbol) or (symbol, "", 1)
            chosen = not self.config.assets or base in self.config.assets
            if chosen and symbol not in self.unlisted:
                yield symbol

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return what the exchange calls a symbol; None where dollars are no unit of it."""
        _, quote, _ = split_pair(entity) or (entity, "USD", 1)
        if series.metric.endswith("_usd") and quote not in DOLLARS:
            return None
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return what stands in one answer, or is of no use without the other, together."""
        together: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for one in wanted:
            looked = self._looked.get((one.series.metric, one.entity), 0)
            if looked >= one.until // HOUR * HOUR + _LATE:
                continue
            together[one.entity, one.series.extra.get("group", one.series.path)].append(one)
        return together.values()

    def looked(self, one: Wanted, found: Sequence[Point]) -> None:
        """Remember when something was asked for that comes at full hours, or a little later.

        Not where what came is stamped ahead: told rightly, it may be due already.
        """
        if all(point.event_time <= one.until for point in found):
            self._looked[one.series.metric, one.entity] = one.until

    def note_once(self, line: str, about: str) -> None:
        """Tell something about a symbol once, not in each round."""
        if about not in self._noted:
            self._noted.add(about)
            self.tell(line)

    def book_points(
        self, group: Sequence[Wanted], book: "Book", at: int, known_at: int
    ) -> dict[Wanted, list[Point]]:
        """Return what an order book says, true at `at` and known at `known_at`."""
        if at < min(one.since for one in group):
            told = f"{group[0].entity}: the order book that came is of {iso(at)}"
            self.tell(f"{told}, older than what is asked for; left out")
            return {}
        values = book.metrics()
        missing = [w.series.metric for w in group if values and w.series.metric not in values]
        if missing:
            symbol = group[0].entity
            told = f"{symbol}: the book came {book.reach:.2%} deep, and not {_WITHIN:.0%}"
            self.note_once(f"{told}: no {', '.join(missing)}; raise depth_levels", symbol)
        return {
            one: [Point(min(at, one.until), values[one.series.metric], known_at)]
            for one in group
            if one.series.metric in values
        }


class Book:
    """An order book, or as much of it as came.

    Args:
        answer: holds `bids` and `asks`, rows that begin with price and size.
    """

    def __init__(self, answer: Reader) -> None:
        self._bids, self._asks = (answer.table(side, width=2) for side in ("bids", "asks"))
        # One side may reach further than the other; compared are equal distances.
        self._middle = self.reach = 0.0
        if self._bids and self._asks:
            self._middle = (max(self._bids)[0] + min(self._asks)[0]) / 2
            lowest, highest = min(self._bids)[0], max(self._asks)[0]
            self.reach = min(self._middle - lowest, highest - self._middle) / self._middle

    def metrics(self) -> dict[str, float]:
        """Return canonical metrics: depths only where 1 % from the middle was reached.

        Nothing where a side is empty, or the sides cross.
        """
        if not self._middle or max(self._bids)[0] >= min(self._asks)[0]:
            return {}
        distance = min(self.reach, _WITHIN) * self._middle * (1 + 1e-12)
        bids, asks = (
            sum(p * size for p, size in side if abs(p - self._middle) <= distance)
            for side in (self._bids, self._asks)
        )
        spread = (min(self._asks)[0] - max(self._bids)[0]) / self._middle
        found = {"bid_ask_spread": spread, "book_imbalance": (bids - asks) / (bids + asks)}
        if self.reach >= _WITHIN:
            found |= {"bid_depth_usd": bids, "ask_depth_usd": asks}
        return found


def depth_series(path: str) -> tuple[Series, ...]:
    """Return the metrics of an order book that is asked for at `path`."""
    # Short, so that each round brings one, however often there are rounds.
    return tuple(
        Series(
            metric=metric,
            path=path,
            step="30s",
            lag="1s",
            scope=Scope.INSTRUMENT,
            extra={"book": True},
        )
        for metric in _DEPTH_METRICS
    )
