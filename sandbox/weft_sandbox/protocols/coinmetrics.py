"""Coin Metrics API v4: time series of assets, numbers as text, pages by a URL of the next page.

Rows are stamped with the start of their day, and appear with the first of their values; values that
are computed last are null until the day is complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np

from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import Coin
from weft_sandbox.paging import decode_cursor, encode_cursor
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_FLASH = 41 * MINUTE + 10 * SECOND + 120_000
_REVIEWED = 26 * HOUR
_COMPLETE = 55 * MINUTE
_COMPLETION = "AssetEODCompletionTime"
_WITH_OUTPUTS = ("BTC", "LTC", "BCH", "DOGE", "ADA")


@dataclass(frozen=True, slots=True)
class _Metric:
    """One metric: its series, the divisor of its values, and the plans that include it."""

    series: str
    unit: str
    scale: float = 1.0
    free: bool = False
    reviewed: bool = True
    assets: tuple[str, ...] = ()


_METRICS = {
    _COMPLETION: _Metric("", "Epoch time in seconds", free=True, reviewed=False),
    "AdrActCnt": _Metric("active_addresses", "Addresses", free=True),
    "CapMrktCurUSD": _Metric("market_cap_usd", "USD", free=True),
    "CapMVRVCur": _Metric("mvrv", "Dimensionless", free=True),
    "CapMVRVZ": _Metric("mvrv_zscore", "Dimensionless", reviewed=False),
    "CapRealUSD": _Metric("realized_cap_usd", "USD"),
    "HashRate": _Metric("hash_rate", "TH/s", 1e12, free=True, assets=("BTC", "LTC", "BCH", "DOGE")),
    "NUPL": _Metric("nupl", "Dimensionless", reviewed=False),
    "NVTAdj": _Metric("nvt", "Dimensionless", free=True),
    "RevAllTimeUSD": _Metric("thermocap_usd", "USD"),
    "SOPR": _Metric("sopr", "Dimensionless", reviewed=False),
    "SplyActPct1yr": _Metric("hodl_over_1y", "Percentage", reviewed=False),
    "SplyUTXOLoss": _Metric("supply_in_profit", "Native units", assets=_WITH_OUTPUTS),
    "SplyUTXOProf": _Metric("supply_in_profit", "Native units", assets=_WITH_OUTPUTS),
}

_ERRORS = {
    Problem.NO_KEY: (401, "unauthorized", "Requested resource requires authorization."),
    Problem.BAD_KEY: (401, "wrong_credentials", "Supplied credentials are not valid."),
    Problem.EXPIRED_KEY: (401, "wrong_credentials", "Supplied credentials are not valid."),
    Problem.PLAN: (403, "forbidden", "Requested {} is not available with supplied credentials."),
    Problem.NOT_FOUND: (404, "not_found", "Not found."),
    Problem.RATE_LIMITED: (429, "too_many_requests", "Too many requests."),
    Problem.BANNED: (429, "too_many_requests", "Too many requests."),
    Problem.SERVER: (500, "internal_server_error", "Internal server error."),
}
_BAD = (400, "bad_parameter", "Bad parameter '{}'.")


def _errors(problem: Problem, detail: str) -> Answer:
    status, kind, text = _ERRORS.get(problem, _BAD)
    return Answer({"error": {"type": kind, "message": text.format(detail)}}, status)


def _headers(meters: Mapping[str, Any]) -> Mapping[str, str]:
    meter = meters["sliding"]
    return {
        "X-RateLimit-Limit": str(meter.amount),
        "X-RateLimit-Remaining": str(meter.left),
        "X-RateLimit-Reset": str(meter.retry_after),
        "X-RateLimit-Plan": "pro",
        "CF-RAY": "8d0f1c2b3a495867-FRA",
    }


api = Api(
    "coinmetrics",
    errors=_errors,
    key=Key(query="api_key"),
    budgets=(Budget("sliding", 6_000, 20),),
    headers=_headers,
)


@api.get("/v4/timeseries/asset-metrics")
def timeseries(ask: Ask) -> Json:
    """Return a page of metrics of assets, one row for each asset and day."""
    if len(str(ask.query)) > 10_000:
        raise Refusal(Answer(b"", 414))
    ask.text("frequency", "1d", ("1d",))
    ask.text("format", "json", ("json",))
    coins = _coins(ask, ask.text("assets"))
    metrics = [_known(name) for name in ask.text("metrics").split(",")]
    readable = {c.name: [m for m in metrics if _may_read(ask, m, c)] for c in coins}
    rows = [row for coin in coins for row in _rows(ask, coin, readable[coin.name])]
    if ask.text("sort", "asset", ("asset", "time")) == "time":
        rows.sort(key=lambda row: (row["time"], row["asset"]))
    return _page(ask, rows)


@api.get("/v4/catalog-v2/asset-metrics")
def catalogue(ask: Ask) -> Json:
    """Return the metrics that the key can read."""
    return _catalogue(ask, everything=False)


@api.get("/v4/catalog-all-v2/asset-metrics")
def full_catalogue(ask: Ask) -> Json:
    """Return all metrics."""
    return _catalogue(ask, everything=True)


@api.get("/v4/reference-data/asset-metrics")
def reference(ask: Ask) -> Json:
    """Return names and units of metrics."""
    chosen = ask.query.get("metrics") or ",".join(_METRICS)
    names = [_known(name) for name in chosen.split(",")]
    return {"data": [{"metric": n, "full_name": n, "unit": _METRICS[n].unit} for n in names]}


def _catalogue(ask: Ask, *, everything: bool) -> Json:
    chosen = [_known(n) for n in (ask.query.get("metrics") or ",".join(_METRICS)).split(",")]
    data = []
    for coin in _coins(ask, ask.query.get("assets") or "*"):
        span = {"min_time": _nanos(coin.listed), "max_time": _nanos(ask.now // DAY * DAY - DAY)}
        offered = [
            {"metric": name, "frequencies": [{"frequency": "1d", **span}]}
            for name in chosen
            if _supported(name, coin) and (everything or not _forbidden(ask, name))
        ]
        if offered:
            data.append({"asset": coin.name.lower(), "metrics": offered})
    return {"data": data}


def _coins(ask: Ask, text: str) -> list[Coin]:
    by_id = {coin.name.lower(): coin for coin in ask.world.coins}
    names = sorted(by_id) if text == "*" else text.split(",")
    for name in names:
        if name not in by_id:
            raise Refusal(Problem.BAD_PARAMETER, f"assets'. Value '{name}' is not supported. '")
    return [by_id[name] for name in names]


def _known(name: str) -> str:
    if name not in _METRICS:
        raise Refusal(Problem.BAD_PARAMETER, f"metrics'. Value '{name}' is not supported. '")
    return name


def _supported(name: str, coin: Coin) -> bool:
    assets = _METRICS[name].assets
    return not assets or coin.name in assets


def _forbidden(ask: Ask, name: str) -> bool:
    return (ask.key or "").startswith("free") and not _METRICS[name].free


def _flag(ask: Ask, name: str) -> bool:
    return ask.text(name, "false", ("true", "false")) == "true"


def _may_read(ask: Ask, name: str, coin: Coin) -> bool:
    """Return whether a metric of an asset is readable; refuse the request for an unknown metric."""
    if not _supported(name, coin):
        if not _flag(ask, "ignore_unsupported_errors"):
            raise Refusal(Problem.BAD_PARAMETER, f"metrics'. '{name}' of '{coin.name.lower()}'. '")
        return False
    if _forbidden(ask, name):
        if not _flag(ask, "ignore_forbidden_errors"):
            raise Refusal(Problem.PLAN, f"metric '{name}' with frequency '1d'")
        return False
    return True


def _rows(ask: Ask, coin: Coin, names: list[str]) -> list[dict[str, Any]]:
    since = ask.instant("start_time", coin.listed, unit=None)
    until = ask.instant("end_time", ask.now, unit=None)
    since += 0 if ask.query.get("start_inclusive") != "false" else 1
    until -= 0 if ask.query.get("end_inclusive") != "false" else 1
    first = -(-max(since, coin.listed) // DAY) * DAY
    starts = np.arange(first, min(until, ask.now - DAY - _FLASH) + 1, DAY)
    limit = ask.integer("limit_per_asset", len(starts), low=0)
    starts = starts[-limit:] if limit else starts[:0]
    values = {n: _values(ask, n, coin, starts + DAY) for n in names if _METRICS[n].series}
    rows = []
    for index, start in enumerate(starts.tolist()):
        end = start + DAY
        row: dict[str, Any] = {"asset": coin.name.lower(), "time": _nanos(start)}
        complete = end + _COMPLETE <= ask.now
        for name in names:
            if name == _COMPLETION:
                row[name] = str((end + _COMPLETE) // SECOND) if complete else None
            elif not (complete or _METRICS[name].reviewed) or (
                name == "NVTAdj" and start // DAY % 37 == 5
            ):
                row[name] = "0" if _flag(ask, "null_as_zero") else None
            else:
                row[name] = np.format_float_positional(values[name][index], trim="-")
                if _METRICS[name].reviewed:
                    done = end + _REVIEWED <= ask.now
                    row[f"{name}-status"] = "reviewed" if done else "flash"
                    row[f"{name}-status-time"] = _nanos(end + (_REVIEWED if done else _FLASH))
        rows.append(row)
    return rows


def _values(ask: Ask, name: str, coin: Coin, times: Any) -> Any:  # noqa: ANN401  # arrays
    metric = _METRICS[name]
    column = ask.world.series(metric.series, coin.name, times) / metric.scale
    match name:
        case "SplyUTXOProf":
            return column * coin.supply
        case "SplyUTXOLoss":
            return (1 - column) * coin.supply
        case "SplyActPct1yr":
            return 100 - 100 * column
        case _:
            return column


def _page(ask: Ask, rows: list[dict[str, Any]]) -> Json:
    size = ask.integer("page_size", 100, 1, 10_000)
    from_start = ask.text("paging_from", "end", ("start", "end")) == "start"
    token = ask.query.get("next_page_token")
    given = int(decode_cursor(token, "next_page_token")) if token else 0
    end = len(rows) - given
    page = rows[given : given + size] if from_start else rows[max(end - size, 0) : max(end, 0)]
    given += len(page)
    if given >= len(rows) or not page:
        return {"data": page}
    following = encode_cursor(given)
    params = {**dict(ask.query), "next_page_token": following}
    host = f"http://{ask.headers.get('host', 'localhost')}/coinmetrics"
    return {
        "data": page,
        "next_page_token": following,
        "next_page_url": f"{host}/v4/timeseries/asset-metrics?{urlencode(params)}",
    }


def _nanos(instant: int) -> str:
    seconds, part = divmod(instant, SECOND)
    return f"{iso(seconds * SECOND).removesuffix('Z')}.{part:06d}000Z"
