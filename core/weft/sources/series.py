"""The base of providers that bring metrics: series of numbers, one value a step.

A subclass lists its series and implements two halves:

- *asking*: `SeriesProvider.read` sends the requests (path, parameters, paging);
- *parsing*: a plain function turns one row of a response body into a `Point`.

The base class decides what is due, which values to request again because the source may have
restated them, when a value became known, and what a failed request means for the other series.
"""

import asyncio
import hashlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from weft.components.base import ComponentConfig
from weft.components.provider import Batch, FactKey, HttpConfig, Provider, Request
from weft.domain.instruments import Scope
from weft.foundation.errors import ConfigError, ProviderError, nearest
from weft.foundation.times import SECOND, Interval, iso

if TYPE_CHECKING:
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, Reader

_ROWS_A_BATCH = 5_000
_STEPS_ASKED_AGAIN = 3
_REFUSED_SECONDS, _PLAN_LACKS_SECONDS = 86_400.0, 7 * 86_400.0
"""How long a refused series is not requested. Plans change rarely; a new key is tried at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric as a source provides it.

    Example: net flow in satoshi, a value a day, published two hours after the day ends::

        Series(metric="exchange_netflow", path="flows/net", step="1d", lag="2h", factor=1e-8)

    Attributes:
        metric: canonical name (see `weft.domain.vocabulary`).
        path: the source's name of the metric: a path, a field or an id.
        step: time between two values, such as ``1d``.
        lag: time from the end of a step until its value is known, such as ``3h``.
        scope: whether the metric describes an asset, an instrument or the market.
        factor: multiplies a value of the source to give the canonical unit.
        extra: further values that the provider needs for the request.
        confirmed: whether the source documents the path publicly. An unconfirmed series is
            requested only if the config names its path.
    """

    metric: str
    path: str = ""
    step: str = "1d"
    lag: str = "1h"
    scope: Scope = Scope.ASSET
    factor: float = 1.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    confirmed: bool = True

    @property
    def step_micros(self) -> int:
        """Step in microseconds."""
        return Interval.parse(self.step).micros

    @property
    def lag_micros(self) -> int:
        """Lag in microseconds."""
        return Interval.parse(self.lag).micros


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series.

    Example: the value of 1 January 2025, which is true at the end of that day::

        Point(event_time=parse_time("2025-01-02T00:00:00Z"), value=1250.0)

    Attributes:
        event_time: instant the value is true at, microseconds since 1970. For the value of a day
            this is the end of the day.
        value: in the unit of the source; `Series.factor` is applied later.
        known_at: instant the value became known, microseconds since 1970, if the source states
            it. None: `event_time` plus the lag of the series.
    """

    event_time: int
    value: float
    known_at: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """One series of one entity over a span of time, as `SeriesProvider.read` receives it.

    Example: a request built from it::

        params = {"asset": wanted.own_id, "since": wanted.since // SECOND}
        response = await http.get(f"/v1/{wanted.series.path}", params=params)

    Attributes:
        series: the series, with the changes of the config applied.
        entity: canonical name: ``BTC``, ``BTCUSDT``; empty for the market.
        own_id: the source's name of the entity.
        since: earliest event time to return, microseconds since 1970.
        until: instant at which the fetch began, microseconds since 1970.
    """

    series: Series
    entity: str
    own_id: str
    since: int
    until: int


def _interval(text: str) -> str:
    return Interval.parse(text).name


class SeriesOptions(ComponentConfig):
    """Overrides of one built-in `Series` in the config; None leaves the built-in value.

    Example, in ``config.yaml``::

        providers:
          example:
            series:
              exchange_netflow: {path: flows/net_v2, lag: 4h}
    """

    path: str | None = None
    step: Annotated[str, AfterValidator(_interval)] | None = None
    lag: Annotated[str, AfterValidator(_interval)] | None = None
    factor: float | None = None
    extra: Mapping[str, Any] = Field(default_factory=dict)


class SeriesConfig(HttpConfig):
    """Options of every provider of metrics; derive the ``Config`` of a provider from this class.

    Example::

        class Config(SeriesConfig):
            page_size: int = Field(default=500, ge=1, le=1000, description="rows in one request")
    """

    assets: tuple[str, ...] = Field(
        default=("BTC", "ETH"),
        description="assets to request; empty for the assets of all instruments",
    )
    metrics: tuple[str, ...] = Field(default=(), description="metrics to request; empty for all")
    series: Mapping[str, SeriesOptions] = Field(
        default_factory=dict,
        description="path, step, lag, factor or extra of a metric, where this plan differs",
    )
    ids: Mapping[str, str] = Field(
        default_factory=dict, description="the source's ids of further assets, by asset"
    )


class SeriesProvider(Provider):
    """Base of providers that bring metrics.

    A subclass sets `name`, `web` and `series`, and implements `read`. The row function is the
    parsing half; a test calls it with a recorded body and needs no server::

        from weft.domain.instruments import Scope
        from weft.foundation.times import SECOND
        from weft.sources.http import Api, RateLimit, Reader
        from weft.sources.series import Point, Series, SeriesProvider

        class Gauge(SeriesProvider):
            name = "gauge"
            web = Api(base_url="https://api.gauge.example", limits=(RateLimit(60, 60),))
            series = (Series(metric="fear_greed", path="/v1/index", scope=Scope.MARKET),)

            async def read(self, http, wanted):
                params = {"since": wanted.since // SECOND}
                response = await http.get(wanted.series.path, params=params)
                return self.points(response.read, "data", read=parse_row)

        def parse_row(row: Reader) -> Point:
            return Point(row.instant("time", unit="s"), row.number("value"))

    A recorded body in, points out::

        body = {"data": [{"time": 1735776000, "value": "62"}]}
        rows = Reader(body, "provider gauge", "GET /v1/index").rows("data")
        assert [parse_row(row).value for row in rows] == [62.0]

    To override for the asking half: `begin` (requests before all others), `groups` and
    `read_group` (one request for several series), `entities` and `own_id` (names of assets and
    symbols). For the parsing half: `points`, `points_in`. For messages: `tell`, `give_up`.

    Attributes:
        series: the series that the source has.
        ids: the source's ids of assets whose id is not the asset itself in upper case.
        only_ids: whether the source has only the assets in `ids`.

    Raises:
        ConfigError: the config names a metric that is not in `series`.
    """

    series: ClassVar[tuple[Series, ...]]
    ids: ClassVar[Mapping[str, str]] = {}
    only_ids: ClassVar[bool] = False

    class Config(SeriesConfig):
        """Options."""

    config: SeriesConfig

    @property
    def brings_candles(self) -> bool:
        """Whether the provider brings candles; False unless a subclass overrides it."""
        return False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "series" in cls.__dict__:
            cls.metrics = tuple(dict.fromkeys(series.metric for series in cls.series))

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._refused_until: dict[str, int] = {}
        self._http: Http | None = None
        self._config_digest: str | None = None
        self._schema_error: ProviderError | None = None
        self._problems: list[str] = []
        self._refusals: dict[type[ProviderError], tuple[ProviderError, list[Wanted]]] = {}
        self._reported: set[str] = set()
        known = {series.metric for series in self.series}
        for metric in (*self.config.metrics, *self.config.series):
            if metric not in known:
                close = nearest(metric, sorted(known))
                raise ConfigError(
                    f"there is no metric {metric!r}; the provider has {', '.join(sorted(known))}",
                    where=f"provider {self.name}",
                    hint=f"Did you mean {close}?" if close else None,
                )

    @abstractmethod
    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Request one series over a span, all pages, and return its points in any order.

        Points before `Wanted.since` and points that are not known yet may be included; the base
        class drops them. Parse rows with `points`, so that one unexpected row does not lose the
        others. Report remarks with `tell`, and a series that the source will never serve with
        `give_up`.

        Raises:
            SourceError: the request failed; other series go on.
        """

    async def begin(self, request: Request, http: "Http", clock: "Clock") -> None:
        """Send the requests that come before all others, such as the source's list of assets.

        Raises:
            SourceError: a request failed; the fetch ends.
        """

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of each request; by default one request for each series."""
        return ([item] for item in wanted)

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Request a group of series and return the points of each; override with `groups`.

        Raises:
            SourceError: the request failed; other groups go on.
        """
        return {wanted: await self.read(http, wanted) for wanted in group}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield the due values of every series, and the last 3 steps again for restatements.

        A series outside the plan, or an asset unknown to the source, is reported once and not
        requested again for a week or a day, also not by later processes. If the source fails, the
        rows received so far are yielded first.

        Raises:
            SourceError: the source failed, or a series came in an unexpected form.
        """
        from weft.sources.http.errors import (  # noqa: PLC0415  # listing providers needs no client
            ForbiddenError,
            NotCoveredError,
            RefusedError,
            UnauthorisedError,
            UnlistedSymbolError,
        )

        self._http = http
        await self.begin(request, http, clock)
        wanted = list(self._wanted(request, clock.now()))
        rows: list[_Row] = []
        failed: ProviderError | None = None
        pending = [asyncio.ensure_future(self._read(http, group)) for group in self.groups(wanted)]
        try:
            for task in asyncio.as_completed(pending):
                group, points, error = await task
                rows += _rows(points, clock.now())
                if len(rows) >= _ROWS_A_BATCH:
                    yield _batch(rows)
                    rows = []
                if isinstance(error, NotCoveredError | UnlistedSymbolError | RefusedError):
                    self.give_up(group, error)
                elif error is not None:
                    failed = failed or error
                    if isinstance(error, UnauthorisedError | ForbiddenError):
                        # Further requests would get the same error and risk a ban.
                        break
        finally:
            for other in pending:
                other.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if rows or self._problems or self._refusals:
            yield replace(_batch(rows), problems=(*self._problems, *self._refusal_lines()))
            self._problems, self._refusals = [], {}
        failed, self._schema_error = failed or self._schema_error, None
        if failed is not None:
            raise failed

    async def _read(self, http: "Http", group: Sequence[Wanted]) -> "_GroupResult":
        try:
            return group, await self.read_group(http, group), None
        except ProviderError as error:
            return group, {}, error

    def _wanted(self, request: Request, now: int) -> Iterable[Wanted]:
        chosen = set(self.config.metrics) or set(self.metrics)
        waiting = self.waiting()
        for series in map(self._as_configured, self.series):
            if series.metric not in chosen or series.metric in waiting:
                continue
            for entity in self.entities(series, request):
                key = FactKey(series.metric, series.scope.value, entity)
                source_id = self.own_id(series, entity)
                newest = request.known_facts.get(key)
                step, lag = series.step_micros, series.lag_micros
                if source_id is None:
                    has_id = entity in self.ids or entity in self.config.ids
                    if self.only_ids and series.scope is Scope.ASSET and not has_id:
                        self.tell(
                            f"{entity}: the provider has no id for this asset; set ids.{entity}",
                            once=True,
                        )
                    continue
                since = request.since if newest is None else newest - _STEPS_ASKED_AGAIN * step
                wanted = Wanted(series, entity, source_id, since, now)
                is_due = newest is None or newest + step + lag <= now
                if is_due and not self._is_refused(wanted):
                    yield wanted

    def _is_refused(self, wanted: Wanted) -> bool:
        """Whether a refusal of a series, from this process or an earlier one, still stands."""
        name = self._refusal_name(wanted)
        if self._refused_until.get(name, 0) > wanted.until:
            return True
        return self._http is not None and self._http.refusal(name) is not None

    def _refusal_name(self, wanted: Wanted) -> str:
        """Return the name of a refusal; another config gives another name, and a new request."""
        if self._config_digest is None:
            config = self.config.model_dump_json(exclude={"api_key"})
            self._config_digest = hashlib.sha256(config.encode()).hexdigest()[:8]
        series = wanted.series
        return f"{series.metric} {series.scope} {wanted.entity} {series.path} {self._config_digest}"

    def waiting(self) -> Mapping[str, str]:
        """Return the metrics that are not requested until the config is completed, with reasons."""
        return {
            series.metric: (
                f"the source does not document its path publicly: set providers.{self.name}.series."
                f"{series.metric}.path"
            )
            for series in self.series
            if not (series.confirmed or self._path_of(series.metric))
        }

    def entities(self, series: Series, request: Request) -> Iterable[str]:
        """Return the entities to request a series of: assets, symbols, or "" for the market."""
        if series.scope is Scope.MARKET:
            return ("",)
        if series.scope is Scope.INSTRUMENT:
            return request.symbols or tuple(request.known)
        return self.config.assets or request.assets

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the source's id of an entity; None if the source does not have the entity."""
        known = {**self.ids, **self.config.ids}
        if series.scope is Scope.ASSET and self.only_ids:
            return known.get(entity)
        return known.get(entity, entity)

    def _path_of(self, metric: str) -> str | None:
        options = self.config.series.get(metric)
        return options.path if options else None

    def _as_configured(self, series: Series) -> Series:
        options = self.config.series.get(series.metric)
        if options is None:
            return series
        return replace(
            series,
            path=options.path or series.path,
            step=options.step or series.step,
            lag=options.lag or series.lag,
            factor=series.factor if options.factor is None else options.factor,
            extra={**series.extra, **options.extra},
        )

    def points(
        self, place: "Reader", *way: str | int, read: "Callable[[Reader], Point | None]"
    ) -> list[Point]:
        """Parse a list in a response into the points of one series.

        A row of an unexpected form is left out and reported as a problem of the fetch. If every
        row has an unexpected form, the series has no points, and the fetch raises that error after
        all other series.

        Args:
            place: a position in the response, such as ``response.read``.
            way: keys and indices from there to the list.
            read: parses one row; returns None for a row without a value.
        """
        from weft.sources.http.errors import SchemaChangedError  # noqa: PLC0415  # as in fetch

        try:
            return self.points_in(place.rows(*way), read)
        except SchemaChangedError as error:
            self._schema_error = self._schema_error or error
            return []

    def points_in(
        self, rows: "Sequence[Reader]", read: "Callable[[Reader], Point | None]"
    ) -> list[Point]:
        """Parse rows of one or several responses into points, with the rules of `points`."""
        from weft.sources.http.errors import SchemaChangedError  # noqa: PLC0415  # as in fetch
        from weft.sources.http.reader import read_rows  # noqa: PLC0415  # as in fetch

        try:
            return read_rows(rows, read, self._report_rows)
        except SchemaChangedError as error:
            self._schema_error = self._schema_error or error
            return []

    def _report_rows(self, line: str) -> None:
        # Several series parsed from one response may lose the same row.
        if line not in self._problems:
            self.tell(line)

    def tell(self, line: str, *, once: bool = False) -> None:
        """Report a problem of this fetch.

        Args:
            line: one sentence for the user.
            once: whether to leave the line out if this provider object reported it before.
        """
        if not once or line not in self._reported:
            self._reported.add(line)
            self._problems.append(line)

    def give_up(self, wanted: Iterable[Wanted], error: ProviderError) -> None:
        """Stop requesting some series: for a week if the plan lacks them, otherwise for a day.

        The reason is reported as a problem of this fetch and shown in the provider's status.
        """
        _, refused = self._refusals.setdefault(type(error), (error, []))
        until_offset = int(_refusal_seconds(error) * SECOND)
        for item in wanted:
            self._refused_until[self._refusal_name(item)] = item.until + until_offset
            refused.append(item)

    def _refusal_lines(self) -> Iterable[str]:
        for error, refused in self._refusals.values():
            seconds = _refusal_seconds(error)
            until = iso(max(wanted.until for wanted in refused) + int(seconds * SECOND))
            # Requests run concurrently: sorting makes the line independent of their order.
            names = sorted({f"{w.series.metric} {w.entity}".strip() for w in refused})
            subject = "one of these series: " if len(names) > 1 else ""
            line = (
                f"{', '.join(names)}: {subject}{error.message}; not requested again before "
                f"{until}, or until weft providers check {self.name}"
            )
            for wanted in refused:
                if self._http is not None:
                    self._http.note_refusal(self._refusal_name(wanted), line, seconds)
            yield line


def _refusal_seconds(error: ProviderError) -> float:
    from weft.sources.http.errors import NotCoveredError  # noqa: PLC0415  # as in fetch

    return _PLAN_LACKS_SECONDS if isinstance(error, NotCoveredError) else _REFUSED_SECONDS


_Row = tuple[str, str, str, int, int, float]
_GroupResult = tuple[Sequence[Wanted], Mapping[Wanted, list[Point]], ProviderError | None]


def _rows(points_of: Mapping[Wanted, list[Point]], now: int) -> list[_Row]:
    """Return the points that are known by now as rows of observations."""
    rows = []
    for wanted, points in points_of.items():
        series = wanted.series
        for point in points:
            known_at = point.event_time + series.lag_micros
            if point.known_at is not None:
                known_at = max(point.known_at, point.event_time)
            if known_at <= now and wanted.since <= point.event_time:
                value = point.value * series.factor
                rows.append(
                    (
                        series.metric,
                        series.scope.value,
                        wanted.entity,
                        point.event_time,
                        known_at,
                        value,
                    )
                )
    return rows


def _batch(rows: list[_Row]) -> Batch:
    import polars as pl  # noqa: PLC0415  # listing providers needs no frames

    names = ("metric", "scope", "entity", "event_time", "known_at", "value")
    if not rows:
        return Batch()
    frame = pl.DataFrame(rows, schema=list(names), orient="row")
    micros = pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC"))
    return Batch(observations=frame.sort(names[:-1]).with_columns(micros))
