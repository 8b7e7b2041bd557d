"""Candles of exchanges: where they begin, what is closed, and several pages at once.

A module says which intervals there are, and how an instrument and a page are asked for; the rest is
the same for all exchanges and stands here.
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
"""Listings are announced days ahead, weeks at most; what lies further off is no listing."""

Row = tuple[int, float, float, float, float, float]
"""Open time in microseconds since 1970, open, high, low, close, volume in base units."""


@dataclass(frozen=True, slots=True)
class Page:
    """Candles that one request brought.

    Attributes:
        rows: in any order; unfinished ones and such as were not asked for may be among them.
        answer: the answer they stood in.
        following: where the next page begins, microseconds since 1970; None after the last one.
        problems: lines for people about rows that were left out.
    """

    rows: list[Row]
    answer: HttpResponse
    following: int | None
    problems: tuple[str, ...] = ()


def parse_candles(
    rows: Sequence[Reader], parse: Callable[[Reader], Row]
) -> tuple[list[Row], tuple[str, ...]]:
    """Return the candles of a page, and a line for people about rows that cannot be parsed.

    A row that cannot be parsed costs that candle, not the page.

    Args:
        rows: one candle each.
        parse: parses one row.

    Raises:
        SchemaChangedError: there are rows, and none can be parsed.
    """
    problems: list[str] = []
    return read_rows(rows, parse, problems.append), tuple(problems)


class CandleConfig(HttpConfig):
    """Options every exchange has."""

    symbols: tuple[str, ...] = Field(
        default=(), description="what to fetch where nothing is asked for in particular"
    )
    requests_in_flight: int = Field(default=4, ge=1, le=20, description="requests open at once")


class CandleProvider(Provider):
    """Base of exchanges: closed candles of chosen symbols, oldest first, resumed where they end.

    Attributes:
        intervals: what the exchange calls each length of candle, by Weft's name for it.
        hosts: domains at which its data is real, its test networks excepted.
        gaps: whether candles without a trade are left out.
        settle_seconds: how long after its close a candle may still change.
        unlisted: symbols that the exchange was found not to list.
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
        # Its options decide how many requests are open at once.
        self.web = self.web and replace(self.web, concurrent=self.config.requests_in_flight)

    @property
    def source_kind(self) -> SourceKind:
        """Real at the exchange's own addresses, but for its test networks; a sandbox elsewhere."""
        host = urlsplit(self.base_url or "").hostname or ""
        own = any(host == domain or host.endswith(f".{domain}") for domain in self.hosts)
        real = own and not _TEST_NETWORK.search(host)
        return SourceKind.REAL if real else SourceKind.SANDBOX

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Ask for what describes many instruments at once, where the exchange has that."""
        return

    @abstractmethod
    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return what the exchange says about a symbol.

        Raises:
            UnlistedSymbolError: it lists no such symbol.
        """

    @abstractmethod
    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Return the candles that open at `first` or after it, as many as one request brings."""

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield one batch for every page of every symbol, in turn.

        Raises:
            ProviderError: the exchange has no such candles, cannot be read, or refuses.
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
                # Pages that came are given out before the failure of another ends it all.
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
        """Return the symbols to ask for, each with the instant its first page begins at.

        Raises:
            ProviderError: the exchange has no candles of this interval.
        """
        step = request.interval.micros
        if request.interval.name not in self.intervals:
            raise ProviderError(
                f"there are no {request.interval} candles",
                where=self.name,
                hint=f"Choose one of {', '.join(self.intervals)}",
            )
        # Where something is known the next candle follows, however long ago that was: no hole.
        since = {symbol: known + step for symbol, known in request.known.items()}
        self._begun |= set(request.known)
        asked = dict.fromkeys(request.symbols or self.config.symbols)
        symbols = [symbol for symbol in asked if symbol not in self.unlisted]
        # What was said of them was of the future, and may be told otherwise by now.
        for symbol in self._doubtful:
            self._described.pop(symbol, None)
        self._doubtful.clear()
        if unknown := [symbol for symbol in symbols if symbol not in self._described]:
            await self.prepare(http, unknown)
        return deque((symbol, since.get(symbol, request.since)) for symbol in symbols)

    async def _page(
        self, http: Http, clock: Clock, interval: Interval, symbol: str, start: int
    ) -> tuple[Batch, tuple[str, int] | None]:
        """Return one page of a symbol's candles, and where the next one starts if there is one."""
        instruments: tuple[Instrument, ...] = ()
        ahead: tuple[str, ...] = ()
        try:
            described = self._described.get(symbol)
            if described is None:
                described = await self.instrument(http, symbol)
                if described.symbol != symbol:
                    told = f"{symbol}: {self.name} describes it as {described.symbol}"
                    return Batch(problems=(f"{told}; its candles are not taken",)), None
                described, ahead = self._listed_by(described, clock.now())
                instruments = (described,)
            listed = described.listed
            first = interval.ceil(start if listed is None else max(start, interval.floor(listed)))
            # Before the request: what it was unfinished for may be closed by the time it comes.
            now = clock.now()
            page = None
            if first + interval.micros <= now:
                page = await self.page(http, symbol, interval, first, now)
        except UnlistedSymbolError:
            self.unlisted.add(symbol)
            told = f"{symbol}: {self.name} lists no such symbol; not asked for again"
            return Batch(problems=(f"{told} until the next start",)), None
        # Not before: what is described here is handed out below.
        self._described[symbol] = described
        if page is None:
            return Batch(instruments=instruments, problems=ahead), None
        settled = int(self.settle_seconds * SECOND)
        closed_by = min(now, _told_time(page.answer, now), page.answer.given_at) - settled
        # Two versions of one candle stay two, for the checks to refuse.
        rows = {r: r[0] for r in page.rows if first <= r[0] <= closed_by - interval.micros}
        lost = (f"{symbol}: {line}" for line in page.problems)
        problems = (*ahead, *lost, *self._out_of_place(symbol, page.rows, interval, now))
        if any((opened - interval.floor(0)) % interval.micros for opened in rows.values()):
            rows = {}
        more = None
        # Where nothing comes after candles, nothing is asked beyond: a hole would never be filled.
        if page.following and (rows or self.gaps or symbol not in self._begun):
            more = (symbol, page.following) if page.following + interval.micros <= now else None
        frame = None
        if rows:
            self._begun.add(symbol)
            frame = pl.DataFrame(sorted(rows), _SCHEMA, orient="row")
            names = {"symbol": pl.lit(symbol), "interval": pl.lit(interval.name)}
            frame = frame.with_columns(**names)
        return Batch(candles=frame, instruments=instruments, problems=problems), more

    def _listed_by(self, described: Instrument, now: int) -> tuple[Instrument, tuple[str, ...]]:
        """Return an instrument without a listing that cannot be meant, and what there is to say."""
        symbol, listed = described.symbol, described.listed
        if listed is None or listed <= now:
            return described, ()
        self._doubtful.add(symbol)
        told = f"{symbol}: {self.name} says that it lists at {iso(listed)}"
        # What has candles trades already, whatever is said of it.
        if listed <= now + _FURTHEST_LISTING and symbol not in self._begun:
            return described, (f"{told}; nothing is asked for before",)
        told = f"{told}; not believed, and asked for all the same"
        return replace(described, listed=None), (told,)

    @staticmethod
    def _out_of_place(
        symbol: str, rows: Iterable[Row], interval: Interval, now: int
    ) -> tuple[str, ...]:
        """Return what is wrong with the stamps of candles, which all lie on one grid by now."""
        opened = [row[0] for row in rows]
        told = []
        if ahead := [t for t in opened if t > now]:
            told.append(f"{len(ahead)} candles refused, in the future, first at {iso(min(ahead))}")
        off = [t for t in opened if (t - interval.floor(0)) % interval.micros]
        if off:
            told.append(
                f"no candle of a page is taken: {len(off)} open off the {interval} grid, first at "
                f"{iso(min(off))}"
            )
        return tuple(f"{symbol}: {line}" for line in told)


def _told_time(answer: HttpResponse, now: int) -> int:
    """Return the time the server says it was; where this clock is ahead, a candle is not closed."""
    try:
        told = to_micros(parsedate_to_datetime(answer.headers.get("date", "")))
    except (ValueError, TypeError, IndexError, OverflowError):
        return now
    # A Date that is off by more than a day says more about the header than about the clock.
    return told if abs(told - now) <= DAY else now
