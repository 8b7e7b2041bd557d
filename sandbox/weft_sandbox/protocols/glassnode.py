"""Glassnode: time series of metrics, stamped with the start of their interval; no pages.

The last row of a plain metric is the unfinished interval. The `_pit` form has no unfinished row:
its rows appear half a minute after the end, with the time of computation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_STEPS = {"10m": 10 * MINUTE, "1h": HOUR, "24h": DAY, "1w": WEEK}
_FINE, _HOURLY, _DAILY = ("10m", "1h", "24h", "1w"), ("1h", "24h", "1w"), ("24h", "1w")
_COMPUTING = 27 * SECOND
_LONGEST_BULK = {"10m": 10 * DAY, "1h": 10 * DAY, "24h": 31 * DAY, "1w": 366 * DAY}
_WITH_COINS_SPENT = ("BTC", "LTC", "BCH", "DOGE")
_WAVES = {
    "24h": 0.0061,
    "1d_1w": 0.0212,
    "1w_1m": 0.0460,
    "1m_3m": 0.0710,
    "3m_6m": 0.0900,
    "6m_12m": 0.1500,
    "1y_2y": 0.1400,
    "2y_3y": 0.1100,
    "3y_5y": 0.1300,
    "5y_7y": 0.0850,
    "7y_10y": 0.0707,
    "more_10y": 0.0800,
}


@dataclass(frozen=True, slots=True)
class _Metric:
    """One metric: its series, and the allowed parameters."""

    series: str
    tier: int = 2
    resolutions: tuple[str, ...] = _DAILY
    assets: tuple[str, ...] = ()
    exchanges: bool = False
    pit: bool = True


def _of_exchanges(series: str) -> _Metric:
    return _Metric(series, 2, _FINE, exchanges=True)


_METRICS = {
    "indicators/net_unrealized_profit_loss": _Metric("nupl"),
    "indicators/sopr": _Metric("sopr", 1, _HOURLY),
    "indicators/puell_multiple": _Metric("puell_multiple", assets=_WITH_COINS_SPENT),
    "indicators/reserve_risk": _Metric("reserve_risk", assets=("BTC",), pit=False),
    "indicators/ssr": _Metric("stablecoin_supply_ratio", assets=("BTC",), pit=False),
    "market/mvrv": _Metric("mvrv", 1, _FINE),
    "market/mvrv_z_score": _Metric("mvrv_zscore"),
    "market/marketcap_usd": _Metric("market_cap_usd", 1, _FINE),
    "market/marketcap_realized_usd": _Metric("realized_cap_usd", 2, _FINE),
    "transactions/transfers_volume_to_exchanges_sum": _of_exchanges("exchange_inflow"),
    "transactions/transfers_volume_from_exchanges_sum": _of_exchanges("exchange_outflow"),
    "transactions/transfers_volume_exchanges_net": _of_exchanges("exchange_netflow"),
    "distribution/balance_exchanges": _of_exchanges("exchange_reserve"),
    "supply/hodl_waves": _Metric("hodl_waves", 3, assets=_WITH_COINS_SPENT),
    "derivatives/futures_estimated_leverage_ratio": _of_exchanges("estimated_leverage_ratio"),
}
_EXCHANGES = ("aggregated", "binance", "coinbase", "kraken", "bitfinex")
_IN_COINS = ("exchange_inflow", "exchange_outflow", "exchange_netflow", "exchange_reserve")


_REFUSALS = {
    Problem.BAD_KEY: (401, "unauthorized"),
    Problem.EXPIRED_KEY: (401, "unauthorized"),
    Problem.PLAN: (403, "your plan does not include this resource"),
    Problem.NOT_FOUND: (404, "not found"),
    Problem.RATE_LIMITED: (429, "rate limit exceeded"),
    Problem.BANNED: (429, "rate limit exceeded"),
    Problem.SERVER: (500, "internal server error"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    if problem is Problem.NO_KEY:
        # The gateway refuses the request before the API sees it.
        page = b"<html><head><title>401 Authorization Required</title></head></html>"
        return Answer(page, 401, media_type="text/html")
    status, text = _REFUSALS.get(problem, (400, f"invalid parameter: {detail}"))
    return Answer({"error": text}, status, {"Retry-After": detail} if status == 429 else {})


def _headers(meters: Mapping[str, Any]) -> Mapping[str, str]:
    meter = next(iter(meters.values()))
    return {
        "x-rate-limit-limit": str(meter.amount),
        "x-rate-limit-remaining": str(meter.left),
        "x-rate-limit-reset": str(meter.retry_after),
    }


api = Api(
    "glassnode",
    errors=_errors,
    key=Key(header="X-Api-Key", query="api_key"),
    budgets=(Budget("metrics", 600, 60), Budget("metadata", 1_200, 60)),
    headers=_headers,
)
_METRIC_COST, _METADATA_COST = {"metrics": 1}, {"metadata": 1}


@api.get("/v1/metrics/{category}/{metric}", plan=True, costs=_METRIC_COST)
def metric(ask: Ask) -> Json:
    """Return a metric of one asset."""
    entry, pit = _metric(f"{ask.path['category']}/{ask.path['metric']}")
    coin = _coin(ask, entry, ask.text("a"))
    form = ask.text("f", "json", ("json", "csv"))
    rows = _rows(ask, entry, coin, pit=pit)
    if ask.text("timestamp_format", "unix", ("unix", "humanized")) == "humanized":
        rows = [{**row, "t": iso(row["t"] * SECOND)} for row in rows]
    return rows if form == "json" else _csv(rows, pit=pit)


@api.get("/v1/metrics/{category}/{metric}/bulk", plan=True, costs=_METRIC_COST)
def bulk(ask: Ask) -> Json:
    """Return a metric of several assets over a short span."""
    entry, pit = _metric(f"{ask.path['category']}/{ask.path['metric']}")
    names = ask.query.getlist("a")
    step = ask.text("i", "24h", entry.resolutions)
    since = ask.instant("s", 0, unit=SECOND)
    if not names or not since:
        raise Refusal(Problem.BAD_PARAMETER, "s" if names else "a")
    if ask.instant("u", ask.now, unit=SECOND) - since > _LONGEST_BULK[step]:
        raise Refusal(Problem.BAD_PARAMETER, "time range too long")
    if names == ["*"]:
        names = list(entry.assets or ask.world.coin)
    content: dict[int, list[Json]] = {}
    for name in names:
        for row in _rows(ask, entry, _coin(ask, entry, name), pit=pit):
            content.setdefault(row.pop("t"), []).append({"a": name, **row})
    return {"data": [{"t": t, "bulk": content[t]} for t in sorted(content)]}


@api.get("/v1/metadata/metrics", costs=_METADATA_COST)
def metrics(_: Ask) -> Json:
    """Return the paths of all metrics."""
    return [f"/{path}" for path in _METRICS]


@api.get("/v1/metadata/metric", costs=_METADATA_COST)
def about(ask: Ask) -> Json:
    """Return the allowed parameters of a metric."""
    path = ask.text("path").strip("/")
    entry, pit = _metric(path)
    base = path.removesuffix("_pit")
    assets = entry.assets or tuple(ask.world.coin)
    coin = ask.query.get("a")
    if coin and coin not in assets:
        raise Refusal(Problem.BAD_PARAMETER, "a")
    variants = {"base": f"/{base}", "bulk": f"/{path}/bulk"}
    if entry.pit:
        variants["pit"] = f"/{base}_pit"
    parameters = {"a": list(assets), "i": list(entry.resolutions), "f": ["csv", "json"]}
    if entry.exchanges:
        parameters["e"] = list(_EXCHANGES)
    if entry.series in _IN_COINS:
        parameters["c"] = ["native", "usd"]
    first = ask.world.coin[coin or assets[0]].listed
    return {
        "path": f"/{path}",
        "tier": entry.tier,
        "is_pit": pit,
        "parameters": parameters,
        "parameters_defaults": {"a": assets[0], "i": "24h", "f": "json"},
        "queried": {"a": coin} if coin else {},
        "refs": {"docs": f"https://docs.glassnode.com/{base}", "metric_variant": variants},
        "bulk_supported": True,
        "timerange": {"min": first // SECOND, "max": ask.now // DAY * DAY // SECOND},
        "modified": ask.now // DAY * DAY // SECOND,
    }


@api.get("/v1/metadata/assets", costs=_METADATA_COST)
def assets(ask: Ask) -> Json:
    """Return all assets."""
    coins = ask.world.coins
    return {
        "data": [
            {"id": c.name, "symbol": c.name, "name": c.title, "asset_type": "BLOCKCHAIN"}
            for c in coins
        ]
    }


def _metric(path: str) -> tuple[_Metric, bool]:
    pit = path.endswith("_pit")
    entry = _METRICS.get(path.removesuffix("_pit"))
    if entry is None or (pit and not entry.pit):
        raise Refusal(Problem.NOT_FOUND, path)
    return entry, pit


def _coin(ask: Ask, entry: _Metric, name: str) -> Coin:
    coin = ask.world.coin.get(name)
    if coin is None or (entry.assets and name not in entry.assets):
        raise Refusal(Problem.BAD_PARAMETER, f"a: asset {name} is not supported")
    return coin


def _rows(ask: Ask, entry: _Metric, coin: Coin, *, pit: bool) -> list[dict[str, Any]]:
    step = _STEPS[ask.text("i", "24h", entry.resolutions)]
    if entry.exchanges:
        ask.text("e", "aggregated", _EXCHANGES)
    # Weeks begin on Monday; 1970 began on a Thursday.
    offset = 4 * DAY if step == WEEK else 0
    since = max(ask.instant("s", coin.listed, unit=SECOND), coin.listed)
    first = -(-(since - offset) // step) * step + offset
    last = min(ask.instant("u", ask.now, unit=SECOND), ask.now - (step + _COMPUTING) * pit)
    starts = np.arange(first, last + 1, step)
    reported_at = np.minimum(starts + step, ask.now)
    rows: list[dict[str, Any]] = [
        {"t": t // SECOND, **content}
        for t, content in zip(
            starts.tolist(), _cells_of(ask, entry, coin, reported_at), strict=True
        )
    ]
    if pit:
        for row in rows:
            row["computed_at"] = row["t"] + (step + _COMPUTING) // SECOND
    return rows


def _cells_of(ask: Ask, entry: _Metric, coin: Coin, times: Times) -> list[dict[str, Any]]:
    world = ask.world
    if entry.series == "hodl_waves":
        parts = {
            name: share
            * world.series(f"hodl_{name}", coin.name, times)
            / recipe_of(f"hodl_{name}").level
            for name, share in _WAVES.items()
        }
        total: Floats = np.sum(list(parts.values()), axis=0)
        shares = np.round(np.array([part / total for part in parts.values()]).T, 12).tolist()
        return [{"o": dict(zip(_WAVES, row, strict=True))} for row in shares]
    values = world.series(entry.series, coin.name, times)
    if entry.series == "stablecoin_supply_ratio":
        return [{"o": {"h": 1.1 * v, "l": 0.9 * v, "v": v}} for v in values.tolist()]
    if entry.series in _IN_COINS and ask.text("c", "native", ("native", "usd")) == "usd":
        prices = [world.price(REFERENCE, coin, t) * coin.tick for t in times.tolist()]
        values = values * np.asarray(prices)
    # Some values are missing for ever.
    missing = (times // DAY % 41 == 7) & (times % DAY == 0)
    return [{"v": None if no else v} for v, no in zip(values.tolist(), missing, strict=True)]


def _csv(rows: list[dict[str, Any]], *, pit: bool) -> Answer:
    lines = ["timestamp,value,computed_at" if pit else "timestamp,value"]
    for row in rows:
        content = row["v"] if "v" in row else row["o"]
        computed_at = [row["computed_at"]] if pit else []
        cells = [row["t"], "" if content is None else content, *computed_at]
        lines.append(",".join(map(str, cells)))
    return Answer("\n".join(lines).encode(), media_type="text/csv")
