"""LunarCrush: scores and social counts of coins and topics; times are whole seconds."""

from typing import Any

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import DAY, HOUR, SECOND
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import hashed, key_of
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_TOLD = {
    Problem.BAD_PARAMETER: (400, "Invalid parameter: {}"),
    Problem.NOT_FOUND: (404, "Not found"),
    Problem.PLAN: (402, "You must have a paid subscription to use this endpoint"),
    Problem.RATE_LIMITED: (429, "Rate limit exceeded"),
    Problem.BANNED: (429, "Rate limit exceeded"),
    Problem.SERVER: (500, "Internal server error"),
}
_SPANS = {"1d": 1, "1w": 7, "1m": 30, "3m": 91, "6m": 182, "1y": 365, "all": 10_000}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _TOLD.get(problem, (401, "Invalid API key"))
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"error": text.format(detail)}, status, wait)


api = Api(
    "lunarcrush",
    errors=_errors,
    key=Key(header="Authorization"),
    budgets=(Budget("minute", 10, 60), Budget("day", 2_000, 86_400)),
)


def social(world: World, coin: Coin, ends: Times) -> dict[str, Any]:
    """Return the columns of a coin; each row is known at the end of its bucket."""

    def series(name: str) -> Any:  # noqa: ANN401  # an array
        return world.series(name, coin.name, ends)

    posts = np.rint(series("social_volume")).astype(np.int64)
    created = posts * 2 // 5
    spam = series("spam_share") / recipe_of("spam_share").level
    return {
        "galaxy_score": np.round(series("galaxy_score"), 1),
        "alt_rank": 1 + np.rint(series("alt_rank") / recipe_of("alt_rank").level * 200).astype(int),
        "sentiment": np.rint(50 + 50 * series("social_sentiment")).astype(int),
        "social_dominance": series("social_dominance") * 100,
        "interactions": posts * 537,
        "posts_active": posts,
        "posts_created": created,
        "contributors_active": posts // 2,
        "contributors_created": posts // 5,
        "spam": np.minimum(created * 0.06 * spam, created).astype(np.int64),
    }


def _listed(ask: Ask) -> list[tuple[int, Coin]]:
    return [(i, coin) for i, coin in enumerate(ask.world.coins, 1) if coin.listed <= ask.now]


def _coin(ask: Ask, name: str) -> tuple[int, Coin]:
    for number, coin in _listed(ask):
        if name.upper() in {str(number), coin.name}:
            return number, coin
    raise Refusal(Problem.NOT_FOUND)


def _topic(coin: Coin) -> str:
    return f"{coin.name} {coin.title}".lower()


def _snapshot(ask: Ask, number: int, coin: Coin) -> dict[str, Any]:
    now = {n: v[0].item() for n, v in social(ask.world, coin, np.array([ask.now])).items()}
    price = ask.world.price(REFERENCE, coin, ask.now) * coin.tick
    row = {"id": number, "symbol": coin.name, "name": coin.title, "price": price}
    row |= {"market_cap": price * coin.supply, "market_cap_rank": number}
    row |= {"circulating_supply": coin.supply, "max_supply": None, "topic": _topic(coin)}
    row |= {"interactions_24h": now["interactions"], "social_volume_24h": now["posts_active"]}
    shown = ("galaxy_score", "alt_rank", "sentiment", "social_dominance")
    return row | {name: now[name] for name in shown}


@api.get("/public/coins/list/{version}")
def coins(ask: Ask) -> Json:
    """Return a page of coins; version 1 is up to an hour old."""
    if ask.path["version"] not in {"v1", "v2"}:
        raise Refusal(Problem.NOT_FOUND)
    size, page = ask.integer("limit", 10, 1, 1_000), ask.integer("page", 0, 0)
    field, down = ask.text("sort", "market_cap_rank"), bool(ask.query.get("desc"))
    rows = [_snapshot(ask, number, coin) for number, coin in _listed(ask)]
    if field not in rows[0]:
        raise Refusal(Problem.BAD_PARAMETER, "sort")
    rows.sort(key=lambda row: row[field], reverse=down)
    config = {"sort": field, "desc": down, "limit": size, "page": page}
    config |= {"total_rows": len(rows), "generated": ask.now // SECOND}
    return {"config": config, "data": rows[page * size : (page + 1) * size]}


@api.get("/public/coins/{coin}/v1")
def coin(ask: Ask) -> Json:
    """Return the current state of one coin."""
    number, entry = _coin(ask, ask.path["coin"])
    config = {"id": number, "symbol": entry.name, "generated": ask.now // SECOND}
    return {"config": config, "data": _snapshot(ask, number, entry)}


@api.get("/public/coins/{coin}/time-series/v2", plan=True)
def history(ask: Ask) -> Json:
    """Return a coin's buckets, oldest first; the last one is unfinished."""
    number, entry = _coin(ask, ask.path["coin"])
    return _history(ask, number, entry, prices=True)


@api.get("/public/topic/{topic}/time-series/v2", plan=True)
def topic_history(ask: Ask) -> Json:
    """Return a topic's buckets."""
    return _history(ask, *_of_topic(ask), prices=False)


def _history(ask: Ask, number: int, entry: Coin, *, prices: bool) -> Json:
    bucket = ask.text("bucket", "day", ("hour", "day"))
    step = HOUR if bucket == "hour" else DAY
    interval = ask.text("interval", "1w", tuple(_SPANS))
    end = min(ask.instant("end", ask.now, unit=SECOND), ask.now)
    first = ask.instant("start", end - _SPANS[interval] * DAY, unit=SECOND)
    first = max(first, entry.listed, OPENING)
    opens = np.arange(-(-first // step) * step, end + 1, step)
    # The current bucket is included with its values so far.
    ends = np.minimum(opens + step, ask.now)
    columns = {"time": opens // SECOND, **(social(ask.world, entry, ends) if len(opens) else {})}
    rows: list[dict[str, Any]] = [
        dict(zip(columns, cells, strict=True))
        for cells in zip(*(column.tolist() for column in columns.values()), strict=True)
    ]
    for row in rows:
        if prices:
            row["circulating_supply"] = entry.supply
        # The earliest buckets have no spam count.
        if row["time"] * SECOND < OPENING + 200 * DAY:
            row["spam"] = None
    config: dict[str, Any] = {"id": number, "symbol": entry.name, "topic": _topic(entry)}
    config |= {"name": entry.title, "interval": interval, "bucket": bucket, "metrics": []}
    config |= {"start": first // SECOND, "end": end // SECOND, "generated": ask.now // SECOND}
    return {"config": config, "data": rows}


@api.get("/public/coins/{coin}/meta/v1")
def meta(ask: Ask) -> Json:
    """Return the description of a coin."""
    number, entry = _coin(ask, ask.path["coin"])
    return {"data": {"id": number, "symbol": entry.name, "name": entry.title, "description": ""}}


def _of_topic(ask: Ask) -> tuple[int, Coin]:
    name = ask.path["topic"]
    for number, entry in _listed(ask):
        if name in {_topic(entry), entry.name.lower(), entry.title.lower()}:
            return number, entry
    raise Refusal(Problem.NOT_FOUND)


@api.get("/public/topic/{topic}/v1")
def topic(ask: Ask) -> Json:
    """Return the current state of a topic."""
    entry = _of_topic(ask)[1]
    now = {n: v[0].item() for n, v in social(ask.world, entry, np.array([ask.now])).items()}
    data = {"topic": _topic(entry), "interactions_24h": now["interactions"], "trend": "flat"}
    data |= {"num_contributors": now["contributors_active"], "num_posts": now["posts_active"]}
    data |= {"types_count": {"tweet": now["posts_active"]}}
    data |= {"types_sentiment": {"tweet": now["sentiment"]}}
    return {"config": {"topic": _topic(entry), "generated": ask.now // SECOND}, "data": data}


@api.get("/public/topic/{topic}/creators/v1")
def creators(ask: Ask) -> Json:
    """Return the most influential creators of a topic."""
    entry = _of_topic(ask)[1]
    reach = hashed(key_of("lunarcrush-creators", entry.name), np.arange(100)) * 1e6
    rows = [
        {
            "creator_id": f"twitter::{1_000 + i}",
            "creator_name": f"creator{i}",
            "creator_avatar": None,
            "creator_followers": int(followers),
            "creator_rank": rank,
            "interactions_24h": int(followers) // 10,
        }
        for rank, (followers, i) in enumerate(sorted(zip(reach, range(100), strict=True))[::-1], 1)
    ]
    return {"config": {"topic": _topic(entry), "generated": ask.now // SECOND}, "data": rows}


@api.get("/public/system/changes")
def changes(ask: Ask) -> Json:
    """Return changes of method; here none."""
    return {"config": {"generated": ask.now // SECOND}, "data": []}
