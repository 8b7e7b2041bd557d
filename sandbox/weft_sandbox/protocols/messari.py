"""Messari: assets, protocols, unlocks, events and attention, in one envelope.

Fees, revenue, value locked and posts are series of the world. Unlock schedules and dates of
governance events are drawn for each coin; the schedule includes the future, as at Messari. Supply
grows evenly to its present size. The dataset of daily supply is not documented publicly: here it is
``supply``, column ``circulating-supply``.
"""

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, SECOND, YEAR, iso, parse_time
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import hashed, key_of
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.paging import numbered
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

PROTOCOLS = {"aave": "AAVE", "uniswap": "UNI"}
_DATASETS = {"aave": "lending", "uniswap": "dex"}
UNLIMITED = frozenset({"ETH", "SOL", "DOGE", "DOT", "ATOM", "NEAR"})
LOCKED = frozenset({"SOL", "AVAX", "DOT", "UNI", "ATOM", "NEAR", "AAVE", "ARB", "FIL"})
_STEPS = {"5m": 300 * SECOND, "15m": 900 * SECOND, "1h": HOUR, "1d": DAY}
_MOST_EVENTS = 100
_SUPPLY_AS_OF = parse_time("2024-01-01T00:00:00Z")
_TOLD = {
    Problem.BAD_PARAMETER: (400, "invalid parameter: {}"),
    Problem.NOT_FOUND: (404, "not found"),
    Problem.PLAN: (403, "your plan does not include this route"),
    Problem.RATE_LIMITED: (429, "too many requests"),
    Problem.BANNED: (429, "too many requests"),
    Problem.SERVER: (500, "internal server error"),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _TOLD.get(problem, (401, "unauthorized: no valid API key"))
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"error": text.format(detail), "data": None}, status, wait)


api = Api(
    "messari",
    errors=_errors,
    key=Key(header="x-messari-api-key"),
    budgets=(Budget("minute", 200, 60),),
)


def slug_of(coin: Coin) -> str:
    """Return Messari's slug of a coin."""
    return coin.title.lower().replace(" ", "-")


def id_of(coin: Coin) -> str:
    """Return a coin's id."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, coin.name))


def sector_of(coin: Coin) -> str:
    """Return the sector of a coin's profile."""
    return "DeFi" if coin.name in PROTOCOLS.values() else "Memes" if coin.beta > 1.55 else "Layer 1"


def locked_share(coin: Coin, days: Times) -> Floats:
    """Return the share of supply that unlocks at the start of each day: few coins, and cliffs."""
    draw = hashed(key_of("messari-unlocks", coin.name), days // DAY)
    cliff = days // DAY % 30 == key_of("messari-cliff", coin.name) % 30
    return np.asarray(2e-5 + np.where(cliff, 0.01 * draw, 0.0))


def supply_at(coin: Coin, times: Times) -> Floats:
    """Return the coins in circulation, which grow each year at a rate of the coin."""
    rate = 0.08 * key_of("messari-inflation", coin.name) / 2**63
    return np.asarray(coin.supply * np.exp(rate * (times - _SUPPLY_AS_OF) / YEAR))


def max_supply(coin: Coin) -> float | None:
    """Return the greatest possible supply; None without a limit."""
    return None if coin.name in UNLIMITED else coin.supply * 1.25


def _enveloped(data: Json, **metadata: Json) -> Json:
    return {"error": None, "data": data, "metadata": metadata}


def _listed(ask: Ask) -> list[Coin]:
    return [coin for coin in ask.world.coins if coin.listed <= ask.now]


def _named(name: str, among: list[Coin]) -> Coin:
    for coin in among:
        if name in {slug_of(coin), id_of(coin)}:
            return coin
    raise Refusal(Problem.NOT_FOUND)


def _brief(coin: Coin) -> dict[str, Any]:
    names = {"name": coin.title, "slug": slug_of(coin), "symbol": coin.name}
    return {"id": id_of(coin), **names}


def _price(ask: Ask, coin: Coin) -> float:
    return ask.world.price(REFERENCE, coin, ask.now) * coin.tick


@api.get("/metrics/v2/assets", open=True)
def assets(ask: Ask) -> Json:
    """Return a page of the assets."""
    size, page = ask.integer("limit", 10, 1, 500), ask.integer("page", 1, 1)
    return _enveloped([_brief(coin) for coin in numbered(_listed(ask), page, size)], page=page)


@api.get("/metrics/v2/assets/details")
def details(ask: Ask) -> Json:
    """Return the current state of assets; unknown names are left out."""
    wanted = set((ask.query.get("slugs") or ask.query.get("assetIDs") or "").split(","))
    if wanted == {""}:
        raise Refusal(Problem.BAD_PARAMETER, "slugs")
    rows = []
    for rank, coin in enumerate(_listed(ask), 1):
        if wanted & {slug_of(coin), id_of(coin)}:
            price = _price(ask, coin)
            most = max_supply(coin)
            cap = {"circulatingUsd": price * coin.supply, "dominance": None}
            cap["fullyDilutedUsd"] = price * (most or coin.supply)
            supply = {"circulating": coin.supply, "max": most, "total": coin.supply}
            data = {"priceUsd": price, "priceAt": iso(ask.now // SECOND * SECOND)}
            data |= {"marketcap": cap, "supply": supply}
            about = {"category": "Cryptocurrency", "sector": sector_of(coin), "tags": []}
            rows.append({**_brief(coin), "rank": rank, **about, "marketData": data})
    return _enveloped(rows)


@api.get("/metrics/v2/protocols/{id}/metrics/{dataset}/time-series/{step}", plan=True)
def protocol(ask: Ask) -> Json:
    """Return a protocol's days or hours, in rows described by `pointSchemas`; the last is partial.

    Only the dataset of the protocol's kind has the suppliers' revenue.
    """
    dataset = ask.path["dataset"]
    if dataset not in {"core", _DATASETS.get(ask.path["id"])}:
        raise Refusal(Problem.NOT_FOUND)
    name, step = PROTOCOLS.get(ask.path["id"]), _STEPS.get(ask.path["step"])
    if name is None or step is None or ask.world.coin[name].listed > ask.now:
        raise Refusal(Problem.NOT_FOUND)
    opens, ends = _span(ask, step)
    # The last row has the values of the current day so far.
    known = np.minimum(ends, ask.now)
    series = ask.world.series
    fees, revenue = series("fees", name, known), series("revenue", name, known)
    share = np.where(ends > ask.now, (ask.now - opens) / step, 1.0)
    columns = {
        "time": ("Time", opens // SECOND),
        "tvl24HourUsd": ("TVL", series("tvl", name, known)),
        "activeAddresses24Hour": ("Active addresses", series("active_addresses", name, known)),
        "fees24HourUsd": ("Fees", fees * share),
    }
    if dataset != "core":
        supplied = np.maximum(fees - revenue, 0) * share
        columns["feesSupplySide24HourUsd"] = ("Supply side", supplied)
    return _table(ask, columns, opens)


def _table(ask: Ask, columns: dict[str, tuple[str, Any]], opens: Times) -> Json:
    schemas = [
        {"name": title, "slug": slug, "description": title, "is_timestamp": slug == "time"}
        for slug, (title, _) in columns.items()
    ]
    points = [list(row) for row in zip(*(c.tolist() for _, c in columns.values()), strict=True)]
    for row, opening in zip(points, opens.tolist(), strict=True):
        if opening // DAY % 17 == 3:
            row[2] = None
    return _enveloped({"points": points}, granularity=ask.path["step"], pointSchemas=schemas)


@api.get("/metrics/v2/assets/{id}/metrics/supply/time-series/{step}", plan=True)
def supply(ask: Ask) -> Json:
    """Return an asset's supply by step, in rows described by `pointSchemas`."""
    coin, step = _named(ask.path["id"], _listed(ask)), _STEPS.get(ask.path["step"])
    if step is None:
        raise Refusal(Problem.NOT_FOUND)
    opens, ends = _span(ask, step)
    circulating = supply_at(coin, np.minimum(ends, ask.now))
    columns = {
        "time": ("Time", opens // SECOND),
        "circulating-supply": ("Circulating supply", circulating),
        "issued": ("Issued", circulating - supply_at(coin, opens)),
    }
    return _table(ask, columns, opens)


def _span(ask: Ask, step: int) -> tuple[Times, Times]:
    """Return starts and ends of the requested steps, the current one included."""
    end = min(ask.instant("end", ask.now, unit=SECOND), ask.now)
    first = max(ask.instant("start", end - 30 * step, unit=SECOND), OPENING)
    opens = np.arange(-(-first // step) * step, end, step)
    return opens, opens + step


@api.get("/token-unlocks/v1/assets", open=True)
def unlocking(ask: Ask) -> Json:
    """Return the assets with unlock data."""
    rows = [_brief(coin) for coin in _listed(ask) if coin.name in LOCKED]
    rows = rows[: ask.integer("limit", 100, 1)]
    return _enveloped([{**row, "serialId": i, "otherInfo": None} for i, row in enumerate(rows)])


def _schedule(ask: Ask) -> tuple[Coin, Times, Floats]:
    coin = _named(ask.path["id"], [c for c in _listed(ask) if c.name in LOCKED])
    first = ask.instant("startTime", ask.now - 30 * DAY, unit=None)
    end = ask.instant("endTime", ask.now + 365 * DAY, unit=None)
    days = np.arange(-(-max(first, coin.listed) // DAY) * DAY, end + 1, DAY)
    return coin, days, locked_share(coin, days) * coin.supply


_RECIPIENTS = (("Team", 0.4), ("Investors", 0.6))


def _by_recipient(days: Times, rows: Callable[[float], list[dict[str, float]]]) -> Json:
    """Return the rows of each day by recipient; `rows` computes them from a recipient's share."""
    stamps = [{"timestamp": iso(day)} for day in days.tolist()]
    return [
        {
            "allocationRecipient": recipient,
            "dailySnapshots": [s | row for s, row in zip(stamps, rows(share), strict=True)],
        }
        for recipient, share in _RECIPIENTS
    ]


@api.get("/token-unlocks/v1/assets/{id}/unlocks", plan=True)
def unlocks(ask: Ask) -> Json:
    """Return the unlocks of each day up to now, by recipient; dollars are at the present price."""
    coin, days, native = _schedule(ask)
    ask.text("interval", "DAILY", ("DAILY",))
    price, past = _price(ask, coin), days <= ask.now

    def rows(share: float) -> list[dict[str, float]]:
        amounts = (share * native[past]).tolist()
        names = ("unlockedInPeriodNative", "unlockedInPeriodUSD")
        return [dict(zip(names, (a, a * price), strict=True)) for a in amounts]

    allocations = _by_recipient(days[past], rows)
    about = {"asset": _brief(coin), "interval": "DAILY", "totalSnapshots": []}
    return _enveloped({**about, "allocations": allocations})


@api.get("/token-unlocks/v1/assets/{id}/vesting-schedule", plan=True)
def vesting(ask: Ask) -> Json:
    """Return the cumulative unlocks of each day, by recipient; dollars are at the present price."""
    coin, days, native = _schedule(ask)
    price, before, total = _price(ask, coin), 0.3 * coin.supply, 0.9 * coin.supply
    circulating = before + np.cumsum(native)

    def rows(share: float) -> list[dict[str, float]]:
        return [
            {
                "cumulativeUnlockedNative": share * amount,
                "cumulativeUnlockedUSD": share * amount * price,
                "percentOfUnlocksCompleted": amount / total,
                "unlocksRemainingNative": share * (total - amount),
                "unlocksRemainingUSD": share * (total - amount) * price,
            }
            for amount in circulating.tolist()
        ]

    about = {"asset": _brief(coin), "totalDailySnapshots": []}
    return _enveloped({**about, "allocations": _by_recipient(days, rows)})


@api.get("/token-unlocks/v1/assets/{id}/events", plan=True)
def cliffs(ask: Ask) -> Json:
    """Return the days with large unlocks."""
    coin, days, native = _schedule(ask)
    rows = []
    for day, amount in zip(days.tolist(), native.tolist(), strict=True):
        if amount > 1e-3 * coin.supply:
            share = {"percentOfTotalAllocation": amount / coin.supply}
            cliff = {"amountNative": amount, "amountUSD": amount * _price(ask, coin), **share}
            rows.append({"timestamp": iso(day), "cliff": cliff, "dailyLinearRateChange": None})
    return _enveloped({"asset": _brief(coin), "unlockEvents": rows})


def governance(world: World, now: int) -> list[tuple[int, Coin, str]]:
    """Return time, coin and category of events, newest first."""
    days = np.arange(max(OPENING, now - 400 * DAY) // DAY, now // DAY + 1)
    dated = []
    for coin in world.coins:
        draw = hashed(key_of("messari-events", coin.name), days)
        for day, chance in zip(days.tolist(), draw.tolist(), strict=True):
            kind = "Governance" if chance < 0.35 else "Partnership"
            for number in range(2 if chance < 0.1 else int(chance < 0.45)):
                at = day * DAY + int(chance * 1e6) % 20 * HOUR + number * HOUR
                if max(coin.listed, OPENING) <= at <= now:
                    dated.append((at, coin, kind))
    return sorted(dated, key=lambda event: (-event[0], event[1].name))


@api.get("/intel/v1/events", plan=True)
def events(ask: Ask) -> Json:
    """Return events, newest first; `limit` is cut at 100. Every tenth event concerns no coin."""
    size = min(ask.integer("limit", 10, 1), _MOST_EVENTS)
    return _event_page(ask, ask.integer("page", 1, 1), size)


@api.get("/intel/v1/events", methods=("POST",), plan=True)
def posted_events(ask: Ask) -> Json:
    """Return events as the list by GET does; this form is older."""
    try:
        query = orjson.loads(ask.body)
    except ValueError:
        raise Refusal(Problem.BAD_PARAMETER, "body") from None
    size, page = query.get("limit", 10), query.get("page", 1)
    if not (isinstance(size, int) and isinstance(page, int) and size >= 1 and page >= 1):
        raise Refusal(Problem.BAD_PARAMETER, "limit, page")
    return _event_page(ask, page, min(size, _MOST_EVENTS))


def is_global(at: int) -> bool:
    """Whether an event concerns no coin in particular."""
    return at // DAY % 10 == 7  # any digit does


def _event_page(ask: Ask, page: int, size: int) -> Json:
    rows = [
        {
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{coin.name} {at}")),
            "eventName": f"{coin.title}: {kind}",
            "eventDate": iso(at + 5 * DAY),
            "submissionDate": iso(at),
            "category": kind,
            "subcategory": "Proposal",
            "importance": "Medium",
            "status": "Confirmed",
            "globalEvent": is_global(at),
            "primaryAssets": None if is_global(at) else [_brief(coin)],
            "secondaryAssets": None,
        }
        for at, coin, kind in numbered(governance(ask.world, ask.now), page, size)
    ]
    return _enveloped(rows, page=page, limit=size)


@api.get("/signal/v1/assets/time-series/{step}", plan=True)
def signal(ask: Ask) -> Json:
    """Return mindshare, sentiment and posts of an asset; the last point is unfinished."""
    step = {"1h": HOUR, "1d": DAY}.get(ask.path["step"])
    if step is None:
        raise Refusal(Problem.NOT_FOUND)
    coin = _named(ask.text("assetIds"), _listed(ask))
    opens, ends = _span(ask, step)
    known, series = np.minimum(ends, ask.now), ask.world.series
    mindshare = series("mindshare", coin.name, known) / recipe_of("mindshare").level * 5.0
    moods = series("social_sentiment", coin.name, known)
    posts = series("social_volume", coin.name, known)
    points = [
        {
            "time": opening // SECOND,
            "mindshare": {"rank": 1, "percentage": share},
            "sentiment": {"score": mood},
            "postMetrics": {"totalPosts": round(post), "uniqueAuthorsMentioning": round(post / 2)},
        }
        for opening, share, mood, post in zip(
            *(c.tolist() for c in (opens, mindshare, moods, posts)), strict=True
        )
    ]
    return _enveloped([{**_brief(coin), "points": points}])
