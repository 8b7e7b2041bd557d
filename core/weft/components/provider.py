"""Providers: bring candles, observations or texts from one source."""

import hashlib
import re
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from weft.components.base import Component, ComponentConfig, Local
from weft.domain.instruments import Instrument
from weft.foundation.times import Interval

if TYPE_CHECKING:
    import polars as pl

    from weft.foundation.clock import Clock
    from weft.sources.http import Api, Http


_FOR_TRYING = re.compile("test|demo|sandbox|paper")


class SourceKind(StrEnum):
    """Whether data is of a real market. Every signal names the kind of its data."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    SANDBOX = "sandbox"


class FactKey(NamedTuple):
    """The key of a series of observations."""

    metric: str
    scope: str
    entity: str


class CompleteSpan(NamedTuple):
    """A span of which a batch contains every candle of its source.

    Attributes:
        symbol: of the candles.
        first: earliest open time, microseconds since 1970.
        last: latest open time.
    """

    symbol: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the engine to a provider.

    Attributes:
        interval: of the candles.
        symbols: instruments; empty for all of the provider's.
        since: earliest open time of symbols without stored candles, microseconds since 1970; a
            source that is always read completely, such as a folder, may bring more.
        known: latest stored open time, by symbol.
        known_facts: latest stored event time, by series of observations.
        assets: base assets of the stored instruments, such as ``BTC``.
        cursor: that of the provider's last batch, stored by source and interval: marks what has
            changed since.
    """

    interval: Interval
    symbols: tuple[str, ...]
    since: int
    known: Mapping[str, int] = field(default_factory=dict)
    known_facts: Mapping[FactKey, int] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of a provider's answer, stored on arrival.

    Attributes:
        candles: columns symbol, interval, open_time (µs, UTC), open, high, low, close, volume,
            and optionally known_at (µs, UTC; the candle's close where absent).
        observations: columns metric, scope, entity, event_time, known_at, value.
        texts: columns id, event_time (when it was published), known_at, title, summary, url,
            feed (who published it), assets (a list of what it is about) and credibility (0 to 1).
        instruments: descriptions of the instruments in the batch.
        problems: a readable line for each value refused or repaired.
        cursor: for the next `Request`; None keeps the last cursor.
        whole: spans of which `candles` is complete: a stored candle in such a span that is not in
            the batch is no longer in the source.
    """

    candles: "pl.DataFrame | None" = None
    observations: "pl.DataFrame | None" = None
    texts: "pl.DataFrame | None" = None
    instruments: tuple[Instrument, ...] = ()
    problems: tuple[str, ...] = ()
    cursor: str | None = None
    complete_spans: tuple[CompleteSpan, ...] = ()


class HttpConfig(ComponentConfig):
    """Options of a source with an HTTP API."""

    base_url: Annotated[str | None, Local()] = Field(
        default=None,
        pattern=r"^https?://[^\s/]",
        description="another address of the API; what comes from there is another source",
    )
    api_key: SecretStr | None = Field(default=None, description="the key, as ${NAME}")


class Provider(Component):
    """Brings data from one source.

    The module of a provider contains only what is particular to the source: paths, parameters,
    parsing, units, and the rule for when each row became known.

    Attributes:
        web: its HTTP API; None without one. With an API, `Config` derives from `HttpConfig`.
        metrics: canonical metrics it can bring (see `weft.domain.vocabulary`).
        streamed_metrics: metrics that only its live streams bring.
        fallback: with ``enabled: auto``, used only when no other provider is.
        full_history: brings all of its rows, whatever `Request.since` is, as a folder does.

    Example::

        class Folder(Provider):
            name = "folder"

            class Config(ComponentConfig):
                path: Annotated[str, Local()]

            async def fetch(self, request, http, clock):
                for symbol in request.symbols or ("BTCUSDT",):
                    frame = pl.read_parquet(f"{self.config.path}/{symbol}.parquet")
                    yield Batch(candles=frame.with_columns(symbol=pl.lit(symbol)))
    """

    kind: ClassVar[str] = "provider"
    web: "Api | None" = None
    metrics: ClassVar[tuple[str, ...]] = ()
    streamed_metrics: ClassVar[tuple[str, ...]] = ()
    fallback: ClassVar[bool] = False
    full_history: ClassVar[bool] = False
    _key: str = ""

    @property
    def key(self) -> str:
        """Its key in config.yaml, the name in messages and status; `name` outside a composition.

        Two providers of the same class have two keys.
        """
        return self._key or self.name

    @key.setter
    def key(self, key: str) -> None:
        self._key = key

    @property
    def base_url(self) -> str | None:
        """Address of its API; None without an HTTP API."""
        configured = getattr(self.config, "base_url", None)
        return configured or (self.web.base_url if self.web else None)

    @property
    def source_kind(self) -> SourceKind:
        """Kind of its data; a plain value in the class body works too.

        A source with an HTTP API is real at the host of `web`, and at other hosts of the same
        domain unless their name marks them as test systems (test, demo, sandbox, paper).
        """
        if self.web is None or not self.base_url:
            return SourceKind.REAL
        official, host = (urlsplit(u).hostname or "" for u in (self.web.base_url, self.base_url))
        domain = ".".join(official.split(".")[-2:])
        below = host.endswith(f".{domain}") and not _FOR_TRYING.search(host)
        return SourceKind.REAL if host == official or below else SourceKind.SANDBOX

    @property
    def brings_candles(self) -> bool:
        """Whether it brings candles; a composition needs a source that does."""
        return True

    def ready(self) -> bool:
        """Return whether ``enabled: auto`` switches it on: its path or key is set."""
        return self.web is None or self.web.key is None or bool(self.config.api_key)

    @property
    def source(self) -> str:
        """Name under which its rows are stored; another address is another source."""
        address = (self.base_url or "").rstrip("/")
        if self.web is None or address == self.web.base_url.rstrip("/"):
            return self.name
        return f"{self.name}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"

    @abstractmethod
    def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield batches of everything the request names that has closed by now.

        Each batch is stored within seconds, and before the fetch ends or fails, so an interrupted
        download resumes where it stopped.

        Args:
            request: the data to bring, and the data stored already.
            http: the client of the API that `web` declares, with its limits and key.
            clock: the time, to tell which candles have closed.

        Raises:
            ProviderError: the source could not be read.
            DataError: its answer cannot be used.
        """
