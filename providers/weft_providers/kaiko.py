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


_OWN_MEANING = {403: NotCoveredError, 404: UnlistedSymbolError}


def _series(metric: str, path: str, kind: str, scope: Scope = Scope.INSTRUMENT) -> Series:
    return Series(metric=metric, path=path, step="1h", lag="5m", scope=scope, extra={"kind": kind})


class Kaiko(SeriesProvider):
    """Hourly depth, spread and slippage of order books, VWAP, trades, and the gap between venues.

    Kaiko stamps an hour with its start; the value counts from its end, and is taken to be known
    five minutes later, as the delay of delivery is not published. Data of a version never changes:
    corrections come as another version, which `trades_version` and `books_version` would name.
    An hour without trades has no price, a book too thin for the order no slippage. The gap between
    venues has no endpoint of its own: it is made of each venue's VWAP of the same hour.

    https://docs.kaiko.com
    """

    name = "kaiko"
    web = Api(
        base_url="https://us.market-api.kaiko.io",
        key=HeaderKey("X-Api-Key"),
        # Set by contract and not published; this is the least that is told of.
        limits=(RateLimit(10, 1.0, per_request=True),),
        classify=lambda status, *_: _OWN_MEANING.get(status),
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
            description="symbols to ask about, and exchange/class/instrument at Kaiko",
        )
        venues: tuple[str, ...] = Field(
            default=("cbse", "krkn", "stmp"), description="whose prices are held against another"
        )
        venue_quote: str = Field(default="usd", description="what those prices are stated in")
        trades_version: str = Field(default="v1", description="of the trades dataset")
        books_version: str = Field(default="v1", description="of the order books dataset")
        band: str = Field(default="1", description="field ending of the 1 % band: bid_volume<band>")
        spread_in_quote: bool = Field(
            default=True, description="whether `spread` is in quote units; false for a share"
        )
        book_history_days: int = Field(
            default=30, ge=1, description="how far back order books are asked; licences bound it"
        )
        page_size: int = Field(default=100, ge=1, le=100, description="order books an answer")
        trades_page_size: int = Field(
            default=10_000, ge=1, le=100_000, description="hours an answer"
        )

    config: Config

    def entities(self, series: Series, request: Request) -> Iterable[str]:
        """Return the instruments of the config, and assets for the gap between venues."""
        if series.scope is Scope.INSTRUMENT:
            wanted = set(request.symbols or self.config.instruments)
            return tuple(symbol for symbol in self.config.instruments if symbol in wanted)
        return super().entities(series, request)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return exchange, class and instrument of a symbol."""
        if series.scope is Scope.INSTRUMENT:
            return self.config.instruments.get(entity)
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return together what one endpoint tells of one entity."""
        together: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            together.setdefault((one.series.extra["kind"], one.own_id), []).append(one)
        return together.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one entity."""
        first = min(group, key=lambda one: one.since)
        if (kind := first.series.extra["kind"]) == _VENUES:
            return {first: await self._gap(http, first)}
        rows = await self._rows(http, first, kind, first.own_id)
        return {one: self.points_in(rows, partial(self._point, one.series, kind)) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _gap(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return dearest less cheapest venue over the middle of both."""
        prices: dict[int, list[float]] = {}
        missing: list[SourceError] = []
        unknown: set[int] = set()
        for venue in self.config.venues:
            market = f"{venue}/spot/{wanted.own_id.lower()}-{self.config.venue_quote}"
            try:
                rows = await self._rows(http, wanted, _VENUES, market)
            except (UnlistedSymbolError, NotCoveredError) as error:
                missing.append(error)
                continue
            broken: list[SchemaChangedError] = []
            for row in rows:
                end = row.instant("timestamp", unit="ms") + wanted.series.step_micros
                try:
                    price = self._value(wanted.series, row)
                except SchemaChangedError as error:
                    broken.append(error)
                    # Without one of the venues the gap would be another one.
                    unknown.add(end)
                else:
                    prices.setdefault(end, []).extend([] if price is None else [price])
            if broken and len(broken) == len(rows):
                raise broken[0]
            if broken:
                self.tell(f"{len(broken)} intervals left out, the first: {broken[0].message}")
        if missing and len(self.config.venues) - len(missing) < 2:
            raise missing[0]
        return [
            Point(end, 2 * (max(told) - min(told)) / (max(told) + min(told)))
            for end, told in prices.items()
            if len(told) > 1 and end not in unknown
        ]

    async def _rows(self, http: "Http", wanted: Wanted, kind: str, market: str) -> "list[Reader]":
        """Return the rows of all pages."""
        own, step, since = self.config, wanted.series.step_micros, wanted.since
        rows: list[Reader] = []
        params: dict[str, Any] = {"interval": wanted.series.step, "sort": "asc"}
        if kind == _BOOK:
            since = max(since, wanted.until - own.book_history_days * DAY)
            dataset, form = f"order_book_snapshots.{own.books_version}", "ob_aggregations/full"
            params |= {"page_size": own.page_size, "slippage": 100_000}
        else:
            dataset, form = f"trades.{own.trades_version}", "aggregations/count_ohlcv_vwap"
            params |= {"page_size": own.trades_page_size}
        # Whole seconds; what a start cut off brings too early is not wanted, and dropped.
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
                raise page.at("next_url").unexpected("a page that has not been told")
            seen.add(following)
            # Only its query is taken: the key goes nowhere but to the base address.
            params = dict(parse_qsl(urlsplit(following).query))

    def _point(self, series: Series, kind: str, row: "Reader") -> Point | None:
        """Return the value of an interval at its end."""
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
