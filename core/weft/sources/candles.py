"""The base of providers that bring candles of an exchange.

A subclass lists the intervals of the exchange and implements two requests, each with its parsing:
`CandleProvider.instrument` and `CandleProvider.page`. The base class decides where each symbol
resumes, which candles are closed, and how many pages are requested concurrently.
"""

import asyncio
import re
from abc import abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import ClassVar
from urllib.parse import urlsplit

import polars as pl
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Batch, HttpConfig, Provider, Request, SourceKind
from weft.domain.candles import FIELDS
from weft.domain.instruments import Instrument
from weft.foundation.clock import Clock
from weft.foundation.errors import ProviderError
from weft.foundation.times import DAY, SECOND, Interval, iso, to_micros
from weft.sources.http import (
    Http,
    HttpResponse,
    Reader,
    SchemaChangedError,
    UnlistedSymbolError,
)
from weft.sources.http.reader import read_rows

_SCHEMA = {"open_time": pl.Datetime("us", "UTC")} | dict.fromkeys(FIELDS, pl.Float64())
_TEST_NETWORK = re.compile("testnet|sandbox|demo")
_FURTHEST_LISTING = 90 * DAY
"""Exchanges announce listings days or weeks ahead; a later listing date is taken for an error."""

Row = tuple[int, float, float, float, float, float]
"""Open time in microseconds since 1970, open, high, low, close, volume in base units."""


@dataclass(frozen=True, slots=True)
class Page:
    """The candles of one response.

    Example: a page of at most 500 rows, after which the next page starts at its last row::

        full = len(rows) == 500
        Page(rows, answer=response, following=rows[-1][0] + interval.micros if full else None)

    Attributes:
        rows: candles in any order; unfinished candles and candles outside the requested span may
            be included.
        answer: the response, for its age and the server's clock.
        following: open time at which the next page begins, microseconds since 1970; None after
            the last page.
        problems: messages about rows that were left out.
    """

    rows: list[Row]
    answer: HttpResponse
    following: int | None
    problems: tuple[str, ...] = ()


def parse_candles(
    rows: Sequence[Reader],
    parse: Callable[[Reader], Row],
    within: Callable[[int], bool],
    expected: str,
) -> tuple[list[Row], tuple[str, ...]]:
    """Return the candles of a page, and a message about rows that cannot be parsed.

    A row that cannot be parsed costs that candle, not the page. A row at a time that was not
    requested costs the page: the clock of the source may be wrong, and with it all other rows.

    Args:
        rows: one candle each; the first field is the open time.
        parse: parses one row.
        within: whether an open time, microseconds since 1970, was requested.
        expected: the requested times in words, for the message.

    Raises:
        SchemaChangedError: there are rows and none can be parsed, or a row was not requested.
    """
    problems: list[str] = []
    elsewhere: list[SchemaChangedError] = []

    def parse_row(row: Reader) -> Row:
        candle = parse(row)
        if not within(candle[0]):
            elsewhere.append(row.at(0).unexpected(expected))
        return candle

    candles = read_rows(rows, parse_row, problems.append)
    if elsewhere:
        raise elsewhere[0]
    return candles, tuple(problems)


class CandleConfig(HttpConfig):
    """Options of every exchange; derive the ``Config`` of a provider from this class.

    Example::

        class Config(CandleConfig):
            page_size: int = Field(default=500, ge=1, le=1000, description="candles in one request")
    """

    symbols: tuple[str, ...] = Field(
        default=(), description="symbols to fetch if the universe names none"
    )
    requests_in_flight: int = Field(default=4, ge=1, le=20, description="concurrent requests")


class CandleProvider(Provider):
    """Base of exchanges: brings closed candles, oldest first, and resumes after the newest stored.

    A subclass sets `name`, `web` and `intervals`, and implements `instrument` and `page`. The row
    function is the parsing half; a test calls it with a recorded body and needs no server::

        from weft.domain.instruments import Instrument
        from weft.sources.candles import CandleProvider, Page, Row
        from weft.sources.http import Api, RateLimit, Reader

        class Bourse(CandleProvider):
            name = "bourse"
            web = Api(base_url="https://api.bourse.example", limits=(RateLimit(10, 1),))
            hosts = ("bourse.example",)
            intervals = {"1m": "1min", "1h": "60min"}

            async def instrument(self, http, symbol):
                response = await http.get(f"/v1/symbols/{symbol}")
                base, quote = response.read.text("base"), response.read.text("quote")
                return Instrument(symbol=symbol, base=base, quote=quote, venue="bourse")

            async def page(self, http, symbol, interval, first, now):
                params = {"interval": self.intervals[interval.name], "from": first // 1_000}
                response = await http.get(f"/v1/candles/{symbol}", params=params)
                rows = [parse_row(row) for row in response.read.rows()]
                following = max(row[0] for row in rows) + interval.micros if rows else None
                return Page(rows, response, following)

        def parse_row(row: Reader) -> Row:
            opened = row.instant(0, unit="ms")
            opening, high, low, close, volume = (row.number(i) for i in range(1, 6))
            return opened, opening, high, low, close, volume

    A recorded body in, rows out::

        body = [[1735776000000, "94000.1", "94500", "93900", "94250.5", "12.5"]]
        rows = Reader(body, "provider bourse", "GET /v1/candles").rows()
        assert parse_row(rows[0])[4] == 94250.5

    Attributes:
        intervals: the exchange's name of each interval, by Weft's name such as ``1h``.
        hosts: domains with real data; hosts named testnet, sandbox or demo below them are not.
        gaps: whether the exchange leaves out candles without a trade.
        settle_seconds: how long after its close a candle may still change.
        unlisted: symbols that the exchange answered not to list.
    """

    intervals: ClassVar[Mapping[str, str]]
    hosts: ClassVar[tuple[str, ...]] = ()
    gaps: ClassVar[bool] = False
    settle_seconds: float = 0.0

    class Config(CandleConfig):
        """Options."""

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._described: dict[str, Instrument] = {}
        self._doubtful: set[str] = set()
        self.unlisted: set[str] = set()
        self._begun: set[str] = set()
        # The config sets the number of concurrent requests.
        self.web = self.web and replace(self.web, concurrent=self.config.requests_in_flight)

    @property
    def source_kind(self) -> SourceKind:
        """REAL for a host in `hosts` that is no test network; SANDBOX for any other host."""
        host = urlsplit(self.base_url or "").hostname or ""
        official = any(host == domain or host.endswith(f".{domain}") for domain in self.hosts)
        real = official and not _TEST_NETWORK.search(host)
        return SourceKind.REAL if real else SourceKind.SANDBOX

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Request what describes many instruments in one response, before the first page.

        The default does nothing.
        """
        return

    @abstractmethod
    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Request and return the instrument of a symbol.

        Raises:
            UnlistedSymbolError: the exchange does not list the symbol; it is not requested again
                until the next start.
        """

    @abstractmethod
    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Request one page of candles, oldest first.

        Args:
            http: the client of the exchange.
            symbol: the exchange's symbol.
            interval: length of a candle, one of `intervals`.
            first: earliest open time wanted, microseconds since 1970, on the interval's grid.
            now: instant before the request, microseconds since 1970.

        Raises:
            UnlistedSymbolError: the exchange does not list the symbol.
            SourceError: the request failed.
        """

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield one batch for every page of every symbol, in turn.

        Raises:
            ProviderError: the exchange has no candles of this interval, or a request failed.
        """
        due = await self._due(request, http)
        running: set[asyncio.Task[tuple[Batch, tuple[str, int] | None]]] = set()
        changed: SchemaChangedError | None = None
        try:
            while due or running:
                while due and len(running) < self.config.requests_in_flight:
                    page = self._page(http, clock, request.interval, *due.popleft())
                    running.add(asyncio.create_task(page))
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                # Pages already received are yielded before the error of another page is raised.
                for task in sorted(done, key=lambda task: task.exception() is not None):
                    error = task.exception()
                    if isinstance(error, SchemaChangedError):
                        # A page that cannot be parsed costs no candles of other symbols.
                        changed = changed or error
                        continue
                    batch, following = task.result()
                    due.extend([following] if following else [])
                    if batch.candles is not None or batch.instruments or batch.problems:
                        yield batch
            if changed is not None:
                raise changed
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _due(self, request: Request, http: Http) -> deque[tuple[str, int]]:
        """Return the symbols to request, each with the time at which its first page begins.

        Raises:
            ProviderError: the exchange has no candles of this interval.
        """
        step = request.interval.micros
        if request.interval.name not in self.intervals:
            raise ProviderError(
                f"the exchange has no {request.interval} candles",
                where=self.name,
                hint=f"Choose one of {', '.join(self.intervals)}",
            )
        # A stored symbol resumes at the next candle, however old the newest one is: no hole.
        since = {symbol: known + step for symbol, known in request.known.items()}
        self._begun |= set(request.known)
        requested = dict.fromkeys(request.symbols or self.config.symbols)
        symbols = [symbol for symbol in requested if symbol not in self.unlisted]
        # A listing date in the future may have changed since the last request.
        for symbol in self._doubtful:
            self._described.pop(symbol, None)
        self._doubtful.clear()
        if unknown := [symbol for symbol in symbols if symbol not in self._described]:
            await self.prepare(http, unknown)
        return deque((symbol, since.get(symbol, request.since)) for symbol in symbols)

    async def _page(
        self, http: Http, clock: Clock, interval: Interval, symbol: str, start: int
    ) -> tuple[Batch, tuple[str, int] | None]:
        """Return one page of a symbol's candles, and the symbol and start of the next page."""
        instruments: tuple[Instrument, ...] = ()
        remarks: tuple[str, ...] = ()
        try:
            described = self._described.get(symbol)
            if described is None:
                described = await self.instrument(http, symbol)
                if described.symbol != symbol:
                    problem = f"{symbol}: {self.name} describes it as {described.symbol}"
                    return Batch(problems=(f"{problem}; its candles are not taken",)), None
                described, remarks = self._check_listing(described, clock.now())
                instruments = (described,)
            listed = described.listed
            first = interval.ceil(start if listed is None else max(start, interval.floor(listed)))
            # Before the request: a candle unfinished at this instant may be closed on arrival.
            now = clock.now()
            page = None
            if first + interval.micros <= now:
                page = await self.page(http, symbol, interval, first, now)
        except UnlistedSymbolError:
            self.unlisted.add(symbol)
            problem = f"{symbol}: {self.name} lists no such symbol; not requested again"
            return Batch(problems=(f"{problem} until the next start",)), None
        # Only after the requests succeeded: the batch below carries the instrument.
        self._described[symbol] = described
        if page is None:
            return Batch(instruments=instruments, problems=remarks), None
        settled = int(self.settle_seconds * SECOND)
        closed_by = min(now, _server_time(page.answer, now), page.answer.given_at) - settled
        # Two versions of one candle stay two rows, which the store's checks then refuse.
        rows = {r: r[0] for r in page.rows if first <= r[0] <= closed_by - interval.micros}
        lost = (f"{symbol}: {line}" for line in page.problems)
        problems = (*remarks, *lost, *self._check_times(symbol, page.rows, interval, now))
        if any((opened - interval.floor(0)) % interval.micros for opened in rows.values()):
            rows = {}
        more = None
        # Without `gaps`, an empty page after candles ends the fetch: going on would leave a hole.
        if page.following and (rows or self.gaps or symbol not in self._begun):
            more = (symbol, page.following) if page.following + interval.micros <= now else None
        frame = None
        if rows:
            self._begun.add(symbol)
            frame = pl.DataFrame(sorted(rows), _SCHEMA, orient="row")
            names = {"symbol": pl.lit(symbol), "interval": pl.lit(interval.name)}
            frame = frame.with_columns(**names)
        return Batch(candles=frame, instruments=instruments, problems=problems), more

    def _check_listing(self, described: Instrument, now: int) -> tuple[Instrument, tuple[str, ...]]:
        """Return an instrument without an implausible listing date, and remarks on the date."""
        symbol, listed = described.symbol, described.listed
        if listed is None or listed <= now:
            return described, ()
        self._doubtful.add(symbol)
        remark = f"{symbol}: {self.name} says that it lists at {iso(listed)}"
        # A symbol with stored candles trades already.
        if listed <= now + _FURTHEST_LISTING and symbol not in self._begun:
            return described, (f"{remark}; no candles are requested before",)
        remark = f"{remark}; that date is ignored as implausible"
        return replace(described, listed=None), (remark,)

    @staticmethod
    def _check_times(
        symbol: str, rows: Iterable[Row], interval: Interval, now: int
    ) -> tuple[str, ...]:
        """Return the problems of open times: in the future, or off the interval's grid."""
        opened = [row[0] for row in rows]
        problems = []
        if ahead := [t for t in opened if t > now]:
            first = iso(min(ahead))
            problems.append(f"{len(ahead)} candles refused, in the future, first at {first}")
        off = [t for t in opened if (t - interval.floor(0)) % interval.micros]
        if off:
            problems.append(
                f"no candle of a page is taken: {len(off)} open off the {interval} grid, first at "
                f"{iso(min(off))}"
            )
        return tuple(f"{symbol}: {problem}" for problem in problems)


def _server_time(response: HttpResponse, now: int) -> int:
    """Return the server's Date: if this machine's clock is ahead, fewer candles are closed."""
    try:
        date = to_micros(parsedate_to_datetime(response.headers.get("date", "")))
    except (ValueError, TypeError, IndexError, OverflowError):
        return now
    # A Date more than a day off is a broken header, not a clock difference.
    return date if abs(date - now) <= DAY else now
