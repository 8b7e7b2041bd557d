"""Artemis: several metrics of several assets in one response, errors as texts instead of values.

Commits and developers have the paths of the older host; the form of those responses is not
documented publicly, and assumed to equal that of all others.
"""

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_WEEK = 7 * DAY
_READY = 6 * HOUR
"""Time from the end of a day to the publication of its value."""
_METRICS = {
    "FEES": ("fees", "Fees", "USD"),
    "REVENUE": ("revenue", "Revenue", "USD"),
    "DAU": ("active_addresses", "Daily active users", "count"),
    "DAILY_TXNS": ("transactions", "Daily transactions", "count"),
    "TVL": ("tvl", "Total value locked", "USD"),
    "MC": ("", "Market cap", "USD"),
    "PRICE": ("", "Price", "USD"),
}
_WITHOUT_REVENUE = {"BTC", "LTC", "DOGE"}
_UNKNOWN = "Metric not found."
_UNAVAILABLE = "Metric not available for asset."


def _errors(problem: Problem, detail: str) -> Answer:
    status = {
        Problem.BAD_PARAMETER: 422,
        Problem.NOT_FOUND: 404,
        Problem.PLAN: 403,
        Problem.RATE_LIMITED: 429,
        Problem.SERVER: 500,
    }.get(problem, 401)
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"detail": f"{problem} {detail}".strip()}, status, wait)


api = Api(
    "artemis",
    errors=_errors,
    key=Key(header="X-API-Key", query="APIKey"),
    budgets=(Budget("minute", 300, 60),),
)


@api.get("/data/api/{metrics}/", plan=True)
def data(ask: Ask) -> Json:
    """Return the days of metrics of assets, oldest first."""
    if ask.text("granularity", "DAY") != "DAY":
        raise Refusal(Problem.BAD_PARAMETER, "granularity")
    limit = ask.integer("limit", 1_000, 1, 1_000)
    ask.text("startDate")
    ask.text("endDate")
    ready = (ask.now - _READY) // DAY * DAY
    since = max(ask.instant("startDate", 0, unit=None), OPENING)
    until = min(ask.instant("endDate", 0, unit=None) + DAY, ready)
    days = np.arange(since // DAY * DAY, until, DAY)[:limit]
    content = {
        symbol: {metric: _values(ask, symbol, metric, days) for metric in _listed(ask)}
        for symbol in ask.text("symbols").split(",")
    }
    return {"data": {"symbols": content}}


def _listed(ask: Ask) -> list[str]:
    return ask.path["metrics"].split(",")


def _values(ask: Ask, symbol: str, metric: str, days: Times) -> Json:
    coin, known = symbol.upper(), _METRICS.get(metric.upper())
    if known is None:
        return _UNKNOWN
    if coin not in ask.world.coin or (metric.upper() == "REVENUE" and coin in _WITHOUT_REVENUE):
        return _UNAVAILABLE
    ends = days + DAY
    values: Floats = ask.world.series(known[0], coin, ends) if known[0] else _worth(ask, coin, ends)
    if metric.upper() == "PRICE":
        values = values / ask.world.coin[coin].supply
    return [
        # Some days are missing.
        {"date": iso(day)[:10], "val": None if day // DAY % 41 == 0 else value}
        for day, value in zip(days.tolist(), values.tolist(), strict=True)
    ]


def _worth(ask: Ask, name: str, times: Times) -> Floats:
    coin = ask.world.coin[name]
    ticks = [ask.world.price(REFERENCE, coin, time) for time in times.tolist()]
    return np.array(ticks) * coin.tick * coin.supply


@api.get("/asset/symbols/")
def symbols(ask: Ask) -> Json:
    """Return the assets."""
    return {
        "assets": [
            {
                "artemis_id": coin.title.lower(),
                "symbol": coin.name.lower(),
                "title": coin.title,
                "coingecko_id": None,
                "color": "#123456",
            }
            for coin in ask.world.coins
        ]
    }


@api.get("/supported-metrics/")
def supported(ask: Ask) -> Json:
    """Return the metrics of an asset, with units."""
    if ask.text("symbol").upper() not in ask.world.coin:
        raise Refusal(Problem.NOT_FOUND)
    return {
        "metrics": [
            {key: {"label": label, "unit": unit, "source": "Artemis", "tags": []}}
            for key, (_, label, unit) in _METRICS.items()
        ]
    }


def weekly(ask: Ask, name: str, scale: float) -> Json:
    """Return the complete weeks of a series of an ecosystem, by their first day, oldest first."""
    coin, days = ask.text("ecosystem").upper(), ask.integer("daysBack", 90, 1, 10_000)
    ask.text("includeForks", "false", ("true", "false"))
    if coin not in ask.world.coin:
        raise Refusal(Problem.NOT_FOUND)
    first = max(ask.now - days * DAY, OPENING)
    begins = np.arange(-(-first // _WEEK) * _WEEK, ask.now - _READY - _WEEK + 1, _WEEK)
    values = np.rint(ask.world.series(name, coin, begins + _WEEK) * scale)
    rows = zip(begins.tolist(), values.tolist(), strict=True)
    return {"data": [{"date": iso(begin)[:10], "val": value} for begin, value in rows]}


@api.get("/weekly-commits", plan=True)
def commits(ask: Ask) -> Json:
    """Return the commits to an ecosystem's repositories."""
    return weekly(ask, "developer_activity", 4.0)


@api.get("/weekly-active-devs", plan=True)
def developers(ask: Ask) -> Json:
    """Return the developers of an ecosystem's repositories."""
    return weekly(ask, "developer_activity", 0.5)
