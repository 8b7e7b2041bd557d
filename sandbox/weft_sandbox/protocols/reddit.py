"""Reddit's Data API: tokens for an app, and listings of posts, newest first.

Each news item of the world has twenty posts in one subreddit, half a minute apart; the eighth of
them was removed. A listing ends after a thousand posts.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from html import escape

from weft.foundation.times import DAY, HOUR, SECOND
from weft_sandbox.limits import Budget, Meter
from weft_sandbox.market.news import NewsItem
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_SUBS = ("CryptoCurrency", "Bitcoin", "ethereum", "CryptoMarkets", "solana", "cardano")
_PRIVATE = "privatecoins"
_POSTS, _APART, _DEEPEST, _SPAN = 20, 30 * SECOND, 1_000, 8 * DAY
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_BLOCKED = ("python-httpx", "python-requests", "curl")


def _errors(problem: Problem, detail: str) -> Answer:
    content = {
        Problem.NOT_FOUND: (404, "Not Found"),
        Problem.RATE_LIMITED: (429, "Too Many Requests"),
        Problem.PLAN: (403, "Forbidden"),
        Problem.BANNED: (403, "Forbidden"),
        Problem.BAD_PARAMETER: (400, "Bad Request"),
        Problem.SERVER: (500, "Internal Server Error"),
    }
    status, message = content.get(problem, (401, "Unauthorized"))
    wait = {"X-Ratelimit-Reset": detail} if status == 429 else {}
    return Answer({"message": message, "error": status}, status, wait)


def _headers(meters: Mapping[str, Meter]) -> dict[str, str]:
    meter = meters["ten minutes"]
    return {
        "X-Ratelimit-Used": str(meter.used),
        "X-Ratelimit-Remaining": f"{meter.left:.1f}",
        "X-Ratelimit-Reset": str(meter.retry_after),
    }


api = Api(
    "reddit",
    errors=_errors,
    key=Key(header="Authorization"),
    budgets=(Budget("ten minutes", 1_000, 600),),
    headers=_headers,
)


def _agent(ask: Ask) -> None:
    if ask.headers.get("user-agent", "").startswith(_BLOCKED):
        page = b"<html><title>Blocked</title>whoa there, pardner!</html>"
        raise Refusal(Answer(page, 403, media_type="text/html"))


@api.get("/api/v1/access_token", methods=("POST",), costs={}, open=True)
def token(ask: Ask) -> Json:
    """Return a token for a day."""
    _agent(ask)
    try:
        who = base64.b64decode((ask.key or "").encode(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal(Problem.BAD_KEY) from None
    name, colon, _ = who.partition(":")
    if not name or not colon or name.startswith(("invalid", "expired")):
        raise Refusal(Problem.BAD_KEY)
    form = dict(pair.partition("=")[::2] for pair in ask.body.decode().split("&"))
    if form.get("grant_type") != "client_credentials":
        return Answer({"error": "unsupported_grant_type"}, 400)
    number = ask.now // DAY
    content = {"access_token": f"tok{number}", "token_type": "bearer", "expires_in": 86_400}
    return content | {"scope": "*"}


@lru_cache(maxsize=4)
def _archive(world: World, until: int) -> tuple[NewsItem, ...]:
    return tuple(world.news(until - _SPAN, until))


def _listing(ask: Ask, sub: str) -> list[dict[str, Json]]:
    place, hour = _SUBS.index(sub), ask.now // HOUR * HOUR
    posts = []
    for item in [*_archive(ask.world, hour), *ask.world.news(hour, ask.now + 1)]:
        if item.number % len(_SUBS) != place:
            continue
        for number in range(_POSTS):
            created = item.time + number * _APART
            if created <= ask.now:
                posts.append(_post(ask, sub, item, number, created))
    posts.sort(key=lambda post: (-post["created_utc"], post["id"]))
    return posts[:_DEEPEST]


def _post(ask: Ask, sub: str, item: NewsItem, number: int, created: int) -> dict[str, Json]:
    own_id = _base36(item.number * _POSTS + number)
    path = f"/r/{sub}/comments/{own_id}/example_title/"
    raw = ask.query.get("raw_json") == "1"
    text = f"{item.text} Ups & downs of {number}."
    removed = number == 7
    return {
        "id": own_id,
        "name": f"t3_{own_id}",
        "title": f"{item.title}?",
        "selftext": "[removed]" if removed else text if raw else escape(text),
        "author": "[deleted]" if removed else "someuser",
        "subreddit": sub,
        "created_utc": float(created // SECOND),
        "score": 12,
        "upvote_ratio": 0.83,
        "num_comments": 7,
        "permalink": path,
        "url": f"https://www.reddit.com{path}",
        "domain": f"self.{sub}",
        "is_self": True,
        "over_18": False,
        "link_flair_text": None,
        "stickied": False,
        "edited": False,
    }


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text or "0"


@api.get("/r/{sub}/new")
@api.get("/r/{sub}/new.json")
def new(ask: Ask) -> Json:
    """Return a page of the newest posts of a subreddit."""
    _agent(ask)
    requested = ask.path["sub"].lower()
    if requested == _PRIVATE:
        content = {"reason": "private", "message": "Forbidden", "error": 403}
        raise Refusal(Answer(content, 403))
    sub = next((name for name in _SUBS if name.lower() == requested), None)
    if sub is None:
        raise Refusal(Problem.NOT_FOUND)
    limit = ask.integer("limit", 25, 1, 100)
    posts = _listing(ask, sub)
    after = ask.query.get("after")
    begin = 0
    if after:
        names = [post["name"] for post in posts]
        # A deleted post as cursor gives an empty page.
        begin = names.index(after) + 1 if after in names else len(names)
    page = posts[begin : begin + limit]
    following = page[-1]["name"] if page and begin + limit < len(posts) else None
    children = [{"kind": "t3", "data": post} for post in page]
    data = {"after": following, "before": None, "dist": len(page), "modhash": None}
    return {"kind": "Listing", "data": data | {"geo_filter": "", "children": children}}


@api.get("/r/{sub}/about")
def about(ask: Ask) -> Json:
    """Return the number of subscribers of a subreddit."""
    sub = next((name for name in _SUBS if name.lower() == ask.path["sub"].lower()), None)
    if sub is None:
        raise Refusal(Problem.NOT_FOUND)
    content = {"display_name": sub, "subscribers": 1_000_000, "active_user_count": None}
    return {"kind": "t5", "data": content}
