"""Santiment: GraphQL at one path; errors of a query have status 200.

Buckets are stamped with their start, and appear after their computation. Restricted plans cut the
result silently, and refuse only a span entirely outside their history.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from weft.foundation.times import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    YEAR,
    Interval,
    TimeError,
    iso,
    parse_time,
)
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import Coin
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem
from weft_sandbox.protocols._graphql import Field, parse

_SETTLED, _SOCIAL = 90 * MINUTE, 20 * MINUTE
_FREE_HISTORY, _FREE_LAG = 365 * DAY, 30 * DAY
_MOST_COMPLEX, _PLAN_FACTOR = 50_000, 5
_SLUGS = {
    "BNB": "binance-coin",
    "DOT": "polkadot-new",
    "NEAR": "near-protocol",
    "BCH": "bitcoin-cash",
}
_AGGREGATIONS = ["SUM", "AVG", "MEDIAN", "FIRST", "LAST", "MAX", "MIN", "ANY", "OHLC"]
_ON_ETHEREUM = ("BTC", "ETH", "LINK", "UNI", "AAVE", "PEPE", "LTC", "DOGE", "BCH", "XRP", "BNB")


@dataclass(frozen=True, slots=True)
class _Metric:
    """One metric: its series with a factor, and the allowed parameters."""

    series: str
    factor: float = 1.0
    least: str = "5m"
    delay: int = _SETTLED
    restricted: bool = True
    everywhere: bool = False


_METRICS = {
    "social_volume_total": _Metric("social_volume", delay=_SOCIAL, everywhere=True),
    "social_dominance_total": _Metric("social_dominance", 100.0, delay=_SOCIAL, everywhere=True),
    "dev_activity": _Metric("developer_activity", restricted=False, everywhere=True),
    "dev_activity_1d": _Metric("developer_activity", 1.0, "1d", restricted=False, everywhere=True),
    "whale_transaction_count_100k_usd_to_inf": _Metric("whale_transfers"),
    "whale_transaction_count_1m_usd_to_inf": _Metric("whale_transfers", 0.15),
    "age_consumed": _Metric("age_consumed"),
    "mean_age": _Metric("mean_coin_age", 1.0, "1d"),
    "mvrv_usd": _Metric("mvrv", 1.0, "1d"),
    "exchange_inflow": _Metric("exchange_inflow"),
    "exchange_outflow": _Metric("exchange_outflow"),
    "exchange_balance": _Metric("exchange_netflow"),
    "marketcap_usd": _Metric("market_cap_usd", restricted=False, everywhere=True),
}


class _Refused(Exception):  # noqa: N818  # reported in a body with status 200
    """An error of one field of a query."""


_ERRORS = {
    Problem.BAD_KEY: (400, "Apikey is not valid"),
    Problem.EXPIRED_KEY: (400, "Apikey is not valid"),
    Problem.NOT_FOUND: (404, "Not found"),
    Problem.RATE_LIMITED: (429, "API Rate Limit Reached. Try again in {0} seconds ({0} s)"),
    Problem.BANNED: (429, "API Rate Limit Reached. Try again in {0} seconds ({0} s)"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _ERRORS.get(problem, (500, "Internal server error"))
    headers = {"x-ratelimit-reset": detail} if status == 429 else {}
    return Answer({"errors": {"details": text.format(detail)}}, status, headers)


def _headers(meters: Mapping[str, Any]) -> Mapping[str, str]:
    limits = {f"x-ratelimit-limit-{name}": str(m.amount) for name, m in meters.items()}
    left = {f"x-ratelimit-remaining-{name}": str(m.left) for name, m in meters.items()}
    minute = str(meters["minute"].amount), str(meters["minute"].left)
    return {**limits, **left, "x-ratelimit-limit": minute[0], "x-ratelimit-remaining": minute[1]}


api = Api(
    "santiment",
    errors=_errors,
    key=Key(header="Authorization", required=False),
    budgets=(
        Budget("month", 600_000, 30 * 86_400),
        Budget("hour", 30_000, 3_600),
        Budget("minute", 600, 60),
    ),
    headers=_headers,
)


def _asked(ask: Ask) -> list[Field]:
    try:
        body = orjson.loads(ask.body)
        return parse(body["query"], body.get("variables") or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _calls(ask: Ask) -> int:
    return max(len(_asked(ask)), 1)


@api.get("/graphql", methods=("POST",), costs={"month": _calls, "hour": _calls, "minute": _calls})
def graphql(ask: Ask) -> Json:
    """Answer any query."""
    fields = _asked(ask)
    if not fields:
        return Answer({"errors": [{"message": "syntax error", "locations": []}]}, 400)
    weight = sum(_complexity(ask, node) for node in fields)
    if weight > _MOST_COMPLEX:
        text = f"Operation is too complex: complexity is {weight} and maximum is {_MOST_COMPLEX}"
        return {"errors": [{"message": text, "locations": []}]}
    data, errors = {}, []
    for node in fields:
        try:
            data[node.alias] = _resolve(ask, node)
        except _Refused as refused:
            data[node.alias] = None
            path = {"path": [node.alias], "locations": [{"line": 1, "column": 3}]}
            errors.append({"message": str(refused), **path})
    return {"data": data, **({"errors": errors} if errors else {})}


def _resolve(ask: Ask, node: Field) -> Json:
    match node.name:
        case "getMetric":
            return _metric(ask, node)
        case "getAvailableMetrics":
            return list(_METRICS)
        case "getAccessRestrictions":
            return [_picked(_access(ask, name), node) for name in _METRICS]
        case "projectBySlug":
            coin = _coin(ask, node.arguments.get("slug"))
            return _picked(_project(coin), node)
        case "allProjects":
            size, page = node.arguments.get("pageSize", 100), node.arguments.get("page", 1)
            coins = ask.world.coins[(page - 1) * size : page * size]
            return [_picked(_project(coin), node) for coin in coins]
        case _:
            raise _Refused(f'Cannot query field "{node.name}" on type "RootQueryType".')


def _metric(ask: Ask, node: Field) -> Json:
    name = node.arguments.get("metric")
    metric = _METRICS.get(str(name))
    if metric is None:
        raise _Refused(f"The metric '{name}' is not supported, is deprecated or is mistyped.")
    content: dict[str, Json] = {}
    for inner in node.inner:
        match inner.name:
            case "timeseriesDataJson" | "timeseriesData":
                content[inner.alias] = _rows(ask, metric, inner)
            case "metadata":
                about = {
                    "availableAggregations": _AGGREGATIONS,
                    "availableSelectors": ["SLUG"],
                    "availableSlugs": [_slug(c) for c in ask.world.coins if _covers(metric, c)],
                    "availableVersions": [{"version": "1.0"}],
                    "dataType": "TIMESERIES",
                    "defaultAggregation": "SUM",
                    "minInterval": metric.least,
                }
                content[inner.alias] = _picked(about, inner)
            case "availableSince":
                content[inner.alias] = iso(_coin(ask, inner.arguments.get("slug")).listed)
            case "lastDatetimeComputedAt":
                content[inner.alias] = iso(ask.now // HOUR * HOUR)
            case _:
                raise _Refused(f'Cannot query field "{inner.name}" on type "Metric".')
    return content


def _rows(ask: Ask, metric: _Metric, node: Field) -> list[Json]:
    given = node.arguments
    coin = _coin(ask, given.get("slug") or (given.get("selector") or {}).get("slug"))
    step = _step(given.get("interval", "1d"))
    if step < Interval.parse(metric.least).micros:
        raise _Refused(f"The metric's min interval is {metric.least}.")
    since, until = _instant(ask, given.get("from")), _instant(ask, given.get("to"))
    if _is_restricted(ask) and metric.restricted:
        oldest, newest = ask.now - _FREE_HISTORY, ask.now - _FREE_LAG
        if until < oldest or since > newest:
            raise _Refused(
                "Both `from` and `to` parameters are outside the allowed interval you can query "
                f"with your current subscription. Allowed time restrictions: {iso(oldest)} - "
                f"{iso(newest)}"
            )
        since, until = max(since, oldest), min(until, newest - step)
    if not _covers(metric, coin):
        return []
    first = -(-max(since, coin.listed) // step) * step
    last = min(until, ask.now - step - metric.delay)
    starts = np.arange(first, last + 1, step)
    values = ask.world.series(metric.series, coin.name, starts + step) * metric.factor
    rows = []
    for start, value in zip(starts.tolist(), values.tolist(), strict=True):
        # Some values are missing for ever.
        content = None if start // DAY % 47 == 13 else value
        row = {"datetime": iso(start), "value": content}
        if given.get("includeComputedAt"):
            row["computedAt"] = iso((start + step + metric.delay) // SECOND * SECOND)
        rows.append(row)
    return rows


def _complexity(ask: Ask, node: Field) -> int:
    weight = 0.0
    for inner in node.inner:
        if inner.name.startswith("timeseries"):
            try:
                since, until = (_instant(ask, inner.arguments.get(n)) for n in ("from", "to"))
                points = (until - since) / _step(inner.arguments.get("interval", "1d"))
            except _Refused:
                continue
            weight += max(points, 0) * 2 * max((until - since) / YEAR, 1)
    return int(weight / _PLAN_FACTOR)


def _step(text: Any) -> int:  # noqa: ANN401  # JSON, in the form the contract fixes
    try:
        return Interval.parse(str(text)).micros
    except TimeError:
        raise _Refused(f"The interval {text} is not valid.") from None


def _instant(ask: Ask, text: Any) -> int:  # noqa: ANN401  # JSON, in the form the contract fixes
    relative = re.fullmatch(r"utc_now(?:-(\d+[smhdw]))?", str(text))
    try:
        if relative:
            return ask.now - (Interval.parse(relative[1]).micros if relative[1] else 0)
        return parse_time(str(text))
    except TimeError:
        raise _Refused(f"Argument has invalid value {text!r}.") from None


def _slug(coin: Coin) -> str:
    return _SLUGS.get(coin.name, coin.title.lower())


def _coin(ask: Ask, slug: Any) -> Coin:  # noqa: ANN401  # JSON, in the form the contract fixes
    for coin in ask.world.coins:
        if _slug(coin) == slug:
            return coin
    raise _Refused(f'The slug "{slug}" is not an existing slug.')


def _covers(metric: _Metric, coin: Coin) -> bool:
    return metric.everywhere or coin.name in _ON_ETHEREUM


def _is_restricted(ask: Ask) -> bool:
    return ask.key is None or ask.key.startswith("free")


def _access(ask: Ask, name: str) -> dict[str, Json]:
    metric = _METRICS[name]
    restricted = _is_restricted(ask) and metric.restricted
    return {
        "name": name,
        "type": "metric",
        "isAccessible": True,
        "isRestricted": restricted,
        "restrictedFrom": iso((ask.now - _FREE_HISTORY) // SECOND * SECOND) if restricted else None,
        "restrictedTo": iso((ask.now - _FREE_LAG) // SECOND * SECOND) if restricted else None,
        "minInterval": metric.least,
        "isDeprecated": False,
    }


def _project(coin: Coin) -> dict[str, Json]:
    return {"id": coin.name, "slug": _slug(coin), "name": coin.title, "ticker": coin.name}


def _picked(row: Mapping[str, Json], node: Field) -> dict[str, Json]:
    return {inner.alias: row.get(inner.name) for inner in node.inner}
