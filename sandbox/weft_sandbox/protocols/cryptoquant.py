"""CryptoQuant: flows, reserves and indicators by day or hour, newest first, without a cursor.

Windows are stamped with their start, and published some minutes after their end. With ``from``, a
small ``limit`` selects the oldest rows; without, the newest.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import DAY, HOUR, MINUTE, TimeError, parse_time, to_datetime
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_STEPS = {"day": DAY, "hour": HOUR}
_LATE = {"day": 20 * MINUTE, "hour": 10 * MINUTE}
_UNCONFIRMED = 2 * HOUR
_EXCHANGES = {
    "all_exchange": 1.0,
    "spot_exchange": 0.6,
    "derivative_exchange": 0.4,
    "binance": 0.35,
    "coinbase": 0.2,
}
_MINERS = {"all_miner": 1.0, "f2pool": 0.12}
_TOKENS = ("LINK", "UNI", "AAVE", "PEPE")


@dataclass(frozen=True, slots=True)
class _Path:
    """One path below a family.

    Attributes:
        fields: fields of its rows, each with its series and factor.
        needs: required parameter, with the share of each choice; only flows are divided.
        families: families of assets with the path.
        windows: windows that the path offers.
    """

    fields: Mapping[str, tuple[str, float]]
    needs: str = ""
    families: tuple[str, ...] = ("btc",)
    windows: tuple[str, ...] = ("day", "hour")


def _flows(entity: str, needs: str, families: tuple[str, ...]) -> dict[str, _Path]:
    def flow(way: str) -> _Path:
        fields = {
            f"{way}_total": (f"{entity}_{way}", 1.0),
            f"{way}_top10": (f"{entity}_{way}", 0.45),
            f"{way}_mean": (f"{entity}_{way}", 1e-4),
            f"{way}_mean_ma7": (f"{entity}_{way}", 1e-4),
        }
        return _Path(fields, needs, families)

    reserve = {"reserve": (f"{entity}_reserve", 1.0), "reserve_usd": (f"{entity}_reserve", 1.0)}
    counts = {
        f"transactions_count_{way}": (f"{entity}_count_{way}", 1.0) for way in ("inflow", "outflow")
    }
    return {
        "reserve": _Path(reserve, needs, families),
        "inflow": flow("inflow"),
        "outflow": flow("outflow"),
        "netflow": _Path({"netflow_total": (f"{entity}_netflow", 1.0)}, needs, families),
        "transactions-count": _Path(counts, needs, families),
    }


def _one(series: str, *, needs: str = "", families: tuple[str, ...] = ("btc",)) -> _Path:
    return _Path({series: (series, 1.0)}, needs, families)


_PATHS = {
    **{
        f"exchange-flows/{name}": path
        for name, path in _flows("exchange", "exchange", ("btc", "eth", "erc20")).items()
    },
    **{f"miner-flows/{name}": path for name, path in _flows("miner", "miner", ("btc",)).items()},
    "market-indicator/estimated-leverage-ratio": _one(
        "estimated_leverage_ratio", needs="exchange", families=("btc", "eth")
    ),
    "market-indicator/stablecoin-supply-ratio": _Path(
        {"stablecoin_supply_ratio": ("stablecoin_supply_ratio", 1.0)}, windows=("day",)
    ),
    "market-indicator/mvrv": _one("mvrv"),
    "market-indicator/sopr": _Path(
        dict.fromkeys(("sopr", "a_sopr", "sth_sopr", "lth_sopr"), ("sopr", 1.0))
    ),
    "network-indicator/nupl": _one("nupl"),
    "network-indicator/puell-multiple": _one("puell_multiple"),
    "network-indicator/nvt": _one("nvt"),
}

_ERRORS = {
    Problem.NO_KEY: (401, "unauthorized"),
    Problem.BAD_KEY: (401, "unauthorized"),
    Problem.EXPIRED_KEY: (401, "unauthorized"),
    Problem.PLAN: (403, "forbidden"),
    Problem.NOT_FOUND: (404, "not_found"),
    Problem.RATE_LIMITED: (429, "too_many_requests"),
    Problem.BANNED: (429, "too_many_requests"),
    Problem.SERVER: (500, "internal_server_error"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status, message = _ERRORS.get(problem, (400, "bad_request"))
    content = {"code": status, "message": message}
    if status in {400, 404} and detail:
        content["description"] = f"Check {detail}"
    return Answer({"status": content}, status)


def _headers(meters: Mapping[str, Any]) -> Mapping[str, str]:
    meter = meters["day"]
    return {
        "X-RateLimit-Limit": str(meter.amount),
        "X-RateLimit-Remaining": str(meter.left),
        "X-RateLimit-Reset": str(int(time.time() + meter.reset_seconds)),
    }


api = Api(
    "cryptoquant",
    errors=_errors,
    key=Key(header="Authorization"),
    budgets=(Budget("day", 10_000, 86_400),),
    headers=_headers,
)


@api.get("/v1/{family}/status/entity-list")
def entities(ask: Ask) -> Json:
    """Return the exchanges or miners."""
    kind = ask.text("type", choices=("exchange", "miner", "bank"))
    names = {"exchange": _EXCHANGES, "miner": _MINERS}.get(kind, {})
    return _found([{"name": name, "symbol": name, "market_type": 0} for name in names])


@api.get("/v1/discovery/endpoints")
def discovery(_: Ask) -> Json:
    """Return all paths."""
    return _found([_about(family, path) for path in _PATHS for family in _PATHS[path].families])


@api.get("/v1/my/discovery/endpoints")
def plan_discovery(ask: Ask) -> Json:
    """Return the paths of the plan, with the start of their history."""
    paths = [] if (ask.key or "").startswith("free") else list(_PATHS)
    rows = [_about(f, p) | {"limit": "P3Y"} for p in paths for f in _PATHS[p].families]
    return _found(rows)


@api.get("/v1/{family}/{group}/{name}", plan=True)
def values(ask: Ask) -> Json:
    """Return one path of one asset."""
    place = f"{ask.path['group']}/{ask.path['name']}"
    path = _PATHS.get(place)
    if path is None or ask.path["family"] not in path.families:
        raise Refusal(Problem.NOT_FOUND, f"/{ask.path['family']}/{place}")
    window = ask.text("window", choices=path.windows)
    coin, step = _coin(ask), _STEPS[window]
    shares = {"exchange": _EXCHANGES, "miner": _MINERS}.get(path.needs, {"": 1.0})
    share = shares[ask.text(path.needs, choices=tuple(shares))] if path.needs else 1.0
    limit = ask.integer("limit", 100, 1, 100_000)
    since, until = _instant(ask, "from", coin.listed), _instant(ask, "to", ask.now)
    first = -(-max(since, coin.listed) // step) * step
    starts = np.arange(first, min(until, ask.now - step - _LATE[window]) + 1, step)
    starts = starts[:limit] if ask.query.get("from") else starts[-limit:]
    rows = _rows(ask, coin, path, starts, step, 1.0 if "ratio" in place else share)
    if ask.text("format", "json", ("json", "csv")) == "csv":
        lines = [list(rows[0]) if rows else [], *(row.values() for row in rows)]
        text = "\n".join(",".join(map(str, line)) for line in lines)
        return Answer(text.encode(), media_type="text/csv")
    return _found(rows, window)


def _rows(
    ask: Ask,
    coin: Coin,
    path: _Path,
    starts: Times,
    step: int,
    share: float,
) -> list[dict[str, Any]]:
    columns = {}
    for field, (series, factor) in path.fields.items():
        content = ask.world.series(series, coin.name, starts + step) * factor * share
        if field.endswith("_usd"):
            ends = (starts + step).tolist()
            content = content * [ask.world.price(REFERENCE, coin, end) * coin.tick for end in ends]
        columns[field] = content.tolist()
    rows = []
    for index, start in reversed(list(enumerate(starts.tolist()))):
        form = "%Y-%m-%d" if step == DAY else "%Y-%m-%d %H:%M:%S"
        row: dict[str, Any] = {
            "date" if step == DAY else "datetime": to_datetime(start).strftime(form)
        }
        confirmed = start + step + _UNCONFIRMED <= ask.now
        for field, column in columns.items():
            late = field.endswith(("_top10", "_mean_ma7")) and not confirmed
            # Some values are missing for ever.
            row[field] = None if late or start // DAY % 43 == 11 else column[index]
        rows.append(row)
    return rows


def _coin(ask: Ask) -> Coin:
    family = ask.path["family"]
    if family != "erc20":
        return ask.world.coin[family.upper()]
    choices = tuple(name.lower() for name in _TOKENS)
    return ask.world.coin[ask.text("token", choices=choices).upper()]


def _instant(ask: Ask, name: str, default: int) -> int:
    text = ask.query.get(name)
    if not text:
        return default
    day, _, clock = text.partition("T")
    clock = clock or "000000"
    if len(day) != 8 or len(clock) != 6 or not (day + clock).isdecimal():
        raise Refusal(Problem.BAD_PARAMETER, name)
    try:
        return parse_time(f"{day}T{clock}Z")
    except TimeError:
        raise Refusal(Problem.BAD_PARAMETER, name) from None


def _about(family: str, place: str) -> dict[str, Any]:
    path = _PATHS[place]
    required = [*([path.needs] if path.needs else []), *(["token"] if family == "erc20" else [])]
    parameters = {"window": list(path.windows), "limit": 100}
    return {
        "path": f"/v1/{family}/{place}",
        "parameters": parameters,
        "required_parameters": required,
    }


def _found(rows: list[dict[str, Any]], window: str | None = None) -> Json:
    result = {"data": rows} if window is None else {"window": window, "data": rows}
    return {"status": {"code": 200, "message": "success"}, "result": result}
