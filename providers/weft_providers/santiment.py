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

_MESSAGES: Mapping[str, type[errors.SourceError]] = {
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
_LONGEST_MESSAGE = 200
_AGAIN = re.compile(r"[Tt]ry again in ([0-9]{1,9}) seconds")


def _classify(status: int, body: Any, _: Headers) -> type[errors.SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the error of an answer; errors have HTTP status 200, as a list or an object."""
    listed = (body or {}).get("errors") or []
    text = json.dumps(listed)
    if status in {400, 401} and "apikey" in text.lower():
        return errors.UnauthorisedError
    if status != 200 or not listed:
        return None
    if isinstance(listed, Mapping):
        return errors.UnavailableError
    # An error with a path concerns one query of several: `_parse_errors` reports it.
    has_paths = all(error.get("path") for error in listed)
    return None if has_paths else _error_class(text) or errors.RefusedError


def _waits(body: Any, _: Headers, __: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds to wait that a refusal names in its text."""
    seconds = _AGAIN.search(json.dumps(body["errors"]))
    return float(seconds[1]) if seconds else None


async def _ask_delays(http: "Http", now: int) -> dict[str, int]:
    """Return by how long the plan delays each metric, in microseconds; empty where unknown."""
    try:
        query = {"query": "{ getAccessRestrictions { name restrictedTo } }"}
        answer = await http.post("/graphql", json=query)
    except errors.RefusedError:
        return {}
    return {} if answer.read.has("errors") else _parse_delays(answer.read, now)


def _parse_delays(read: Reader, now: int) -> dict[str, int]:
    return {
        row.text("name"): now - row.instant("restrictedTo", unit="iso")
        for row in read.rows("data", "getAccessRestrictions")
        if row.has("restrictedTo")
    }


def _query(alias: str, one: Wanted, start: int, end: int, *, computed_at: bool) -> str:
    """Return the part of a GraphQL query that requests one series."""
    extra = one.series.extra
    version = f", version: {json.dumps(extra['version'])}" if "version" in extra else ""
    args = {"slug": one.own_id, "from": iso(start), "to": iso(end), "interval": one.series.step}
    parts = [f"{name}: {json.dumps(value)}" for name, value in args.items()]
    parts += [f"aggregation: {extra['aggregation']}"] if "aggregation" in extra else []
    parts += ["includeComputedAt: true"] if computed_at else []
    metric = f"getMetric(metric: {json.dumps(one.series.path)}{version})"
    return f"{alias}: {metric} {{ timeseriesDataJson({', '.join(parts)}) }}"


def _parse_errors(answer: HttpResponse) -> dict[str, errors.SourceError]:
    """Return the errors of the queries that failed, by alias.

    A plain `SourceError` stands for an unknown message, which may be temporary.
    """
    if not answer.read.has("errors"):
        return {}
    by_alias = {}
    for row in answer.read.rows("errors"):
        # Advice about plans follows in further paragraphs.
        first = row.text("message").strip().partition("\n")[0]
        message = answer.redact(" ".join(first.split()))[:_LONGEST_MESSAGE]
        by_alias[row.text("path", 0)] = (_error_class(message) or errors.SourceError)(message)
    return by_alias


def _error_class(text: str) -> type[errors.SourceError] | None:
    return next((kind for part, kind in _MESSAGES.items() if part in text), None)


_SLUGS = (
    "BTC:bitcoin ETH:ethereum BNB:binance-coin SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano "
    "AVAX:avalanche LINK:chainlink DOT:polkadot-new LTC:litecoin TRX:tron BCH:bitcoin-cash "
    "UNI:uniswap ATOM:cosmos NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe"
)
_LONG_STEPS, _SLACK_STEPS = 10, 3


def _daily(metric: str, path: str, lag: str = "2h", factor: float = 1.0) -> Series:
    return Series(metric=metric, path=path, lag=lag, factor=factor)


class Santiment(SeriesProvider):
    """Daily social, development and on-chain metrics: counts, shares, coins; inflow is positive.

    The value of a day is true at the end of the day. On-chain values settle within two hours, and
    Santiment adds late posts to social values for twelve hours: they count as known then, or later
    by the delay of the plan. Santiment may recompute social values for a month, and exchange flows
    when addresses get labels: history is as known today, not as known then. Social series have a
    version with a cut-off: ``series: {social_volume: {lag: 2h, extra: {version: "2.1"}}}``. In
    August 2026 Santiment called its development data unreliable for the time being.

    https://academy.santiment.net/for-developers/
    """

    name = "santiment"
    web = Api(
        base_url="https://api.santiment.net",
        key=HeaderKey("Authorization", "Apikey "),
        # Limits of the smallest plan; every query in a request counts.
        limits=(
            RateLimit(100, 60, remaining="x-ratelimit-remaining-minute"),
            RateLimit(500, 3600, remaining="x-ratelimit-remaining-hour"),
        ),
        classify=_classify,
        waits=_waits,
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
        # Its name is balance; its value is a flow.
        _daily("exchange_netflow", "exchange_balance"),
    )

    class Config(SeriesConfig):
        """Options."""

        queries_per_request: int = Field(
            default=10, ge=1, le=50, description="series in one request; each counts as a call"
        )
        page_size: int = Field(default=1_000, ge=2, description="values of a series in one answer")
        known_when_computed: bool = Field(
            default=False, description="count a value as known when it was last computed"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._delays: dict[str, int] | None = None
        self._cut: set[tuple[str, int]] = set()

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the slug of an asset."""
        slug = super().own_id(series, entity)
        return slug and slug.lower()

    def _as_configured(self, series: Series) -> Series:
        series = super()._as_configured(series)
        delay = (self._delays or {}).get(series.path, 0)
        return replace(series, lag=f"{-(-delay // HOUR)}h") if delay > series.lag_micros else series

    async def begin(self, request: Request, http: "Http", clock: Clock) -> None:
        """Ask once by how long the plan delays each metric."""
        if self._delays is None and any(self._wanted(request, clock.now())):
            await self._note_delays(http, clock.now())

    async def _note_delays(self, http: "Http", now: int) -> None:
        """Remember the delays of the plan, and name the metrics it delays."""
        chosen = self.config.metrics or self.metrics
        metrics = {self._as_configured(s).path: s.metric for s in self.series if s.metric in chosen}
        self._delays = delays = await _ask_delays(http, now)
        late = {metric: delays[path] / DAY for path, metric in metrics.items() if path in delays}
        if late:
            line = f"the plan delays {', '.join(late)} by up to {max(late.values()):.0f} days"
            self.tell(f"{line}; they count as known that much later")

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return series of one step and span together, up to `queries_per_request` of them."""
        same_span: dict[object, list[Wanted]] = {}
        for one in wanted:
            same_span.setdefault((one.series.step, one.since), []).append(one)
        size = self.config.queries_per_request
        return [
            same[at : at + size] for same in same_span.values() for at in range(0, len(same), size)
        ]

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span."""
        return (await self.read_group(http, [wanted])).get(wanted, [])

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> dict[Wanted, list[Point]]:
        """Return the values of the series that Santiment does not refuse, page by page."""
        values: dict[Wanted, list[Point]] = {one: [] for one in group}
        step, until = group[0].series.step_micros, group[0].until
        # A value is stamped with the start of its span.
        first = -(-(group[0].since - step) // step) * step
        for start in range(first, until, self.config.page_size * step):
            end = min(start + self.config.page_size * step, until) - SECOND
            aliases = {f"q{index}": one for index, one in enumerate(values)}
            computed_at = self.config.known_when_computed
            queries = [
                _query(alias, one, start, end, computed_at=computed_at)
                for alias, one in aliases.items()
            ]
            query = {"query": f"{{ {' '.join(queries)} }}"}
            answer = await http.post("/graphql", json=query, cost=len(queries))
            page = self._parse_page(answer, aliases)
            values = {one: values[one] + points for one, points in page.items()}
            if not values:
                break
        for one, points in values.items():
            self._note_cut(one, first, points)
        return values

    def _parse_page(
        self, answer: HttpResponse, aliases: Mapping[str, Wanted]
    ) -> dict[Wanted, list[Point]]:
        """Return the values of the queries that did not fail, and note the errors of the others."""
        failed = _parse_errors(answer)
        values = {}
        for alias, one in aliases.items():
            if alias not in failed:
                place = answer.read.at("data", alias)
                parse = partial(self._parse_row, one.series)
                values[one] = self.points(place, "timeseriesDataJson", read=parse)
            elif type(failed[alias]) is errors.SourceError:
                self.tell(f"{one.series.metric} {one.entity}: {failed[alias].message}")
            else:
                self.give_up([one], failed[alias])
        return values

    def _parse_row(self, series: Series, row: Reader) -> Point | None:
        if row.at("value").value is None:
            return None
        end = row.instant("datetime", unit="iso") + series.step_micros
        known_at = end + series.lag_micros
        if self.config.known_when_computed and row.has("computedAt"):
            known_at = max(known_at, row.instant("computedAt", unit="iso"))
        return Point(end, row.number("value"), known_at)

    def _note_cut(self, one: Wanted, first: int, points: Sequence[Point]) -> None:
        """Note where values cover less than the request: Santiment does not report that."""
        step, name = one.series.step_micros, f"{one.series.metric} {one.entity}"
        if not points:
            if one.until - one.since > _LONG_STEPS * step:
                absent = errors.NotCoveredError("no values at all; its chain may not be covered")
                self.give_up([one], absent)
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
                    f"{name}: values only {text}, requested from {iso(first)} to {iso(one.until)}; "
                    "the plan cuts history, or the asset is younger or gone"
                )
