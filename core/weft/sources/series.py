"""Providers of metrics: most APIs give series of numbers, and differ only in how each is asked for.

A module says which series there are, and how to read one; what is due, what to ask again because it
may have been restated, when a value became known, and what a failure means for the rest, is the
same for all and stands here.
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
"""How long a refusal is taken to stand: plans change rarely, and a new key is tried at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric as a source gives it.

    Attributes:
        metric: its canonical name (see `weft.domain.vocabulary`).
        path: what the source calls it: a path, a field or an id.
        step: distance of its values, such as ``1d``.
        lag: how long after the end of a step its value is known, such as ``3h``.
        scope: what it is a fact about.
        factor: what a value is multiplied by to get the canonical unit.
        extra: whatever else the module needs to ask for it.
        confirmed: whether the source is known to have it under this path; otherwise it is asked
            for only where the config names the path.
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
        """The step in microseconds."""
        return Interval.parse(self.step).micros

    @property
    def lag_micros(self) -> int:
        """The lag in microseconds."""
        return Interval.parse(self.lag).micros


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a series.

    Attributes:
        event_time: instant it is true at, microseconds since 1970: for a value of a day, the end
            of the day.
        value: in the source's unit.
        known_at: when it became known, where the source says so; None for the series' lag.
    """

    event_time: int
    value: float
    known_at: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A series to read, of one entity, over a span of time.

    Attributes:
        series: which one.
        entity: canonical name: ``BTC``, ``BTCUSDT``; empty for the market.
        own_id: what the source calls the entity.
        since: earliest event time wanted, microseconds since 1970.
        until: latest one that was there when the fetch began.
    """

    series: Series
    entity: str
    own_id: str
    since: int
    until: int


def _interval(text: str) -> str:
    return Interval.parse(text).name


class SeriesOptions(ComponentConfig):
    """What a config may say differently about one series. Left out is as built in."""

    path: str | None = None
    step: Annotated[str, AfterValidator(_interval)] | None = None
    lag: Annotated[str, AfterValidator(_interval)] | None = None
    factor: float | None = None
    extra: Mapping[str, Any] = Field(default_factory=dict)


class SeriesConfig(HttpConfig):
    """Options every provider of series has."""

    assets: tuple[str, ...] = Field(
        default=("BTC", "ETH"), description="what to ask about; empty for all that is traded"
    )
    metrics: tuple[str, ...] = Field(default=(), description="which to ask for; empty for all")
    series: Mapping[str, SeriesOptions] = Field(
        default_factory=dict, description="what this plan or API version calls a metric, by name"
    )
    ids: Mapping[str, str] = Field(
        default_factory=dict, description="the source's own ids of assets, beside those built in"
    )


class SeriesProvider(Provider):
    """Base of providers of metrics.

    Attributes:
        series: what the source gives.
        ids: the source's own ids of assets, where they are not the asset's name in upper case.
        only_ids: whether assets without an entry in `ids` are unknown to the source.
    """

    series: ClassVar[tuple[Series, ...]]
    ids: ClassVar[Mapping[str, str]] = {}
    only_ids: ClassVar[bool] = False

    class Config(SeriesConfig):
        """Options."""

    config: SeriesConfig

    @property
    def brings_candles(self) -> bool:
        """Whether it brings candles: not unless a subclass says so."""
        return False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if "series" in cls.__dict__:
            cls.metrics = tuple(dict.fromkeys(series.metric for series in cls.series))

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._given_up: dict[str, int] = {}
        self._http: Http | None = None
        self._options: str | None = None
        self._broken: ProviderError | None = None
        self._told: list[str] = []
        self._lacking: dict[type[ProviderError], tuple[ProviderError, list[Wanted]]] = {}
        self._told_before: set[str] = set()
        known = {series.metric for series in self.series}
        for metric in (*self.config.metrics, *self.config.series):
            if metric not in known:
                close = nearest(metric, sorted(known))
                raise ConfigError(
                    f"there is no metric {metric!r}; it brings {', '.join(sorted(known))}",
                    where=f"provider {self.name}",
                    hint=f"Did you mean {close}?" if close else None,
                )

    @abstractmethod
    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span, all pages of them, in any order.

        Values from before the span, and such as are not known yet, may be among them. What else
        there is to say goes to `tell`; a series that will not be had at all, to `give_up`. Rows are
        best read with `points`: one that is not as expected then costs itself alone.

        Raises:
            SourceError: it cannot be had.
        """

    async def begin(self, request: Request, http: "Http", clock: "Clock") -> None:
        """Learn what has to be known before it is settled what is due.

        Raises:
            SourceError: it cannot be had.
        """

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return what is asked for together: each alone, unless the source answers several."""
        return ([one] for one in wanted)

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of each of a group; for sources that answer several at once."""
        return {one: await self.read(http, one) for one in group}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield what is due of every series, and the last steps before it, asked again.

        A series that the plan does not cover, or an asset that the source does not know, is named
        once, and not asked for again for a day or a week, by later processes neither. Where the
        source itself fails, rows that came are yielded first.

        Raises:
            SourceError: the source failed, or a series came in another form than expected.
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
                group, found, error = await task
                rows += _rows(found, clock.now())
                if len(rows) >= _ROWS_A_BATCH:
                    yield _batch(rows)
                    rows = []
                if isinstance(error, NotCoveredError | UnlistedSymbolError | RefusedError):
                    self.give_up(group, error)
                elif error is not None:
                    failed = failed or error
                    if isinstance(error, UnauthorisedError | ForbiddenError):
                        # Every further request would say the same, and invite a ban.
                        break
        finally:
            for other in pending:
                other.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        if rows or self._told or self._lacking:
            yield replace(_batch(rows), problems=(*self._told, *self._given_up_lines()))
            self._told, self._lacking = [], {}
        failed, self._broken = failed or self._broken, None
        if failed is not None:
            raise failed

    async def _read(self, http: "Http", group: Sequence[Wanted]) -> "_Answered":
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
                own_id = self.own_id(series, entity)
                known = request.known_facts.get(key)
                step, lag = series.step_micros, series.lag_micros
                if own_id is None:
                    known = entity in self.ids or entity in self.config.ids
                    if self.only_ids and series.scope is Scope.ASSET and not known:
                        self.tell(f"{entity}: no id is known for it; set ids.{entity}", once=True)
                    continue
                again = request.since if known is None else known - _STEPS_ASKED_AGAIN * step
                one = Wanted(series, entity, own_id, again, now)
                is_due = known is None or known + step + lag <= now
                if is_due and not self._is_refused(one):
                    yield one

    def _is_refused(self, one: Wanted) -> bool:
        """Whether the source refused a series, now or in an earlier process, for longer."""
        name = self._refusal_name(one)
        if self._given_up.get(name, 0) > one.until:
            return True
        return self._http is not None and self._http.refusal(name) is not None

    def _refusal_name(self, one: Wanted) -> str:
        """Return the name of a series' standing refusal: with other options it is asked again."""
        if self._options is None:
            said = self.config.model_dump_json(exclude={"api_key"})
            self._options = hashlib.sha256(said.encode()).hexdigest()[:8]
        series = one.series
        return f"{series.metric} {series.scope} {one.entity} {series.path} {self._options}"

    def waiting(self) -> Mapping[str, str]:
        """Return metrics that are not asked for until the config says more, and why, for people."""
        return {
            series.metric: (
                f"its path is not documented publicly: set providers.{self.name}.series."
                f"{series.metric}.path"
            )
            for series in self.series
            if not (series.confirmed or self._path_of(series.metric))
        }

    def entities(self, series: Series, request: Request) -> Iterable[str]:
        """Return what a series is asked for about: assets, symbols, or the market."""
        if series.scope is Scope.MARKET:
            return ("",)
        if series.scope is Scope.INSTRUMENT:
            return request.symbols or tuple(request.known)
        return self.config.assets or request.assets

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return what the source calls an entity; None where it does not know it."""
        known = {**self.ids, **self.config.ids}
        if series.scope is Scope.ASSET and self.only_ids:
            return known.get(entity)
        return known.get(entity, entity)

    def _path_of(self, metric: str) -> str | None:
        own = self.config.series.get(metric)
        return own.path if own else None

    def _as_configured(self, series: Series) -> Series:
        own = self.config.series.get(series.metric)
        if own is None:
            return series
        return replace(
            series,
            path=own.path or series.path,
            step=own.step or series.step,
            lag=own.lag or series.lag,
            factor=series.factor if own.factor is None else own.factor,
            extra={**series.extra, **own.extra},
        )

    def points(
        self, place: "Reader", *way: str | int, read: "Callable[[Reader], Point | None]"
    ) -> list[Point]:
        """Return the points of one series, read row by row out of a list in an answer.

        A row that is not as expected is left out and named among the problems. Where no row is as
        expected the series has none, and the fetch ends with that error once all others are in.

        Args:
            place: in the answer.
            way: from there to the list.
            read: reads one row; returns None for a row without a value.
        """
        from weft.sources.http.errors import SchemaChangedError  # noqa: PLC0415  # as in fetch

        try:
            return self.points_in(place.rows(*way), read)
        except SchemaChangedError as error:
            self._broken = self._broken or error
            return []

    def points_in(
        self, rows: "Sequence[Reader]", read: "Callable[[Reader], Point | None]"
    ) -> list[Point]:
        """Return the points of one series, as `points` does, out of rows of one or more answers."""
        from weft.sources.http.errors import SchemaChangedError  # noqa: PLC0415  # as in fetch
        from weft.sources.http.reader import read_rows  # noqa: PLC0415  # as in fetch

        try:
            return read_rows(rows, read, self._lose)
        except SchemaChangedError as error:
            self._broken = self._broken or error
            return []

    def _lose(self, line: str) -> None:
        # Several series may be read out of one answer, and lose the same row.
        if line not in self._told:
            self.tell(line)

    def tell(self, line: str, *, once: bool = False) -> None:
        """Say something about what came, among the problems of this fetch.

        Args:
            line: for people.
            once: whether to leave it out where it was said before.
        """
        if not once or line not in self._told_before:
            self._told_before.add(line)
            self._told.append(line)

    def give_up(self, wanted: Iterable[Wanted], error: ProviderError) -> None:
        """Do not ask for some series again for a day, or a week where the plan lacks them.

        The reason is among the problems of this fetch, and stays in the provider's status.
        """
        _, refused = self._lacking.setdefault(type(error), (error, []))
        for one in wanted:
            self._given_up[self._refusal_name(one)] = one.until + int(
                _standing_seconds(error) * SECOND
            )
            refused.append(one)

    def _given_up_lines(self) -> Iterable[str]:
        for error, refused in self._lacking.values():
            seconds = _standing_seconds(error)
            until = iso(max(one.until for one in refused) + int(seconds * SECOND))
            # Sorted, for they were asked at once, and any may have been answered first.
            names = sorted({f"{one.series.metric} {one.entity}".strip() for one in refused})
            one_of = "of one of them, " if len(names) > 1 else ""
            line = (
                f"{', '.join(names)}: {one_of}{error.message}; not asked for again before {until}, "
                f"or until weft providers check {self.name}"
            )
            for one in refused:
                if self._http is not None:
                    self._http.note_refusal(self._refusal_name(one), line, seconds)
            yield line


def _standing_seconds(error: ProviderError) -> float:
    from weft.sources.http.errors import NotCoveredError  # noqa: PLC0415  # as in fetch

    return _PLAN_LACKS_SECONDS if isinstance(error, NotCoveredError) else _REFUSED_SECONDS


_Row = tuple[str, str, str, int, int, float]
_Answered = tuple[Sequence[Wanted], Mapping[Wanted, list[Point]], ProviderError | None]


def _rows(found: Mapping[Wanted, list[Point]], now: int) -> list[_Row]:
    """Return points as rows of observations, those alone that are known by now."""
    rows = []
    for wanted, points in found.items():
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
