"""The TIE: scores of news items from 1 to 5, their subjects, and their spread.

An item is scored 40 seconds after its publication; every eleventh is scored again three hours
later. The paths of posts and of the names in an item are not documented publicly: here posts have
a path and a score from 0 to 100, four times a day, and names stand beside the coins.
"""

from functools import lru_cache

import numpy as np

from weft.foundation.times import DAY, HOUR, SECOND, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.market.news import NewsItem
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_DELAY, _AGAIN, _SPAN = 40 * SECOND, 3 * HOUR, 10 * DAY
_STEP, _BEFORE = 6 * HOUR, 20 * SECOND
"""Interval of the posts, and their delay."""
_NAMED = ("ETF", "Regulation", "Federal Reserve", "Stablecoins", "Mining", "Security", "Upgrades")
_MASK = 0x5A5A_1234_ABCD
_ITEMS_AN_HOUR = 64
"""Greatest number of news items in one hour of the world."""


def _errors(problem: Problem, detail: str) -> Answer:
    status = {
        Problem.BAD_PARAMETER: 422,
        Problem.NOT_FOUND: 404,
        Problem.PLAN: 403,
        Problem.RATE_LIMITED: 429,
        Problem.SERVER: 500,
    }.get(problem, 401)
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"message": f"{problem} {detail}".strip()}, status, wait)


api = Api(
    "thetie",
    errors=_errors,
    key=Key(header="Authorization"),
    budgets=(Budget("minute", 120, 60),),
)


@lru_cache(maxsize=4)
def _archive(world: World, until: int) -> tuple[NewsItem, ...]:
    return tuple(world.news(until - _SPAN, until))


def _items(ask: Ask) -> list[NewsItem]:
    hour = ask.now // HOUR * HOUR
    return [*_archive(ask.world, hour), *ask.world.news(hour, ask.now)]


def _hash(item: NewsItem) -> str:
    return f"{item.number ^ _MASK:012x}"


def _time(instant: int) -> str:
    return iso(instant // SECOND * SECOND)[:19].replace("T", " ")


@api.get("/v1/news_sentiment", plan=True)
def news_sentiment(ask: Ask) -> Json:
    """Return scores, newest first."""
    limit = ask.integer("limit", 100, 1, 1_000)
    scores = []
    for item in _items(ask):
        score = 3 + 2 * item.sentiment
        scores.append((item.time + _DELAY, item, score))
        if item.number % 11 == 0:
            scores.append((item.time + _AGAIN, item, min(score + 0.1, 5.0)))
    known = sorted((s for s in scores if s[0] <= ask.now), key=lambda s: (-s[0], s[1].number))
    return {
        "data": [
            {
                "link_hash": _hash(item),
                "timestamp": _time(instant),
                "sentiment_score": round(score, 3),
                "sentiment_variance": 0.22,
            }
            for instant, item, score in known[:limit]
        ]
    }


@api.get("/v1/news_metadata", plan=True)
def news_metadata(ask: Ask) -> Json:
    """Return the subjects of items; unknown items are left out."""
    rows = []
    for name in ask.text("link_hash").split(","):
        try:
            number = int(name, 16) ^ _MASK
        except ValueError:
            raise Refusal(Problem.BAD_PARAMETER, "link_hash") from None
        begin = OPENING + number // _ITEMS_AN_HOUR * HOUR
        if not OPENING <= begin <= ask.now:
            continue
        for item in ask.world.news(begin, min(begin + HOUR, ask.now)):
            if item.number == number:
                link = f"https://news.example.com/{number}"
                content = {"link_hash": name, "title": item.title, "link": link}
                rows.append(content | {"coins": [item.coin], "entities": entities(item)})
    return {"data": rows}


def entities(item: NewsItem) -> list[str]:
    """Return the people, firms and topics that an item names."""
    first, second = item.number % len(_NAMED), item.number // 7 % len(_NAMED)
    return [item.outlet, *dict.fromkeys((_NAMED[first], _NAMED[second]))]


@api.get("/v1/social_sentiment", plan=True)
def social_sentiment(ask: Ask) -> Json:
    """Return the tone and number of posts, and their share of all posts; newest first."""
    limit, coin = ask.integer("limit", 100, 1, 1_000), ask.text("coin").upper()
    if coin not in ask.world.coin:
        raise Refusal(Problem.NOT_FOUND)
    times = np.arange((ask.now + _BEFORE) // _STEP, OPENING // _STEP, -1)[:limit] * _STEP - _BEFORE
    columns = [
        50 + 50 * ask.world.series("social_sentiment", coin, times),
        np.rint(ask.world.series("social_volume", coin, times)),
        100 * ask.world.series("social_dominance", coin, times),
    ]
    return {
        "data": [
            {
                "coin": coin,
                "timestamp": _time(time),
                "sentiment_score": tone,
                "tweet_volume": posts,
                "dominance": share,
            }
            for time, tone, posts, share in zip(
                times.tolist(), *(column.tolist() for column in columns), strict=True
            )
        ]
    }


@api.get("/v1/trending_news/historical", plan=True)
def trending_news(ask: Ask) -> Json:
    """Return the spread of some items within their first day, newest first."""
    limit = ask.integer("limit", 100, 1, 1_000)
    rows = []
    for item in reversed(_items(ask)):
        scored_at = item.time + 40 * 60 * SECOND
        if item.number % 5 == 0 and scored_at <= ask.now:
            rows.append(
                {
                    "link_hash": _hash(item),
                    "timestamp": _time(scored_at),
                    "tweet_count": 50 + item.number % 200,
                    "seconds_from_publication": 2_400,
                    "seconds_from_trending": 900,
                }
            )
    return {"data": rows[:limit]}
