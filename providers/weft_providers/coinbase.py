"""Candles from Coinbase Exchange, through its public REST API.

Documentation: https://docs.cdp.coinbase.com/exchange/introduction/welcome.
"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.domain.instruments import Instrument
from weft.foundation.times import Interval, iso
from weft.sources.candles import CandleConfig, CandleProvider, Page, Row, parse_candles
from weft.sources.http import Api, Http, RateLimit, Reader, UnlistedSymbolError

_CANDLE_FIELDS = 6
_STEPS_BEFORE = 10
"""Coinbase may send rows from slightly before the start."""


class Coinbase(CandleProvider):
    """Closed candles of chosen products such as ``BTC-USD``, oldest first, resumed where they end.

    A candle is known at its close, but is taken `settle_seconds` later: right after its close it
    may still be incomplete. Coinbase does not announce later changes. Spans without a trade have no
    candle, and stay holes. There are no 2h, 4h and 1w candles.
    """

    name = "coinbase"
    web = Api(base_url="https://api.exchange.coinbase.com", limits=(RateLimit(10, 1),))
    hosts = ("coinbase.com",)
    gaps = True
    intervals: ClassVar = {
        "1m": "60",
        "5m": "300",
        "15m": "900",
        "1h": "3600",
        "6h": "21600",
        "1d": "86400",
    }

    class Config(CandleConfig):
        """Options."""

        symbols: tuple[str, ...] = Field(
            default=("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "DOGE-USD"),
            description="products to fetch unless a request names others",
        )
        page_size: int = Field(default=300, ge=1, le=300, description="candles in one request")
        settle_seconds: float = Field(
            default=5.0, ge=0, description="seconds from the close of a candle until it is taken"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._listed: dict[str, Reader] = {}
        self.settle_seconds = self.config.settle_seconds

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Fetch the list of all products."""
        answer = await http.get("/products")
        self._listed = {entry.text("id"): entry for entry in answer.read.rows()}

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return a product as the list of products describes it."""
        entry = self._listed.get(symbol)
        if entry is None:
            raise UnlistedSymbolError(f"there is no {symbol}", where=self.name)
        return Instrument(
            symbol=symbol,
            base=entry.text("base_currency"),
            quote=entry.text("quote_currency"),
            venue="coinbase",
            tick=entry.number("quote_increment"),
            lot=entry.number("base_increment"),
        )

    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Return the candles of one span; spans without a trade have none."""
        step, following = interval.micros, first + self.config.page_size * interval.micros
        params: dict[str, str | int] = {
            "granularity": self.intervals[interval.name],
            "start": iso(first),
            # The span includes both ends.
            "end": iso(following - step),
        }
        answer = await http.get(f"/products/{symbol}/candles", params=params)

        def parse(row: Reader) -> Row:
            opened = row.instant(0, unit="s")
            low, high, o, c, v = (row.number(i) for i in range(1, 6))
            row.expect_length(_CANDLE_FIELDS)
            return opened, o, high, low, c, v

        earliest = first - _STEPS_BEFORE * step
        rows, problems = parse_candles(
            answer.read.rows(),
            parse,
            lambda opened: earliest <= opened < following,
            "a time between start and end",
        )
        return Page(rows, answer, following, problems)
