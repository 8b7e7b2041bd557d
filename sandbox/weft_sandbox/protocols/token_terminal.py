"""Token Terminal: daily fundamentals of projects, newest first; valid columns beside errors.

The row of a day appears at 06:00 UTC of the next day, without a part of its chains until 12:00.
"""

from typing import Any

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR
from weft_sandbox.limits import Budget
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal, iso_millis

METRICS = {
    "fees": "Fees",
    "revenue": "Revenue",
    "tvl": "Total value locked",
    "user_dau": "Active users (daily)",
    "pf_circulating": "P/F ratio (circulating)",
    "ps_circulating": "P/S ratio (circulating)",
    "market_cap_circulating": "Market cap (circulating)",
}
RENAMED = {"avalanche-c-chain": "avalanche"}
_APPEARS, _SETTLED = 6 * HOUR, 12 * HOUR
_WITHOUT = frozenset({"DOGE", "LTC", "BCH", "PEPE"})
_TOLD = {
    Problem.BAD_PARAMETER: (400, "Invalid parameter {}"),
    Problem.NOT_FOUND: (404, "Not found"),
    Problem.PLAN: (402, "Your subscription does not include this route"),
    Problem.RATE_LIMITED: (429, "Too many requests"),
    Problem.BANNED: (429, "Too many requests"),
    Problem.SERVER: (500, "Internal server error"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _TOLD.get(problem, (403, "Missing or invalid API key"))
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"message": text.format(detail)}, status, wait)


api = Api(
    "token_terminal",
    errors=_errors,
    key=Key(header="Authorization"),
    budgets=(Budget("minute", 60, 60),),
)


def values(world: World, metric: str, coin: Coin, ends: Times) -> Floats:
    """Return a metric of days in the API's unit, by the ends of the days."""
    match metric:
        case "fees" | "revenue" | "tvl":
            return world.series(metric, coin.name, ends)
        case "user_dau":
            return np.rint(world.series("active_addresses", coin.name, ends))
        case "market_cap_circulating":
            grid = Grid.of("1d")
            first, last = int(ends[0]) - DAY, int(ends[-1])
            bars = world.candles(REFERENCE, coin, grid, first, last, last)
            closes = np.interp(ends - DAY, bars.open_time, bars.close)
            return np.asarray(closes * coin.tick * coin.supply)
    middle = 60.0 if metric == "pf_circulating" else 150.0
    return np.asarray(world.series(metric, coin.name, ends) * (middle / recipe_of(metric).level))


def _projects(ask: Ask) -> dict[str, Coin]:
    """Return the projects by id: titles in lower case with dashes."""
    return {
        coin.title.lower().replace(" ", "-"): coin
        for coin in ask.world.coins
        if coin.name not in _WITHOUT and coin.listed <= ask.now
    }


def _project(ask: Ask, below: str) -> tuple[str, Coin]:
    name = ask.path["id"]
    if name in RENAMED:
        query = f"?{ask.query}" if str(ask.query) else ""
        place = f"/{api.name}/v2/projects/{RENAMED[name]}{below}{query}"
        raise Refusal(Answer({"message": "Moved"}, 308, {"Location": place}))
    coin = _projects(ask).get(name)
    if coin is None:
        raise Refusal(Problem.NOT_FOUND)
    return name, coin


def _brief(name: str, coin: Coin) -> dict[str, Any]:
    url = f"https://tokenterminal.com/terminal/projects/{name}"
    return {"name": coin.title, "project_id": name, "symbol": coin.name, "url": url}


@api.get("/v2/projects")
def projects(ask: Ask) -> Json:
    """Return all projects."""
    return {"data": [_brief(name, coin) for name, coin in _projects(ask).items()]}


@api.get("/v2/projects/{id}")
def project(ask: Ask) -> Json:
    """Return the description of a project."""
    name, coin = _project(ask, "")
    entries = [{"metric_id": metric, "name": title} for metric, title in METRICS.items()]
    return {"data": {**_brief(name, coin), "metric_availability": entries, "chains": ["all"]}}


@api.get("/v2/metrics")
def metrics(_: Ask) -> Json:
    """Return all metrics."""
    return {"data": [{"metric_id": metric, "name": title} for metric, title in METRICS.items()]}


@api.get("/v2/projects/{id}/metrics", plan=True)
def history(ask: Ask) -> Json:
    """Return days of one project, a column for each metric; errors stand beside columns."""
    name, coin = _project(ask, "/metrics")
    wanted = [metric for metric in ask.text("metric_ids").split(",") if metric]
    known = [metric for metric in wanted if metric in METRICS]
    body: dict[str, Any] = {"data": _rows(ask, name, coin, known)[::-1]}
    unknown = [metric for metric in wanted if metric not in METRICS]
    body["errors"] = [
        {"code": "NOT_FOUND", "field": "metric_ids", "value": metric} for metric in unknown
    ]
    return body


@api.get("/v2/metrics/{metric}", plan=True)
def single_metric(ask: Ask) -> Json:
    """Return days of one metric, of many projects."""
    metric = ask.path["metric"]
    if metric not in METRICS:
        raise Refusal(Problem.NOT_FOUND)
    among = _projects(ask)
    names = ask.text("project_ids", ",".join(among)).split(",")
    rows = [row for n in names if n in among for row in _rows(ask, n, among[n], [metric])]
    missing = [{"code": "NOT_FOUND", "field": "project_ids", "value": n} for n in names]
    return {"data": rows[::-1], "errors": [e for e in missing if e["value"] not in among]}


@api.get("/v2/metric-aggregations", plan=True)
def aggregations(ask: Ask) -> Json:
    """Return the latest day and the sum of thirty."""
    among = _projects(ask)
    names = ask.text("project_ids", ",".join(among)).split(",")
    rows = []
    for name in (name for name in names if name in among):
        for metric in ask.text("metric_ids", "fees,revenue").split(","):
            days = _rows(ask, name, among[name], [metric]) if metric in METRICS else []
            entries = [row[metric] for row in days[-30:] if row[metric] is not None]
            for kind, value in (("latest", entries[-1:]), ("sum_30d", entries)):
                row = {"project_name": among[name].title, "project_id": name}
                row |= {"metric_id": metric, "metric_aggregation_name": kind}
                rows.append({**row, "value": sum(value) if value else None})
    return {"data": rows, "errors": []}


def _rows(ask: Ask, name: str, coin: Coin, wanted: list[str]) -> list[dict[str, Any]]:
    """Return days, oldest first, each stamped with its start."""
    last = (ask.now - _APPEARS) // DAY * DAY
    until = min(ask.instant("end", last, unit=None) + DAY, last)
    since = ask.instant("start", until - 365 * DAY, unit=None)
    opens = np.arange(-(-max(since, coin.listed, OPENING) // DAY) * DAY, until, DAY)
    if not len(opens) or not wanted:
        return []
    ends = opens + DAY
    settled = np.where(ends + _SETTLED <= ask.now, 1.0, 0.8)
    columns = {metric: values(ask.world, metric, coin, ends) * settled for metric in wanted}
    dimensions = {"chain": "all", "business_line": "all", "version": "all"}
    rows: list[dict[str, Any]] = []
    for i, opening in enumerate(opens.tolist()):
        row: dict[str, Any] = {"timestamp": iso_millis(opening), "project_name": coin.title}
        row |= {"project_id": name} | dimensions
        row |= {metric: float(column[i]) for metric, column in columns.items()}
        # Some days are missing for ever.
        if "revenue" in row and opening // DAY % 13 == 5:
            row["revenue"] = None
        rows.append(row)
    return rows
