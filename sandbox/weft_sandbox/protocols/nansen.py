"""Nansen: the activity of labelled wallets, requested by POST with a JSON body.

Flows cover the hours before now, as at Nansen; smart money buys what leaves the exchanges.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, TimeError, iso, parse_time
from weft_sandbox.limits import Budget, Meter
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

TOKENS = {
    "BTC": ("ethereum", "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"),
    "ETH": ("ethereum", "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"),
    "BNB": ("bnb", "0xbb4cdb9cbd36b01bd1cbaebf2de08d9173bc095c"),
    "SOL": ("solana", "So11111111111111111111111111111111111111112"),
    "AVAX": ("avalanche", "0xb31f66aa3c1e785363f0875a1b74e27b85fd66c7"),
    "LINK": ("ethereum", "0x514910771af9ca656af840dff83e8264ecf986ca"),
    "UNI": ("ethereum", "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984"),
    "AAVE": ("ethereum", "0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9"),
    "ARB": ("arbitrum", "0x912ce59144191c1204e64559fe8253a0e49e6548"),
    "PEPE": ("ethereum", "0x6982508145454ce325ddbe47a25d4ec3d2311933"),
}
LABELS = ("Fund", "Smart Trader", "30D Smart Trader", "90D Smart Trader", "180D Smart Trader")
GROUPS = ("public_figure", "top_pnl", "whale", "smart_trader", "exchange", "fresh_wallets")
FLOW_LABELS = ("whale", "public_figure", "smart_money", "top_100_holders", "exchange")
_LONGEST_HOURLY = 7 * DAY
_CHAIN_NAMES = """
    ethereum solana base bnb arbitrum polygon optimism avalanche linea scroll mantle ronin sei
    plasma sonic monad hyperevm iotaevm
"""
_CHAINS = frozenset(_CHAIN_NAMES.split())
_FRAMES = frozenset({"5m", "1h", "6h", "12h", "1d", "7d"})
_COSTS = {"second": 1, "minute": 1, "credits": 5}
_LEAST_USD = 1_000.0
_TOLD = {
    Problem.BAD_PARAMETER: (400, "Bad request"),
    Problem.NOT_FOUND: (404, "Not found"),
    Problem.PLAN: (403, "Your plan does not allow this endpoint"),
    Problem.RATE_LIMITED: (429, "Rate limit exceeded"),
    Problem.BANNED: (429, "Rate limit exceeded"),
    Problem.SERVER: (500, "Internal server error"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _TOLD.get(problem, (401, "Invalid or missing API key"))
    headers = {"X-Nansen-Credits-Used": "0"} | ({"retry-after": detail} if status == 429 else {})
    return Answer({"error": problem.value, "message": text}, status, headers)


def _headers(meters: Mapping[str, Meter]) -> dict[str, str]:
    content = {"x-nansen-credits-cost": str(_COSTS["credits"])}
    for name in ("second", "minute"):
        if name in meters:
            content[f"x-ratelimit-limit-{name}"] = str(meters[name].amount)
            content[f"x-ratelimit-remaining-{name}"] = str(meters[name].left)
    if "minute" in meters:
        content["ratelimit-remaining"] = str(meters["minute"].left)
        content["ratelimit-reset"] = str(meters["minute"].retry_after)
    if "credits" in meters:
        content["x-nansen-credits-used"] = str(_COSTS["credits"])
        content["x-nansen-credits-remaining"] = str(meters["credits"].left)
    return content


api = Api(
    "nansen",
    errors=_errors,
    key=Key(header="apiKey"),
    budgets=(
        Budget("second", 30, 1),
        Budget("minute", 600, 60),
        Budget("credits", 1_000_000, 86_400),
    ),
    headers=_headers,
)


def netflow(world: World, group: str, coin: Coin, times: Times) -> Floats:
    """Return a group's purchases minus sales in the day before each instant, in dollars."""
    recipe = recipe_of(f"nansen_{group}")
    noise = world.series(f"nansen_{group}", coin.name, times) / recipe.level - 1
    away = world.series("exchange_netflow", coin.name, times) * coin.price
    return np.asarray(noise * coin.turnover * 20 - 0.05 * away)


def holders(world: World, coin: Coin, times: Times) -> Floats:
    """Return the number of labelled wallets that hold a coin."""
    level = recipe_of("smart_money_holders").level
    return np.rint(world.series("smart_money_holders", coin.name, times) / level * 150)


def bridged(world: World, coin: Coin, times: Times) -> Floats:
    """Return the coins that bridges hold on the token's chain."""
    level = recipe_of("nansen_bridged").level
    return world.series("nansen_bridged", coin.name, times) / level * coin.supply * 0.01


def _invalid(field: str, text: str) -> Refusal:
    detail = [{"loc": ["body", field], "msg": text, "type": "value_error"}]
    body = {
        "error": "Validation Error",
        "message": "Invalid request",
        "code": "validation_error",
        "status": 422,
        "detail": detail,
    }
    return Refusal(Answer(body, 422, {"X-Nansen-Credits-Used": "0"}))


def _body(ask: Ask) -> dict[str, Any]:
    try:
        body = orjson.loads(ask.body)
    except ValueError:
        raise Refusal(Problem.BAD_PARAMETER) from None
    if not isinstance(body, dict):
        raise Refusal(Problem.BAD_PARAMETER)
    return body


def _among(ask: Ask, body: Mapping[str, Any]) -> list[tuple[Coin, str, str]]:
    """Return the tokens on the requested chains."""
    chains = body.get("chains")
    if not isinstance(chains, list) or not chains or not set(chains) <= _CHAINS:
        raise _invalid("chains", "Input should be a list of known chains")
    labels = (body.get("filters") or {}).get("include_smart_money_labels") or []
    if not set(labels) <= set(LABELS):
        raise _invalid("filters", "Unknown smart money label")
    coins = ((ask.world.coin[name], *place) for name, place in TOKENS.items())
    return [t for t in coins if t[1] in chains and t[0].listed <= ask.now]


def _paged(body: Mapping[str, Any], rows: list[dict[str, Any]]) -> Json:
    paging = body.get("pagination") or {}
    page, size = paging.get("page", 1), paging.get("per_page", 100)
    if not isinstance(page, int) or not isinstance(size, int) or not 1 <= size <= 1_000:
        raise _invalid("pagination", "per_page should be at most 1000")
    for order in reversed(body.get("order_by") or []):
        field = order.get("field")
        if rows and field not in rows[0]:
            raise _invalid("order_by", f"Unknown field {field}")
        rows.sort(key=lambda row: row[field], reverse=order.get("direction") == "DESC")
    content = rows[(page - 1) * size : page * size]
    pagination = {"page": page, "per_page": size, "is_last_page": page * size >= len(rows)}
    return {"data": content, "pagination": pagination}


def _token(ask: Ask, coin: Coin, chain: str, address: str) -> dict[str, Any]:
    price = ask.world.price(REFERENCE, coin, ask.now) * coin.tick
    row: dict[str, Any] = {"chain": chain, "token_address": address, "token_symbol": coin.name}
    row |= {"token_sectors": ["DeFi"], "token_age_days": (ask.now - coin.listed) // DAY}
    return row | {"market_cap_usd": price * coin.supply}


@api.get("/smart-money/netflow", methods=("POST",), costs=_COSTS, plan=True)
def smart_money_netflow(ask: Ask) -> Json:
    """Return the flows of smart money, without tokens below a threshold."""
    body, now = _body(ask), np.array([ask.now])
    rows = []
    for coin, chain, address in _among(ask, body):
        day = float(netflow(ask.world, "smart_trader", coin, now)[0])
        row = _token(ask, coin, chain, address) | {"trader_count": 14}
        row |= {"net_flow_1h_usd": day / 24, "net_flow_24h_usd": day}
        row |= {"net_flow_7d_usd": None, "net_flow_30d_usd": None}
        if abs(day) >= _LEAST_USD:
            rows.append(row)
    return _paged(body, rows)


@api.get("/smart-money/holdings", methods=("POST",), costs=_COSTS, plan=True)
def smart_money_holdings(ask: Ask) -> Json:
    """Return the holdings of smart money."""
    body, now = _body(ask), np.array([ask.now])
    rows = []
    for coin, chain, address in _among(ask, body):
        row = _token(ask, coin, chain, address)
        row |= {"holders_count": int(holders(ask.world, coin, now)[0])}
        row |= {"value_usd": row["market_cap_usd"] * 1e-3, "share_of_holdings_percent": 1.0}
        rows.append(row | {"balance_24h_percent_change": None})
    return _paged(body, rows)


def _requested_coin(ask: Ask, body: Mapping[str, Any]) -> Coin:
    """Return the requested token; Solana addresses are case-sensitive."""
    chain, address = str(body.get("chain")), str(body.get("token_address"))
    if chain not in _CHAINS:
        raise _invalid("chain", "Unknown chain")
    wanted = address if chain == "solana" else address.lower()
    for name, place in TOKENS.items():
        if place == (chain, wanted) and ask.world.coin[name].listed <= ask.now:
            return ask.world.coin[name]
    raise Refusal(Problem.NOT_FOUND)


@api.get("/tgm/flow-intelligence", methods=("POST",), costs=_COSTS, plan=True)
def flow_intelligence(ask: Ask) -> Json:
    """Return the flows of a token by group."""
    body = _body(ask)
    coin, frame = _requested_coin(ask, body), body.get("timeframe")
    if frame not in _FRAMES:
        raise _invalid("timeframe", "Unknown timeframe")
    share = {"5m": 1 / 288, "1h": 1 / 24, "6h": 0.25, "12h": 0.5, "1d": 1.0, "7d": 7.0}[frame]
    row: dict[str, Any] = {}
    for group in GROUPS:
        flow = float(netflow(ask.world, group, coin, np.array([ask.now]))[0]) * share
        row |= {f"{group}_net_flow_usd": flow, f"{group}_avg_flow_usd": flow / 10}
        row[f"{group}_wallet_count"] = 10
    return {"data": [row]}


@api.get("/tgm/flows", methods=("POST",), costs=_COSTS, plan=True)
def flows(ask: Ask) -> Json:
    """Return a group's holdings at the end of each hour, or each day of a span above seven days.

    Rows are newest first; the current hour or day is included, and marked as incomplete.
    """
    body = _body(ask)
    coin, label, span = _requested_coin(ask, body), body.get("label"), body.get("date") or {}
    if label not in FLOW_LABELS:
        names = " or ".join((", ".join(map(repr, FLOW_LABELS[:-1])), repr(FLOW_LABELS[-1])))
        raise _invalid("label", f"Input should be {names}")
    try:
        first, last = (parse_time(f"{str(span[end])[:10]}T00:00:00Z") for end in ("from", "to"))
    except (KeyError, TimeError):
        raise _invalid("date", "Input should be a range of dates") from None
    step = HOUR if last - first <= _LONGEST_HOURLY else DAY
    begins = np.arange(max(first, -(-coin.listed // step) * step, OPENING), last + DAY, step)
    begins = begins[begins < ask.now]
    ends = np.minimum(begins + step, ask.now)
    amounts = bridged(ask.world, coin, ends) if len(ends) else np.empty(0)
    rows: list[dict[str, Any]] = []
    for begin, end, amount in zip(*(a.tolist() for a in (begins, ends, amounts)), strict=True):
        price = ask.world.price(REFERENCE, coin, end) * coin.tick
        row: dict[str, Any] = {"date": iso(begin), "bucket_end": iso(begin + step)}
        row |= {"is_complete": begin + step <= ask.now, "price_usd": price, "token_amount": amount}
        row |= {"value_usd": amount * price, "holders_count": 12}
        rows.append(row | {"total_inflows_count": 40, "total_outflows_count": -40})
    return _paged(body, rows[::-1])


@api.get("/account")
def account(ask: Ask) -> Json:
    """Return the state of the key."""
    return {"plan": "pro" if not str(ask.key).startswith("free") else "free"}
