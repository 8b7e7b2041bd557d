"""The base of exchanges that bring candles and metrics, and the metrics of an order book."""

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
    """Options of every exchange with metrics; derive a ``Config`` from this class.

    Example::

        class Config(ExchangeConfig):
            depth_levels: int = Field(default=500, ge=5, le=1000, description="levels of the book")
    """

    assets: tuple[str, ...] = Field(
        default=(), description="base assets to bring metrics of; empty for all symbols"
    )
    only: Literal["candles", "metrics"] | None = Field(
        default=None, description="bring only candles or only metrics; null for both"
    )


class ExchangeProvider(CandleProvider, SeriesProvider):
    """Base of exchanges that bring candles, and then metrics of the same symbols.

    It joins `CandleProvider` (implement `instrument` and `page`) and `SeriesProvider` (implement
    `read` or `read_group`). Example of the metric half, an order book a request::

        class Bourse(ExchangeProvider):
            name = "bourse"
            web = Api(base_url="https://api.bourse.example", limits=(RateLimit(10, 1),))
            intervals = {"1h": "60min"}
            series = depth_series("/v1/book")

            async def read_group(self, http, group):
                response = await http.get(f"/v1/book/{group[0].own_id}", params={"levels": 500})
                time = response.given_at
                return self.book_points(group, Book(response.read), time, time)

    Raises:
        ConfigError: the config names a metric that is not in `series`.
    """

    class Config(ExchangeConfig):
        """Options."""

    config: ExchangeConfig

    @property
    def brings_candles(self) -> bool:
        """Whether the provider brings candles: not with ``only: metrics``."""
        return self.config.only != "metrics"

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._noted: set[str] = set()
        self._requested_at: dict[tuple[str, str], int] = {}

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield candles, then the due values of every metric.

        Raises:
            ProviderError: the exchange has no candles of this interval, or a request failed.
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
        """Return the symbols to request metrics of, without those the exchange does not list."""
        for symbol in dict.fromkeys(request.symbols or self.config.symbols):
            base, _, _ = split_pair(symbol) or (symbol, "", 1)
            chosen = not self.config.assets or base in self.config.assets
            if chosen and symbol not in self.unlisted:
                yield symbol

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the exchange's name of a symbol; None for a dollar metric of another quote."""
        _, quote, _ = split_pair(entity) or (entity, "USD", 1)
        if series.metric.endswith("_usd") and quote not in DOLLARS:
            return None
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Group series by symbol and by `Series.extra` ``group``, or else by path.

        A series recorded with `looked` since the last full hour is left out.
        """
        groups: dict[tuple[str, str], list[Wanted]] = defaultdict(list)
        for item in wanted:
            requested_at = self._requested_at.get((item.series.metric, item.entity), 0)
            if requested_at >= item.until // HOUR * HOUR + _LATE:
                continue
            groups[item.entity, item.series.extra.get("group", item.series.path)].append(item)
        return groups.values()

    def looked(self, wanted: Wanted, points: Sequence[Point]) -> None:
        """Record the request of a series that has new values only at full hours.

        The series is then not requested again within the hour, unless a point lies in the future:
        with a corrected time it might be due.
        """
        if all(point.event_time <= wanted.until for point in points):
            self._requested_at[wanted.series.metric, wanted.entity] = wanted.until

    def note_once(self, line: str, about: str) -> None:
        """Report a problem of a symbol once, not in each round."""
        if about not in self._noted:
            self._noted.add(about)
            self.tell(line)

    def book_points(
        self, group: Sequence[Wanted], book: "Book", at: int, known_at: int
    ) -> dict[Wanted, list[Point]]:
        """Return the points of an order book's metrics.

        Args:
            group: metrics of one symbol, as `depth_series` lists them.
            book: the order book.
            at: instant the book was true at, microseconds since 1970.
            known_at: instant it became known, microseconds since 1970.
        """
        symbol = group[0].entity
        if at < min(wanted.since for wanted in group):
            self.tell(f"{symbol}: order book of {iso(at)} left out, older than the requested span")
            return {}
        values = book.metrics()
        missing = [w.series.metric for w in group if values and w.series.metric not in values]
        if missing:
            problem = f"{symbol}: the order book reaches {book.reach:.2%} deep, not {_WITHIN:.0%}"
            self.note_once(f"{problem}: no {', '.join(missing)}; raise depth_levels", symbol)
        return {
            wanted: [Point(min(at, wanted.until), values[wanted.series.metric], known_at)]
            for wanted in group
            if wanted.series.metric in values
        }


class Book:
    """An order book, as deep as the response has it.

    Example::

        body = {"bids": [["99", "2"]], "asks": [["101", "1"]]}
        book = Book(Reader(body, "provider bourse", "GET /v1/book"))
        assert book.metrics()["bid_ask_spread"] == 0.02

    Args:
        answer: position in the response with `bids` and `asks`, each a list of rows that begin
            with price and size.

    Attributes:
        reach: distance from the mid price to the nearer of the two ends of the book, as a share of
            the mid price.

    Raises:
        SchemaChangedError: a side is missing, or a row has no price and size.
    """

    def __init__(self, answer: Reader) -> None:
        self._bids, self._asks = (answer.table(side, width=2) for side in ("bids", "asks"))
        # One side may reach further than the other; depths compare equal distances.
        self._middle = self.reach = 0.0
        if self._bids and self._asks:
            self._middle = (max(self._bids)[0] + min(self._asks)[0]) / 2
            lowest, highest = min(self._bids)[0], max(self._asks)[0]
            self.reach = min(self._middle - lowest, highest - self._middle) / self._middle

    def metrics(self) -> dict[str, float]:
        """Return the canonical metrics of the book.

        Spread and imbalance (-1 to 1) need both sides; depths, in quote units, also need a `reach`
        of at least 1 %. The result is empty if a side is empty or the sides cross.
        """
        if not self._middle or max(self._bids)[0] >= min(self._asks)[0]:
            return {}
        distance = min(self.reach, _WITHIN) * self._middle * (1 + 1e-12)
        bids, asks = (
            sum(p * size for p, size in side if abs(p - self._middle) <= distance)
            for side in (self._bids, self._asks)
        )
        spread = (min(self._asks)[0] - max(self._bids)[0]) / self._middle
        values = {"bid_ask_spread": spread, "book_imbalance": (bids - asks) / (bids + asks)}
        if self.reach >= _WITHIN:
            values |= {"bid_depth_usd": bids, "ask_depth_usd": asks}
        return values


def depth_series(path: str) -> tuple[Series, ...]:
    """Return the series of the metrics of an order book that is requested at `path`."""
    # The step is shorter than any round, so every round brings one value.
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
