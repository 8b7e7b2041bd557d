"""CoinGecko's API v3: coins by slug, market charts, the whole market, searches."""

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, to_datetime
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.paging import numbered
from weft_sandbox.protocol import (
    MILLI,
    Answer,
    Api,
    Ask,
    Json,
    Key,
    Problem,
    Refusal,
    iso_millis,
)

_SLUGS = {
    "BNB": "binancecoin",
    "XRP": "ripple",
    "AVAX": "avalanche-2",
    "BCH": "bitcoin-cash",
    "NEAR": "near",
}
_OTHERS = 1.12
"""Total market capitalisation as a multiple of that of the sandbox's coins."""
_TRENDING = 7
_CACHED = 10 * MINUTE


def _errors(problem: Problem, detail: str) -> Answer:
    if problem is Problem.RATE_LIMITED:
        status = {"error_code": 429, "error_message": "You've exceeded the Rate Limit."}
        return Answer({"status": status}, 429, {"retry-after": detail})
    if problem in {Problem.BAD_PARAMETER, Problem.NOT_FOUND}:
        return Answer({"error": "coin not found" if detail == "coin" else detail}, 404)
    code = {Problem.NO_KEY: 10002, Problem.PLAN: 10005}.get(problem, 10002)
    if detail == "days":
        code = 10012
    content = {"timestamp": "2025-03-02T14:05:31.902+00:00", "error_code": code}
    content["error_message"] = f"{problem} {detail}".strip()
    return Answer({"error": {"status": content}}, 500 if problem is Problem.SERVER else 401)


api = Api(
    "coingecko",
    errors=_errors,
    key=Key(header="x-cg-demo-api-key", query="x_cg_demo_api_key", required=False),
    budgets=(Budget("minute", 100, 60),),
)


def _slug(coin: Coin) -> str:
    return _SLUGS.get(coin.name) or coin.title.lower()


def _coin(ask: Ask) -> Coin:
    match = next((c for c in ask.world.coins if _slug(c) == ask.path["id"]), None)
    if match is None:
        raise Refusal(Problem.NOT_FOUND, "coin")
    return match


def _prices(ask: Ask, coin: Coin, times: Times) -> Floats:
    # The price of an instant is that of the trades in the minute before.
    ticks = [ask.world.price(REFERENCE, coin, time) for time in times.tolist()]
    return np.array(ticks) * coin.tick


def _caps(ask: Ask, at: int) -> dict[str, float]:
    when = np.array([at])
    return {c.name: float(_prices(ask, c, when)[0]) * c.supply for c in ask.world.coins}


@api.get("/api/v3/ping")
def ping(_: Ask) -> Json:
    """Return the greeting of the API."""
    return {"gecko_says": "(V3) To the Moon!"}


@api.get("/api/v3/coins/markets")
def markets(ask: Ask) -> Json:
    """Return the current state of coins in pages, the largest first."""
    ask.text("vs_currency", choices=("usd",))
    size, page = ask.integer("per_page", 100, 1, 250), ask.integer("page", 1, 1)
    wanted = [slug for slug in ask.text("ids", " ").split(",") if slug.strip()]
    caps = _caps(ask, ask.now)
    ordered = sorted(ask.world.coins, key=lambda coin: -caps[coin.name])
    rows = [
        {
            "id": _slug(coin),
            "symbol": coin.name.lower(),
            "name": coin.title,
            "current_price": caps[coin.name] / coin.supply,
            "market_cap": round(caps[coin.name]),
            "market_cap_rank": rank,
            "circulating_supply": coin.supply,
            "max_supply": None,
            "roi": None,
            "last_updated": iso_millis(ask.now),
        }
        for rank, coin in enumerate(ordered, 1)
    ]
    return numbered([row for row in rows if not wanted or row["id"] in wanted], page, size)


@api.get("/api/v3/coins/{id}/market_chart")
def market_chart(ask: Ask) -> Json:
    """Return a coin's prices and market capitalisations; the last elements are current."""
    ask.text("vs_currency", choices=("usd",))
    coin = _coin(ask)
    interval = ask.text("interval", " ", choices=("5m", "hourly", "daily", " "))
    days_listed = (ask.now - coin.listed) // DAY
    days = days_listed if ask.query.get("days") == "max" else ask.integer("days", low=1)
    if days > 365:
        raise Refusal(Problem.PLAN, "days")
    usual = 5 * MINUTE if days == 1 else HOUR if days <= 90 else DAY
    step = {"5m": 5 * MINUTE, "hourly": HOUR, "daily": DAY}.get(interval, usual)
    return _chart(ask, coin, ask.now - days * DAY, ask.now, step)


@api.get("/api/v3/coins/{id}/market_chart/range")
def market_chart_range(ask: Ask) -> Json:
    """Return a coin's prices and market capitalisations between two epochs in seconds."""
    coin = _coin(ask)
    since = ask.instant("from", ask.now - DAY, unit=SECOND)
    until = min(ask.instant("to", ask.now, unit=SECOND), ask.now)
    if ask.now - since > 365 * DAY:
        raise Refusal(Problem.PLAN, "days")
    days = (until - since) // DAY
    return _chart(ask, coin, since, until, 5 * MINUTE if days <= 1 else HOUR if days <= 90 else DAY)


def _chart(ask: Ask, coin: Coin, since: int, until: int, step: int) -> Json:
    # The value of midnight is published ten minutes later.
    ready = until - 10 * MINUTE if step == DAY else until
    first = -(-max(since, coin.listed + step) // step) * step
    times = np.append(np.arange(first, ready + 1, step), until)
    prices = _prices(ask, coin, times)
    stamps = (times // MILLI).tolist()
    volumes = ask.world.series("turnover", coin.name, times)
    return {
        name: [[stamp, value] for stamp, value in zip(stamps, values.tolist(), strict=True)]
        for name, values in (
            ("prices", prices),
            ("market_caps", prices * coin.supply),
            ("total_volumes", volumes),
        )
    }


@api.get("/api/v3/coins/{id}/history")
def history(ask: Ask) -> Json:
    """Return the state of a coin at the first midnight of a day."""
    coin = _coin(ask)
    days = (ask.now // DAY * DAY - back * DAY for back in range(366))
    date = ask.text("date")
    day = next((d for d in days if to_datetime(d).strftime("%d-%m-%Y") == date), None)
    if day is None:
        raise Refusal(Problem.BAD_PARAMETER, "invalid date")
    price = float(_prices(ask, coin, np.array([day]))[0])
    content = {"current_price": {"usd": price}, "market_cap": {"usd": price * coin.supply}}
    return {"id": _slug(coin), "symbol": coin.name.lower(), "market_data": content}


@api.get("/api/v3/global")
def global_market(ask: Ask) -> Json:
    """Return the state of the market, up to ten minutes old; shares are percent."""
    at = ask.now // _CACHED * _CACHED
    caps = _caps(ask, at)
    total = sum(caps.values()) * _OTHERS
    return {
        "data": {
            "active_cryptocurrencies": 17_000,
            "upcoming_icos": 0,
            "ongoing_icos": 49,
            "ended_icos": 3376,
            "markets": 1_200,
            "total_market_cap": {"usd": total, "btc": total / caps["BTC"] * 19.8e6},
            "total_volume": {"usd": total * 0.04},
            "market_cap_percentage": {n.lower(): c / total * 100 for n, c in caps.items()},
            "market_cap_change_percentage_24h_usd": -0.4,
            "updated_at": at // SECOND,
        }
    }


@api.get("/api/v3/global/market_cap_chart", plan=True)
def global_history(ask: Ask) -> Json:
    """Return the history of the market, for paid plans."""
    days = ask.integer("days", low=1, high=365)
    stamps = (ask.now // DAY * DAY - np.arange(days)[::-1] * DAY).tolist()
    caps = [[t // MILLI, sum(_caps(ask, t).values()) * _OTHERS] for t in stamps]
    return {"market_cap_chart": {"market_cap": caps}}


@api.get("/api/v3/search/trending")
def trending(ask: Ask) -> Json:
    """Return the most searched coins of a day; some numbers are formatted text."""
    at = np.array([ask.now // _CACHED * _CACHED])
    searched = {c.name: float(ask.world.series("searches", c.name, at)[0]) for c in ask.world.coins}
    ordered = sorted(ask.world.coins, key=lambda coin: -searched[coin.name])[:_TRENDING]
    items = [
        {
            "id": _slug(coin),
            "coin_id": 100 + score,
            "name": coin.title,
            "symbol": coin.name,
            "market_cap_rank": score + 1,
            "slug": _slug(coin),
            "price_btc": 0.01,
            "score": score,
            "data": {"price": 1.2, "market_cap": "$1,210,000,000", "total_volume": "$21,000,000"},
        }
        for score, coin in enumerate(ordered)
    ]
    return {"coins": [{"item": item} for item in items], "nfts": [], "categories": []}
