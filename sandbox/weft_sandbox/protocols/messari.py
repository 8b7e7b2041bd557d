"""Messari: assets, protocols, unlocks, events and attention, in one envelope.

Fees, revenue, value locked and posts are series of the world; unlock schedules and the dates of
governance events are drawn for each coin, and the schedule is open to the future, as it is there.
Supply grew evenly to what it is. Which dataset tells it by day is not documented publicly: here it
is ``supply``, column ``circulating-supply``.
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
    """Return what Messari's addresses call a coin."""
    return coin.title.lower().replace(" ", "-")


def id_of(coin: Coin) -> str:
    """Return a coin's id."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, coin.name))


def sector_of(coin: Coin) -> str:
    """Return the sector of a coin's profile."""
    return "DeFi" if coin.name in PROTOCOLS.values() else "Memes" if coin.beta > 1.55 else "Layer 1"


def locked_share(coin: Coin, days: Times) -> Floats:
    """Return the share of supply that unlocks at the start of each day: a trickle, and cliffs."""
    draw = hashed(key_of("messari-unlocks", coin.name), days // DAY)
    cliff = days // DAY % 30 == key_of("messari-cliff", coin.name) % 30
    return np.asarray(2e-5 + np.where(cliff, 0.01 * draw, 0.0))


def supply_at(coin: Coin, times: Times) -> Floats:
    """Return the coins in circulation: each year some more, at a rate of the coin's own."""
    rate = 0.08 * key_of("messari-inflation", coin.name) / 2**63
    return np.asarray(coin.supply * np.exp(rate * (times - _SUPPLY_AS_OF) / YEAR))


def max_supply(coin: Coin) -> float | None:
    """Return the coins there will ever be, None where there is no limit."""
    return None if coin.name in UNLIMITED else coin.supply * 1.25


def _told(data: Json, **metadata: Json) -> Json:
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
    return _told([_brief(coin) for coin in numbered(_listed(ask), page, size)], page=page)


@api.get("/metrics/v2/assets/details")
def details(ask: Ask) -> Json:
    """Return the present state of assets; names nobody knows are left out."""
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
    return _told(rows)


@api.get("/metrics/v2/protocols/{id}/metrics/{dataset}/time-series/{step}", plan=True)
def protocol(ask: Ask) -> Json:
    """Return a protocol's day or hour, in rows that `pointSchemas` names; the last is partial.

    What suppliers get stands in the dataset of the protocol's kind alone.
    """
    dataset = ask.path["dataset"]
    if dataset not in {"core", _DATASETS.get(ask.path["id"])}:
        raise Refusal(Problem.NOT_FOUND)
    name, step = PROTOCOLS.get(ask.path["id"]), _STEPS.get(ask.path["step"])
    if name is None or step is None or ask.world.coin[name].listed > ask.now:
        raise Refusal(Problem.NOT_FOUND)
    opens, ends = _span(ask, step)
    # What a day will come to is not known before it ends: the last row shows what is so far.
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
    return _told({"points": points}, granularity=ask.path["step"], pointSchemas=schemas)


@api.get("/metrics/v2/assets/{id}/metrics/supply/time-series/{step}", plan=True)
def supply(ask: Ask) -> Json:
    """Return an asset's supply by step, in rows that `pointSchemas` names."""
    coin, step = _named(ask.path["id"], _listed(ask)), _STEPS.get(ask.path["step"])
    if step is None:
        raise Refusal(Problem.NOT_FOUND)
    opens, ends = _span(ask, step)
    held = supply_at(coin, np.minimum(ends, ask.now))
    columns = {
        "time": ("Time", opens // SECOND),
        "circulating-supply": ("Circulating supply", held),
        "issued": ("Issued", held - supply_at(coin, opens)),
    }
    return _table(ask, columns, opens)


def _span(ask: Ask, step: int) -> tuple[Times, Times]:
    """Return starts and ends of the steps asked for, the one that runs included."""
    end = min(ask.instant("end", ask.now, unit=SECOND), ask.now)
    first = max(ask.instant("start", end - 30 * step, unit=SECOND), OPENING)
    opens = np.arange(-(-first // step) * step, end, step)
    return opens, opens + step


@api.get("/token-unlocks/v1/assets", open=True)
def unlocking(ask: Ask) -> Json:
    """Return the assets with unlock data."""
    rows = [_brief(coin) for coin in _listed(ask) if coin.name in LOCKED]
    rows = rows[: ask.integer("limit", 100, 1)]
    return _told([{**row, "serialId": i, "otherInfo": None} for i, row in enumerate(rows)])


def _schedule(ask: Ask) -> tuple[Coin, Times, Floats]:
    coin = _named(ask.path["id"], [c for c in _listed(ask) if c.name in LOCKED])
    first = ask.instant("startTime", ask.now - 30 * DAY, unit=None)
    end = ask.instant("endTime", ask.now + 365 * DAY, unit=None)
    days = np.arange(-(-max(first, coin.listed) // DAY) * DAY, end + 1, DAY)
    return coin, days, locked_share(coin, days) * coin.supply


_RECIPIENTS = (("Team", 0.4), ("Investors", 0.6))


def _by_recipient(days: Times, rows: Callable[[float], list[dict[str, float]]]) -> Json:
    """Return rows of each day by recipient, of whose share `rows` makes them."""
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
    """Return what unlocked each day up to now, by recipient; dollars are at the present price."""
    coin, days, native = _schedule(ask)
    ask.text("interval", "DAILY", ("DAILY",))
    price, past = _price(ask, coin), days <= ask.now

    def rows(share: float) -> list[dict[str, float]]:
        amounts = (share * native[past]).tolist()
        names = ("unlockedInPeriodNative", "unlockedInPeriodUSD")
        return [dict(zip(names, (a, a * price), strict=True)) for a in amounts]

    allocations = _by_recipient(days[past], rows)
    about = {"asset": _brief(coin), "interval": "DAILY", "totalSnapshots": []}
    return _told({**about, "allocations": allocations})


@api.get("/token-unlocks/v1/assets/{id}/vesting-schedule", plan=True)
def vesting(ask: Ask) -> Json:
    """Return what will have unlocked by each day, by recipient; dollars are at present prices."""
    coin, days, native = _schedule(ask)
    price, before, whole = _price(ask, coin), 0.3 * coin.supply, 0.9 * coin.supply
    held = before + np.cumsum(native)

    def rows(share: float) -> list[dict[str, float]]:
        return [
            {
                "cumulativeUnlockedNative": share * amount,
                "cumulativeUnlockedUSD": share * amount * price,
                "percentOfUnlocksCompleted": amount / whole,
                "unlocksRemainingNative": share * (whole - amount),
                "unlocksRemainingUSD": share * (whole - amount) * price,
            }
            for amount in held.tolist()
        ]

    about = {"asset": _brief(coin), "totalDailySnapshots": []}
    return _told({**about, "allocations": _by_recipient(days, rows)})


@api.get("/token-unlocks/v1/assets/{id}/events", plan=True)
def cliffs(ask: Ask) -> Json:
    """Return the days on which much unlocks at once."""
    coin, days, native = _schedule(ask)
    rows = []
    for day, amount in zip(days.tolist(), native.tolist(), strict=True):
        if amount > 1e-3 * coin.supply:
            share = {"percentOfTotalAllocation": amount / coin.supply}
            cliff = {"amountNative": amount, "amountUSD": amount * _price(ask, coin), **share}
            rows.append({"timestamp": iso(day), "cliff": cliff, "dailyLinearRateChange": None})
    return _told({"asset": _brief(coin), "unlockEvents": rows})


def governance(world: World, now: int) -> list[tuple[int, Coin, str]]:
    """Return when events were recorded, of which coin and category, newest first."""
    days = np.arange(max(OPENING, now - 400 * DAY) // DAY, now // DAY + 1)
    found = []
    for coin in world.coins:
        draw = hashed(key_of("messari-events", coin.name), days)
        for day, chance in zip(days.tolist(), draw.tolist(), strict=True):
            kind = "Governance" if chance < 0.35 else "Partnership"
            for number in range(2 if chance < 0.1 else int(chance < 0.45)):
                at = day * DAY + int(chance * 1e6) % 20 * HOUR + number * HOUR
                if max(coin.listed, OPENING) <= at <= now:
                    found.append((at, coin, kind))
    return sorted(found, key=lambda event: (-event[0], event[1].name))


@api.get("/intel/v1/events", plan=True)
def events(ask: Ask) -> Json:
    """Return events, newest first; `limit` is cut at 100. Every tenth is about no coin."""
    size = min(ask.integer("limit", 10, 1), _MOST_EVENTS)
    return _event_page(ask, ask.integer("page", 1, 1), size)


@api.get("/intel/v1/events", methods=("POST",), plan=True)
def posted_events(ask: Ask) -> Json:
    """Return events as the list asked for by GET does, which is the older way."""
    try:
        asked = orjson.loads(ask.body)
    except ValueError:
        raise Refusal(Problem.BAD_PARAMETER, "body") from None
    size, page = asked.get("limit", 10), asked.get("page", 1)
    if not (isinstance(size, int) and isinstance(page, int) and size >= 1 and page >= 1):
        raise Refusal(Problem.BAD_PARAMETER, "limit, page")
    return _event_page(ask, page, min(size, _MOST_EVENTS))


def is_global(at: int) -> bool:
    """Whether an event is about no coin in particular."""
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
    return _told(rows, page=page, limit=size)


@api.get("/signal/v1/assets/time-series/{step}", plan=True)
def signal(ask: Ask) -> Json:
    """Return mindshare, sentiment and posts of an asset; the last point is still running."""
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
    return _told([{**_brief(coin), "points": points}])
