"""Social, development and on-chain metrics from Santiment, several in one GraphQL request."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Request
from weft.foundation.clock import Clock
from weft.foundation.times import DAY, HOUR, SECOND, iso
from weft.sources.http import Api, HeaderKey, HttpResponse, RateLimit, Reader, errors
from weft.sources.http.api import Headers
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http

_SAID: Mapping[str, type[errors.SourceError]] = {
    "not an existing slug": errors.UnlistedSymbolError,
    "outside the allowed interval": errors.NotCoveredError,
    "not accessible with the currently used": errors.NotCoveredError,
    "not included in the currently used": errors.NotCoveredError,
    "alpha phase": errors.NotCoveredError,
    "beta phase": errors.NotCoveredError,
    "alpha/beta phase": errors.NotCoveredError,
    "is not supported": errors.RefusedError,
    "too complex": errors.RefusedError,
}
_MOST_TOLD = 200
_AGAIN = re.compile(r"[Tt]ry again in ([0-9]{1,9}) seconds")


def meaning(status: int, body: Any, _: Headers) -> type[errors.SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return what an answer stands for; errors come with HTTP 200, as a list or an object."""
    told = (body or {}).get("errors") or []
    text = json.dumps(told)
    if status in {400, 401} and "apikey" in text.lower():
        return errors.UnauthorisedError
    if status != 200 or not told:
        return None
    if isinstance(told, Mapping):
        return errors.UnavailableError
    # What is wrong with a single query costs the others nothing, and is told where it is read.
    alone = all(error.get("path") for error in told)
    return None if alone else _kind(text) or errors.RefusedError


def waits(body: Any, _: Headers, __: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds that a refusal names in its text."""
    told = _AGAIN.search(json.dumps(body["errors"]))
    return float(told[1]) if told else None


async def held_back(http: "Http", now: int) -> dict[str, int]:
    """Return how long the plan holds which metrics back, in microseconds; empty if unknown."""
    try:
        query = {"query": "{ getAccessRestrictions { name restrictedTo } }"}
        answer = await http.post("/graphql", json=query)
    except errors.RefusedError:
        return {}
    if answer.read.has("errors"):
        return {}
    return {
        row.text("name"): now - row.instant("restrictedTo", unit="iso")
        for row in answer.read.rows("data", "getAccessRestrictions")
        if row.has("restrictedTo")
    }


def timeseries(alias: str, one: Wanted, start: int, end: int, *, computed_at: bool) -> str:
    """Return the part of a query that asks for one series."""
    extra = one.series.extra
    version = f", version: {json.dumps(extra['version'])}" if "version" in extra else ""
    given = {"slug": one.own_id, "from": iso(start), "to": iso(end), "interval": one.series.step}
    parts = [f"{name}: {json.dumps(value)}" for name, value in given.items()]
    parts += [f"aggregation: {extra['aggregation']}"] if "aggregation" in extra else []
    parts += ["includeComputedAt: true"] if computed_at else []
    metric = f"getMetric(metric: {json.dumps(one.series.path)}{version})"
    return f"{alias}: {metric} {{ timeseriesDataJson({', '.join(parts)}) }}"


def refused(answer: HttpResponse) -> dict[str, errors.SourceError]:
    """Return what is wrong with the queries that failed, by alias.

    A plain `SourceError` says nothing about whether asking again would help.
    """
    if not answer.read.has("errors"):
        return {}
    found = {}
    for row in answer.read.rows("errors"):
        # Advice about plans follows in further paragraphs.
        first = row.text("message").strip().partition("\n")[0]
        told = answer.redact(" ".join(first.split()))[:_MOST_TOLD]
        found[row.text("path", 0)] = (_kind(told) or errors.SourceError)(told)
    return found


def _kind(text: str) -> type[errors.SourceError] | None:
    return next((kind for part, kind in _SAID.items() if part in text), None)


_SLUGS = (
    "BTC:bitcoin ETH:ethereum BNB:binance-coin SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano "
    "AVAX:avalanche LINK:chainlink DOT:polkadot-new LTC:litecoin TRX:tron BCH:bitcoin-cash "
    "UNI:uniswap ATOM:cosmos NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe"
)
_LONG_STEPS, _SLACK_STEPS = 10, 3


def _daily(metric: str, path: str, lag: str = "2h", factor: float = 1.0) -> Series:
    return Series(metric=metric, path=path, lag=lag, factor=factor)


class Santiment(SeriesProvider):
    """What is said and built and moved: counts of a day, shares, coins; plus is in, minus out.

    A value of a day is true at the day's end. On-chain ones settle within two hours, and late
    posts are added to social ones for twelve: then they count as known, later where the plan
    holds them back. Social values may be computed anew for a month, and exchange flows as
    addresses get labels: pulled history is not what was known then. Social series have a form
    with a cut-off: ``series: {social_volume: {lag: 2h, extra: {version: "2.1"}}}``. In August 2026
    the vendor called its development data unreliable for the time being.

    https://academy.santiment.net/for-developers/
    """

    name = "santiment"
    web = Api(
        base_url="https://api.santiment.net",
        key=HeaderKey("Authorization", "Apikey "),
        # Of the smallest plan; every query in a request counts.
        limits=(
            RateLimit(100, 60, remaining="x-ratelimit-remaining-minute"),
            RateLimit(500, 3600, remaining="x-ratelimit-remaining-hour"),
        ),
        classify=meaning,
        waits=waits,
    )
    ids = dict(pair.split(":") for pair in _SLUGS.split())  # noqa: RUF012  # read only
    series = (
        _daily("social_volume", "social_volume_total", "12h"),
        _daily("social_dominance", "social_dominance_total", "12h", 0.01),
        _daily("dev_activity", "dev_activity", "4h"),
        _daily("large_transactions", "whale_transaction_count_100k_usd_to_inf"),
        _daily("whale_transactions", "whale_transaction_count_1m_usd_to_inf"),
        _daily("age_consumed", "age_consumed"),
        _daily("mean_coin_age", "mean_age"),
        _daily("mvrv", "mvrv_usd"),
        _daily("exchange_inflow", "exchange_inflow"),
        _daily("exchange_outflow", "exchange_outflow"),
        # Called a balance, and a flow.
        _daily("exchange_netflow", "exchange_balance"),
    )

    class Config(SeriesConfig):
        """Options."""

        queries_per_request: int = Field(
            default=10, ge=1, le=50, description="series asked for at once; each counts as a call"
        )
        page_size: int = Field(default=1_000, ge=2, description="values of a series in one answer")
        known_when_computed: bool = Field(
            default=False, description="count a value as known no sooner than it was last computed"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._held_back: dict[str, int] | None = None
        self._cut: set[tuple[str, int]] = set()

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the slug of an asset."""
        own = super().own_id(series, entity)
        return own and own.lower()

    def _as_configured(self, series: Series) -> Series:
        own = super()._as_configured(series)
        held = (self._held_back or {}).get(own.path, 0)
        return replace(own, lag=f"{-(-held // HOUR)}h") if held > own.lag_micros else own

    async def begin(self, request: Request, http: "Http", clock: Clock) -> None:
        """Learn once what the plan holds back."""
        if self._held_back is None and any(self._wanted(request, clock.now())):
            await self._ask_access(http, clock.now())

    async def _ask_access(self, http: "Http", now: int) -> None:
        """Learn how long the plan holds which metrics back, and tell it."""
        chosen = self.config.metrics or self.metrics
        ours = {self._as_configured(s).path: s.metric for s in self.series if s.metric in chosen}
        self._held_back = held = await held_back(http, now)
        late = {metric: held[path] / DAY for path, metric in ours.items() if path in held}
        if late:
            told = f"the plan holds back {', '.join(late)}, up to {max(late.values()):.0f} days"
            self.tell(f"{told}; they count as known that much later")

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return what is asked for together: series of one step and span, so many at once."""
        together: dict[object, list[Wanted]] = {}
        for one in wanted:
            together.setdefault((one.series.step, one.since), []).append(one)
        size = self.config.queries_per_request
        return [
            same[at : at + size] for same in together.values() for at in range(0, len(same), size)
        ]

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span."""
        return (await self.read_group(http, [wanted])).get(wanted, [])

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> dict[Wanted, list[Point]]:
        """Return the values of those that were not refused, in pieces that are not too complex."""
        found: dict[Wanted, list[Point]] = {one: [] for one in group}
        step, until = group[0].series.step_micros, group[0].until
        # Values are stamped with the start of what they cover.
        first = -(-(group[0].since - step) // step) * step
        for start in range(first, until, self.config.page_size * step):
            end = min(start + self.config.page_size * step, until) - SECOND
            asked = {f"q{index}": one for index, one in enumerate(found)}
            computed_at = self.config.known_when_computed
            queries = [
                timeseries(a, o, start, end, computed_at=computed_at) for a, o in asked.items()
            ]
            query = {"query": f"{{ {' '.join(queries)} }}"}
            answer = await http.post("/graphql", json=query, cost=len(queries))
            failed = refused(answer)
            for alias, one in asked.items():
                if alias not in failed:
                    place = answer.read.at("data", alias)
                    read = partial(self._point, one.series)
                    found[one] += self.points(place, "timeseriesDataJson", read=read)
                elif type(failed[alias]) is errors.SourceError:
                    self.tell(f"{one.series.metric} {one.entity}: {failed[alias].message}")
                else:
                    self.give_up([one], failed[alias])
            found = {one: found[one] for alias, one in asked.items() if alias not in failed}
            if not found:
                break
        for one, points in found.items():
            self._note_cut(one, first, points)
        return found

    def _point(self, series: Series, row: Reader) -> Point | None:
        if row.at("value").value is None:
            return None
        end = row.instant("datetime", unit="iso") + series.step_micros
        known_at = end + series.lag_micros
        if self.config.known_when_computed and row.has("computedAt"):
            known_at = max(known_at, row.instant("computedAt", unit="iso"))
        return Point(end, row.number("value"), known_at)

    def _note_cut(self, one: Wanted, first: int, points: Sequence[Point]) -> None:
        """Tell where less came than was asked for: neither plan nor chain says so by itself."""
        step, name = one.series.step_micros, f"{one.series.metric} {one.entity}"
        if not points:
            if one.until - one.since > _LONG_STEPS * step:
                none = errors.NotCoveredError("no values at all; its chain may not be covered")
                self.give_up([one], none)
            return
        times = [point.event_time for point in points]
        begin, end = min(times), max(times)
        missing = {
            f"from {iso(begin)} on": begin - step - first,
            f"up to {iso(end)}": one.until - one.series.lag_micros - end,
        }
        for side, (text, gap) in enumerate(missing.items()):
            if gap > _SLACK_STEPS * step and (name, side) not in self._cut:
                self._cut.add((name, side))
                self.tell(
                    f"{name}: came only {text}, though asked for {iso(first)} to {iso(one.until)}; "
                    "the plan cuts it, or the asset is younger or gone"
                )
