"""Spot candles from Binance, through its public REST API.

Paths, limits and error codes: https://github.com/binance/binance-spot-api-docs, rest-api.md.
"""

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import httpx
import polars as pl
from pydantic import Field

from weft.clock import Clock
from weft.components.base import ComponentConfig, Local
from weft.components.provider import Batch, Provider, Request, SourceKind
from weft.errors import ProviderError
from weft.market.candles import FIELDS
from weft.market.instruments import Instrument, split_pair
from weft.times import Interval

_HOST = "https://api.binance.com"
_TEST_NETWORK = re.compile("testnet|demo")
_NAMES = "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"
_INTERVALS = {Interval.parse(name).micros: name for name in _NAMES.split()}
_SCHEMA = {"open_time": pl.Datetime("us", "UTC")} | dict.fromkeys(FIELDS, pl.Float64())
_MILLI, _SECOND = 1_000, 1_000_000
_MOST_WAITS, _USUAL_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 3, 60, 300
_UNKNOWN_SYMBOL = -1121
_RESUMES, _CHECK = "The next fetch goes on from here", "Check base_url"
_HINTS = {
    403: "The firewall refused the request: ask less often, and start again later",
    418: "This address is banned for a while: ask less often, and start again later",
    429: "Ask for fewer pairs, or lower requests_in_flight",
    451: "Binance does not serve this place: set another base_url",
}


class _UnknownSymbolError(ProviderError):
    """Binance lists no such pair."""


class Binance(Provider):
    """Closed spot candles of chosen pairs, oldest first, resumed where the store ends.

    A candle is known at its close; Binance does not revise closed ones.
    """

    name = "binance"

    class Config(ComponentConfig):
        """Options."""

        base_url: Annotated[str, Local()] = Field(
            default=_HOST,
            pattern=r"^https?://[^\s/]",
            description="address of the API, up to but without /api; another is another source",
        )
        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT"),
            description="pairs to fetch where none are asked for in particular",
        )
        page_size: int = Field(default=1000, ge=1, le=1000, description="candles in one request")
        requests_in_flight: int = Field(default=4, ge=1, le=20, description="requests open at once")

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._described: set[str] = set()

    @property
    def source(self) -> str:
        """Differs by address, so that a test network's prices never mix with real ones."""
        base = self.config.base_url.rstrip("/")
        own = hashlib.sha256(base.encode()).hexdigest()[:8]
        return self.name if base == _HOST else f"{self.name}-{own}"

    @property
    def source_kind(self) -> SourceKind:
        """Real at Binance's own addresses, but for its test networks; a sandbox elsewhere."""
        host = httpx.URL(self.config.base_url).host
        real = host.endswith((".binance.com", ".binance.vision"))
        return SourceKind.SANDBOX if not real or _TEST_NETWORK.search(host) else SourceKind.REAL

    async def fetch(
        self, request: Request, http: httpx.AsyncClient, clock: Clock
    ) -> AsyncIterator[Batch]:
        """Yield one batch for every page of every pair, in turn.

        Raises:
            ProviderError: Binance cannot be reached, refuses, or answers with something else.
        """
        step = request.interval.micros
        if step not in _INTERVALS:
            raise _failure(f"there are no {request.interval} candles", f"Choose one of {_NAMES}")
        api = _Api(self.config.base_url.rstrip("/"), http, clock)
        # Where something is known the next candle follows, however long ago that was: no hole.
        since = {symbol: known + step for symbol, known in request.known.items()}
        symbols = dict.fromkeys(request.symbols or self.config.symbols)
        due = deque((symbol, since.get(symbol, request.since)) for symbol in symbols)
        running: set[asyncio.Task[tuple[Batch, tuple[str, int] | None]]] = set()
        try:
            while due or running:
                while due and len(running) < self.config.requests_in_flight:
                    page = self._page(api, request.interval, *due.popleft())
                    running.add(asyncio.create_task(page))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                # Pages that came are given out before the failure of another ends it all.
                for task in sorted(done, key=lambda task: task.exception() is not None):
                    batch, following = task.result()
                    due.extend([following] if following else [])
                    if batch.candles is not None or batch.instruments or batch.problems:
                        yield batch
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _page(
        self, api: "_Api", interval: Interval, symbol: str, start: int
    ) -> tuple[Batch, tuple[str, int] | None]:
        """Return one page of a pair's candles, and where the next one starts if there is one."""
        size = self.config.page_size
        asked = {"symbol": symbol, "interval": _INTERVALS[interval.micros], "limit": size}
        instruments: list[Instrument] = []
        try:
            if symbol not in self._described:
                info = await api.get("/api/v3/exchangeInfo", {"symbol": symbol})
                instruments = [_instrument(entry) for entry in info["symbols"]]
                self._described.add(symbol)
            if start + interval.micros > api.clock.now():
                return Batch(instruments=tuple(instruments)), None
            answer = await api.get("/api/v3/klines", asked | {"startTime": -(-start // _MILLI)})
            rows = [(int(r[0]) * _MILLI, *map(float, r[1:6]), int(r[6]) * _MILLI) for r in answer]
        except _UnknownSymbolError:
            return Batch(problems=(f"{symbol}: Binance lists no such pair",)), None
        except (TypeError, ValueError, LookupError) as error:
            raise _failure(f"the answer for {symbol} has an unknown form", _CHECK) from error
        if rows and min(rows)[0] < start:
            raise _failure(f"{symbol} candles from before startTime came", _CHECK)
        now = api.clock.now()
        closed = [row[:6] for row in rows if row[6] + _MILLI <= now]
        frame = pl.DataFrame(closed, _SCHEMA, orient="row").with_columns(
            symbol=pl.lit(symbol), interval=pl.lit(interval.name)
        )
        following = (symbol, int(rows[-1][0]) + interval.micros) if len(rows) == size else None
        return Batch(candles=frame, instruments=tuple(instruments)), following


def _instrument(entry: Mapping[str, Any]) -> Instrument:
    filters = {f["filterType"]: f for f in entry["filters"]}
    pair = (entry["baseAsset"], entry["quoteAsset"])
    base, quote, multiplier = split_pair("/".join(pair)) or (*pair, 1)
    return Instrument(
        symbol=entry["symbol"],
        base=base,
        quote=quote,
        venue="binance",
        multiplier=multiplier,
        tick=float(filters.get("PRICE_FILTER", {}).get("tickSize", 0)),
        lot=float(filters.get("LOT_SIZE", {}).get("stepSize", 0)),
    )


def _failure(what: str, hint: str) -> ProviderError:
    return ProviderError(what, where="binance", hint=hint)


class _Api:
    """Asks Binance, and waits when told to."""

    def __init__(self, base: str, http: httpx.AsyncClient, clock: Clock) -> None:
        self.clock = clock
        self._base, self._http, self._resume_at = base, http, 0

    async def get(self, path: str, params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON of an answer, or raise `ProviderError`."""
        what = f"GET {path} for {params['symbol']}"
        for _ in range(_MOST_WAITS + 1):
            await self.clock.sleep_until(self._resume_at)
            try:
                answer = await self._http.get(self._base + path, params=dict(params))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _failure(f"{what} failed, {type(error).__name__}", _RESUMES) from error
            after = answer.headers.get("Retry-After", "")
            wait = int(after) if after.isdecimal() else _USUAL_WAIT_SECONDS
            if answer.status_code != 429 or wait > _LONGEST_WAIT_SECONDS:
                break
            self._resume_at = max(self._resume_at, self.clock.now() + wait * _SECOND)
        status = answer.status_code
        try:
            body = answer.json()
        except ValueError as error:
            if status == 200:
                raise _failure(f"{what} answered broken JSON", _RESUMES) from error
            body = {}
        if status == 200:
            return body
        told = body if isinstance(body, dict) else {}
        if told.get("code") == _UNKNOWN_SYMBOL:
            raise _UnknownSymbolError(f"{what}: no such pair", where="binance")
        own = f", code {told['code']}: {str(told.get('msg'))[:200]}" if "code" in told else ""
        raise _failure(f"{what} answered HTTP {status}{own}", _HINTS.get(status, _RESUMES))
