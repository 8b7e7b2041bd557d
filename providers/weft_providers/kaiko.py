"""Order books, prices and trade counts from Kaiko's Market Data API."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from weft.components.provider import Request
from weft.domain.instruments import Scope
from weft.foundation.times import DAY, SECOND, iso
from weft.sources.http.api import Api, HeaderKey, RateLimit
from weft.sources.http.errors import (
    NotCoveredError,
    SchemaChangedError,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, Reader

_BOOK, _TRADES, _VENUES = "book", "trades", "venues"


_ERRORS = {403: NotCoveredError, 404: UnlistedSymbolError}


def _series(metric: str, path: str, kind: str, scope: Scope = Scope.INSTRUMENT) -> Series:
    return Series(metric=metric, path=path, step="1h", lag="5m", scope=scope, extra={"kind": kind})


class Kaiko(SeriesProvider):
    """Hourly depth, spread and slippage of order books, VWAP, trades, and spread between venues.

    Kaiko stamps an hour with its start; the value is true at the end of the hour and counts as
    known five minutes later, since the delay of delivery is not published. The data of a version
    never change: Kaiko publishes corrections as another version, to be set as `trades_version` or
    `books_version`. An hour without trades has no price; a book too thin for the order has no
    slippage. The spread between venues is computed here from the VWAP of each venue and hour: the
    highest price less the lowest, over the mean of both.

    https://docs.kaiko.com
    """

    name = "kaiko"
    web = Api(
        base_url="https://us.market-api.kaiko.io",
        key=HeaderKey("X-Api-Key"),
        # The contract sets the limit; this is the lowest limit reported publicly.
        limits=(RateLimit(10, 1.0, per_request=True),),
        classify=lambda status, *_: _ERRORS.get(status),
    )
    series = (
        _series("bid_depth_usd", "", _BOOK),
        _series("ask_depth_usd", "", _BOOK),
        _series("book_imbalance", "", _BOOK),
        _series("bid_ask_spread", "spread", _BOOK),
        _series("slippage", "", _BOOK),
        _series("vwap", "price", _TRADES),
        _series("trade_count", "count", _TRADES),
        _series("cross_exchange_spread", "price", _VENUES, Scope.ASSET),
    )

    class Config(SeriesConfig):
        """Options."""

        instruments: Mapping[str, str] = Field(
            default={"BTCUSDT": "binc/spot/btc-usdt", "ETHUSDT": "binc/spot/eth-usdt"},
            description="exchange/class/instrument at Kaiko, by symbol",
        )
        venues: tuple[str, ...] = Field(
            default=("cbse", "krkn", "stmp"), description="venues whose prices are compared"
        )
        venue_quote: str = Field(default="usd", description="quote currency of the compared prices")
        trades_version: str = Field(default="v1", description="version of the trades dataset")
        books_version: str = Field(default="v1", description="version of the order books dataset")
        band: str = Field(
            default="1", description="ending of the field of the 1 % band: bid_volume<band>"
        )
        spread_in_quote: bool = Field(
            default=True, description="true if `spread` is in quote units, false if it is a share"
        )
        book_history_days: int = Field(
            default=30, ge=1, description="days of order books; the licence may limit them"
        )
        page_size: int = Field(default=100, ge=1, le=100, description="order books in one answer")
        trades_page_size: int = Field(
            default=10_000, ge=1, le=100_000, description="hours in one answer"
        )

    config: Config

    def entities(self, series: Series, request: Request) -> Iterable[str]:
        """Return the configured instruments; assets for the spread between venues."""
        if series.scope is Scope.INSTRUMENT:
            wanted = set(request.symbols or self.config.instruments)
            return tuple(symbol for symbol in self.config.instruments if symbol in wanted)
        return super().entities(series, request)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return exchange, class and instrument of a symbol at Kaiko."""
        if series.scope is Scope.INSTRUMENT:
            return self.config.instruments.get(entity)
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one endpoint and entity together."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            groups.setdefault((one.series.extra["kind"], one.own_id), []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one entity."""
        first = min(group, key=lambda one: one.since)
        if (kind := first.series.extra["kind"]) == _VENUES:
            return {first: await self._venue_spread(http, first)}
        rows = await self._rows(http, first, kind, first.own_id)
        return {
            one: self.points_in(rows, partial(self._parse_row, one.series, kind)) for one in group
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _venue_spread(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the spread between the venues' prices of each hour."""
        venues: list[dict[int, float | None]] = []
        errors: list[SourceError] = []
        for venue in self.config.venues:
            market = f"{venue}/spot/{wanted.own_id.lower()}-{self.config.venue_quote}"
            try:
                rows = await self._rows(http, wanted, _VENUES, market)
            except (UnlistedSymbolError, NotCoveredError) as error:
                errors.append(error)
                continue
            venues.append(self._parse_prices(wanted.series, rows))
        if errors and len(venues) < 2:
            raise errors[0]
        return _spreads(venues)

    def _parse_prices(self, series: Series, rows: "Sequence[Reader]") -> dict[int, float | None]:
        """Return a venue's prices by the end of their hour; None where a row cannot be parsed.

        Raises:
            SchemaChangedError: there are rows and none can be parsed, or a row has no time.
        """
        prices: dict[int, float | None] = {}
        broken: list[SchemaChangedError] = []
        for row in rows:
            # A price of an unknown hour makes every hour's spread uncertain: this may raise.
            end = row.instant("timestamp", unit="ms") + series.step_micros
            try:
                price = self._value(series, row)
            except SchemaChangedError as error:
                broken.append(error)
                prices[end] = None
            else:
                prices |= {} if price is None else {end: price}
        if broken and len(broken) == len(rows):
            raise broken[0]
        if broken:
            self.tell(f"{len(broken)} intervals left out, the first: {broken[0].message}")
        return prices

    async def _rows(self, http: "Http", wanted: Wanted, kind: str, market: str) -> "list[Reader]":
        """Return the rows of all pages."""
        config, step, since = self.config, wanted.series.step_micros, wanted.since
        rows: list[Reader] = []
        params: dict[str, Any] = {"interval": wanted.series.step, "sort": "asc"}
        if kind == _BOOK:
            since = max(since, wanted.until - config.book_history_days * DAY)
            dataset, form = f"order_book_snapshots.{config.books_version}", "ob_aggregations/full"
            params |= {"page_size": config.page_size, "slippage": 100_000}
        else:
            dataset, form = f"trades.{config.trades_version}", "aggregations/count_ohlcv_vwap"
            params |= {"page_size": config.trades_page_size}
        # CompleteSpan seconds; rows before the wanted span are dropped later.
        times = (instant // SECOND * SECOND for instant in (since - step, wanted.until))
        texts = (iso(instant).removesuffix("Z") + ".000Z" for instant in times)
        params |= dict(zip(("start_time", "end_time"), texts, strict=True))
        path, seen = f"/v2/data/{dataset}/exchanges/{market}/{form}", set[str]()
        while True:
            page = (await http.get(path, params=params)).read
            rows += page.rows("data")
            if not page.has("next_url"):
                return rows
            following = page.text("next_url")
            if following in seen:
                raise page.at("next_url").unexpected("another page")
            seen.add(following)
            # Only the query is taken: the key must go to the base address only.
            params = dict(parse_qsl(urlsplit(following).query))

    def _parse_row(self, series: Series, kind: str, row: "Reader") -> Point | None:
        """Return the value of an interval at its end; None where it has none."""
        stamp = "poll_timestamp" if kind == _BOOK else "timestamp"
        end, value = row.instant(stamp, unit="ms") + series.step_micros, self._value(series, row)
        return None if value is None else Point(end, value)

    def _value(self, series: Series, row: "Reader") -> float | None:
        bids, asks = (f"{side}_volume{self.config.band}" for side in ("bid", "ask"))
        names: tuple[str, ...] = {
            "bid_ask_spread": (series.path, "mid_price"),
            "bid_depth_usd": (bids, "mid_price"),
            "ask_depth_usd": (asks, "mid_price"),
            "book_imbalance": (bids, asks),
            "slippage": ("bid_slippage", "ask_slippage"),
        }.get(series.metric, (series.path,))
        if any(row.at(name).value is None for name in names):
            return None
        first, *more = (row.number(name) for name in names)
        match series.metric:
            case "bid_depth_usd" | "ask_depth_usd":
                return first * more[0]
            case "book_imbalance":
                return (first - more[0]) / (first + more[0]) if first + more[0] else None
            case "slippage":
                return (first + more[0]) / 2
            case "bid_ask_spread" if self.config.spread_in_quote:
                return first / more[0]
        return first


def _spreads(venues: Sequence[Mapping[int, float | None]]) -> list[Point]:
    """Return highest less lowest price over the mean of both, for hours with several prices."""
    points = []
    for end in sorted(set().union(*venues)):
        prices = [prices[end] for prices in venues if end in prices]
        known = [price for price in prices if price is not None]
        # An unknown price may have been the highest or the lowest.
        if len(known) == len(prices) and len(known) > 1:
            points.append(Point(end, 2 * (max(known) - min(known)) / (max(known) + min(known))))
    return points
