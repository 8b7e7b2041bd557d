"""Providers: each brings candles or observations from one source."""

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
    """What the data of a source is. It travels with every signal made from it."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    SANDBOX = "sandbox"


class FactKey(NamedTuple):
    """Which series of observations is meant."""

    metric: str
    scope: str
    entity: str


class Whole(NamedTuple):
    """A stretch of which a batch holds every candle that its source has.

    Attributes:
        symbol: whose candles.
        first: earliest open time, microseconds since 1970.
        last: latest open time.
    """

    symbol: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine asks of a provider.

    Attributes:
        interval: candles wanted.
        symbols: instruments wanted; empty for everything the provider has.
        since: earliest open time wanted of symbols that nothing is known of yet, microseconds
            since 1970; a source that is read whole, such as a folder, may give more.
        known: latest open time already stored, by symbol.
        known_facts: latest event time already stored, by series of observations.
        assets: what the instruments known so far are about, such as ``BTC``.
        cursor: what the provider returned with its last batch, kept for each source and
            interval, to tell what has changed since.
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
    """What a provider brings in one go.

    Attributes:
        candles: columns symbol, interval, open_time (µs, UTC), open, high, low, close, volume,
            and optionally known_at (µs, UTC; the candle's close where absent).
        observations: columns metric, scope, entity, event_time, known_at, value.
        texts: columns id, event_time (when it was published), known_at, title, summary, url,
            feed (who published it), assets (a list of what it is about) and credibility (0 to 1).
        instruments: what is known about the instruments in the batch.
        problems: what was refused or repaired on the way, one readable line each.
        cursor: handed back in the next `Request`; None to leave the last one in place.
        whole: stretches of which `candles` is all there is: a candle stored in one that is not
            among them is no longer in the source.
    """

    candles: "pl.DataFrame | None" = None
    observations: "pl.DataFrame | None" = None
    texts: "pl.DataFrame | None" = None
    instruments: tuple[Instrument, ...] = ()
    problems: tuple[str, ...] = ()
    cursor: str | None = None
    whole: tuple[Whole, ...] = ()


class HttpConfig(ComponentConfig):
    """Options every source that is asked over HTTP has."""

    base_url: Annotated[str | None, Local()] = Field(
        default=None,
        pattern=r"^https?://[^\s/]",
        description="another address of the API; what comes from there is another source",
    )
    api_key: SecretStr | None = Field(default=None, description="the key, as ${NAME}")


class Provider(Component):
    """Brings data from one source.

    The module of a provider holds only what is particular to that source: paths, parameters,
    parsing, units, and the rule that says when each row became known.

    Attributes:
        web: the HTTP API it asks; None for a source that is not asked over HTTP. Its `Config` then
            derives from `HttpConfig`.
        metrics: canonical metrics it can bring (see `weft.domain.vocabulary`).
        streamed_metrics: those that only its live streams bring.
        fallback: used on its own accord only when no other provider is.
        full_history: brings all it has, whatever `Request.since` asks for, such as a folder of
            files.
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
        """Its key in config.yaml, by which messages and status name it.

        Two providers of one class have two keys; one built without a config goes by its name.
        """
        return self._key or self.name

    @key.setter
    def key(self, key: str) -> None:
        self._key = key

    @property
    def base_url(self) -> str | None:
        """Where it is asked; None for a source that is not asked over HTTP."""
        own = getattr(self.config, "base_url", None)
        return own or (self.web.base_url if self.web else None)

    @property
    def source_kind(self) -> SourceKind:
        """What its data is; a plain value in the class body does as well.

        A source that is asked over HTTP is real at the host its `web` names, and at others of the
        same domain but for those whose name says that they are for trying things out.
        """
        if self.web is None or not self.base_url:
            return SourceKind.REAL
        official, host = (urlsplit(u).hostname or "" for u in (self.web.base_url, self.base_url))
        domain = ".".join(official.split(".")[-2:])
        below = host.endswith(f".{domain}") and not _FOR_TRYING.search(host)
        return SourceKind.REAL if host == official or below else SourceKind.SANDBOX

    @property
    def brings_candles(self) -> bool:
        """Whether it brings candles, as some source has to."""
        return True

    def ready(self) -> bool:
        """Whether ``enabled: auto`` switches it on: it has the path or key it needs."""
        return self.web is None or self.web.key is None or bool(self.config.api_key)

    @property
    def source(self) -> str:
        """Name under which its rows are stored; differs wherever the rows may differ."""
        asked = (self.base_url or "").rstrip("/")
        if self.web is None or asked == self.web.base_url.rstrip("/"):
            return self.name
        return f"{self.name}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"

    @abstractmethod
    def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield batches until everything asked for, and closed by now, has been given.

        What was yielded is stored within seconds, and in any case before the fetch ends or fails,
        so a long download that is cut off resumes where it stopped.

        Args:
            request: what is wanted, and what is there already.
            http: asks the API that `web` declares, within its limits and with its key.
            clock: tells what is closed by now.

        Raises:
            ProviderError: the source could not be read.
            DataError: what it gave cannot be used.
        """
