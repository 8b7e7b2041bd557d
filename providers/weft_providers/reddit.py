"""Posts of subreddits, and the number of posts that mention each asset, from Reddit."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr

from weft.components.provider import Batch, FactKey, HttpConfig, Provider, Request
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR, SECOND, iso
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, HeaderKey, RateLimit
from weft.sources.http.errors import (
    BannedError,
    ForbiddenError,
    RefusedError,
    SourceError,
    UnauthorisedError,
)
from weft.sources.texts import AssetFinder, Text, digest, frame_of, plain

if TYPE_CHECKING:
    import polars as pl

    from weft.components.base import ComponentConfig
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, HttpResponse, Reader

_METRIC, _SCOPE = "social_volume", "asset"
_TOKEN_HOST = "https://www.reddit.com"  # noqa: S105  # an address
_PAGE, _DEEPEST = 100, 1_000
_REFUSED_SECONDS = 6 * 3_600.0
"""Time until a subreddit that is private, banned or missing is requested again."""
_MOST_REMEMBERED, _LONGEST_SUMMARY = 50_000, 2_000
_REMOVED = re.compile(r"\[ ?(?:removed|deleted)(?: (?:by|in) [^\]]*)?\]", re.IGNORECASE)
"""What stands in place of a text that a moderator, Reddit or the author removed."""


@dataclass(frozen=True, slots=True)
class Post:
    """One post; a title or body that was removed is empty."""

    name: str
    created: int
    title: str
    body: str
    path: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest posts of a subreddit.

    Attributes:
        sub: name of the subreddit.
        posts: each once.
        complete_since: instant since which no post is missing, microseconds since 1970.
        fetched_at: when the last page was fetched.
        problems: lines for people about posts that were left out.
    """

    sub: str
    posts: Sequence[Post]
    complete_since: int
    fetched_at: int
    problems: tuple[str, ...]


class Reddit(Provider):
    """Posts as texts, and the daily number of posts that mention an asset as its social volume.

    A post counts as known when it was first fetched, not when it was written: the spam filter may
    hold it back. An edited post is a further version. Votes and comments are left out, since they
    keep changing. A day's mentions are counted after the day, from the posts that still exist, and
    count as known from then on. A day is counted only if the listings reach back to its start
    (about a thousand posts), and only while every subreddit can be read.

    Needs an app registered with Reddit; its terms ask that what users delete is deleted elsewhere.
    Documentation: https://www.reddit.com/dev/api
    """

    name = "reddit"
    web: Api = Api(
        base_url="https://oauth.reddit.com",
        key=HeaderKey("Authorization", "Bearer "),
        limits=(
            RateLimit(100, 60),
            RateLimit(1_000, 600, used="x-ratelimit-used", reset="x-ratelimit-reset"),
        ),
    )
    metrics = (_METRIC,)

    class Config(HttpConfig):
        """Options. The key is ``client_id:client_secret``; the secret may be empty."""

        user_agent: str = Field(
            default="linux:weft:1.0 (by /u/unknown)",
            pattern=r"^[\x20-\x7e]+$",
            description="platform:app:version (by /u/you), as Reddit requires",
        )
        subreddits: Mapping[str, str] = Field(
            default={
                "CryptoCurrency": "",
                "CryptoMarkets": "",
                "Bitcoin": "BTC",
                "ethereum": "ETH",
                "solana": "SOL",
                "cardano": "ADA",
            },
            description="subreddits to read, each with the asset that all its posts are about",
        )
        assets: tuple[str, ...] = Field(
            default=("BTC", "ETH"), description="assets to count mentions of; empty for all traded"
        )
        names: Mapping[str, str] = Field(
            default_factory=dict, description="further names of assets: {maker: MKR}"
        )
        credibility: float = Field(default=0.3, ge=0, le=1, description="credibility of every post")
        overlap_hours: int = Field(
            default=6, ge=0, description="hours to read again for posts that were held back"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        key = self.config.api_key
        if key and ":" not in key.get_secret_value():
            raise ConfigError(
                "the key is not client_id:client_secret",
                where=f"provider {self.name}",
                hint="Join the two of your app, from https://www.reddit.com/prefs/apps",
            )
        self._client = _Client(self.web, self.config.base_url, key, self.config.user_agent)
        self._versions: dict[str, str] = {}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield new and changed posts, and the mentions of the days that are over.

        Raises:
            SourceError: Reddit gave no token, or no subreddit could be read.
        """
        subs = [sub for sub in self.config.subreddits if http.refusal(self._refusal(sub)) is None]
        if not subs:
            return
        today = clock.now() // DAY * DAY
        assets = self.config.assets or request.assets
        counted = {
            asset: request.known_facts.get(FactKey(_METRIC, _SCOPE, asset), request.since)
            for asset in assets
        }
        due = _next_midnight(min(counted.values(), default=today))
        newest: dict[str, int] = json.loads(request.cursor or "{}")
        async with Hosts(http) as hosts:
            await self._client.log_in(hosts, clock)
            floors = {sub: self._floor(sub, newest, due, today) for sub in subs}
            results = await asyncio.gather(
                *(self._read(hosts, clock, sub, floor) for sub, floor in floors.items())
            )
        listings = [result for result in results if isinstance(result, Listing)]
        errors = {
            sub: result
            for sub, result in zip(subs, results, strict=True)
            if isinstance(result, SourceError)
        }
        for error in errors.values():
            if isinstance(error, UnauthorisedError):
                raise error
        texts = list(self._texts(listings, AssetFinder(self.config.names, assets)))
        rows = []
        if len(listings) == len(self.config.subreddits):
            complete = _next_midnight(max((one.complete_since for one in listings), default=today))
            days = range(max(due, complete), today, DAY)
            rows = _mentions(texts, days, counted, clock.now())
        fresh = [text for text in texts if self._is_fresh(text)]
        for listing in listings:
            created = (post.created for post in listing.posts)
            newest[listing.sub] = max([newest.get(listing.sub, 0), *created])
        cursor = json.dumps(newest)
        problems = [line for listing in listings for line in listing.problems]
        problems += [self._trouble(http, sub, error, clock) for sub, error in errors.items()]
        yield Batch(
            texts=frame_of(fresh) if fresh else None,
            observations=_observations(rows) if rows else None,
            problems=tuple(problems),
            cursor=cursor if cursor != request.cursor else None,
        )
        if errors and not listings:
            raise next(iter(errors.values()))

    def _refusal(self, sub: str) -> str:
        """Return the name of a subreddit's standing refusal; a new user agent is tried at once."""
        return f"r/{sub} {self.config.user_agent}"

    def _trouble(self, http: "Http", sub: str, error: SourceError, clock: "Clock") -> str:
        """Return the line about a subreddit that could not be read; note a standing refusal."""
        line = f"r/{sub}: {error.message}"
        standing = isinstance(error, ForbiddenError | RefusedError)
        if not standing or isinstance(error, BannedError):
            return line
        until = iso(clock.now() + int(_REFUSED_SECONDS * SECOND))
        line += (
            f"; no mentions are counted until it is removed from subreddits; not asked for again "
            f"before {until}"
        )
        http.note_refusal(self._refusal(sub), line, _REFUSED_SECONDS)
        return line

    def _floor(self, sub: str, newest: Mapping[str, int], due: int, today: int) -> int:
        """Return how far back to read: to the newest known post, or over the days to be counted."""
        if sub not in newest:
            return due
        back = newest[sub] - self.config.overlap_hours * HOUR
        return min(back, due) if due < today else back

    async def _read(
        self, hosts: Hosts, clock: "Clock", sub: str, floor: int
    ) -> Listing | SourceError:
        try:
            return await self._client.listing(hosts, clock, sub, floor)
        except SourceError as error:
            return error

    def _texts(self, listings: Iterable[Listing], finder: AssetFinder) -> Iterable[Text]:
        for listing in listings:
            asset = self.config.subreddits[listing.sub]
            for post in listing.posts:
                if not post.title:
                    continue
                body = plain(post.body)
                assets = {*finder.find(post.title, body), *([asset] if asset else [])}
                yield Text(
                    id=post.name,
                    event_time=min(post.created, listing.fetched_at),
                    known_at=listing.fetched_at,
                    title=plain(post.title),
                    summary=body[:_LONGEST_SUMMARY],
                    url=f"https://www.reddit.com{post.path}",
                    feed=f"r/{listing.sub}",
                    assets=sorted(assets),
                    credibility=self.config.credibility,
                )

    def _is_fresh(self, text: Text) -> bool:
        version = digest(text.title, text.summary)
        if self._versions.get(text.id) == version:
            return False
        self._versions[text.id] = version
        if len(self._versions) > _MOST_REMEMBERED:
            del self._versions[next(iter(self._versions))]
        return True


class _Client:
    """Asks for listings, and renews the token when Reddit refuses it or it is about to expire.

    Args:
        web: the API.
        base_url: another address, of tokens too.
        key: ``client_id:client_secret``.
        user_agent: sent with every request, as Reddit requires.
    """

    def __init__(
        self, web: Api, base_url: str | None, key: SecretStr | None, user_agent: str
    ) -> None:
        text = key.get_secret_value() if key else ""
        basic = SecretStr(base64.b64encode(text.encode()).decode()) if text else None
        basic_key = HeaderKey("Authorization", "Basic ")
        self._tokens = (replace(web, base_url=base_url or _TOKEN_HOST, key=basic_key), basic)
        self._web = replace(web, base_url=base_url or web.base_url)
        self._headers = {"User-Agent": user_agent}
        self._token: tuple[SecretStr, int] | None = None

    async def log_in(self, hosts: Hosts, clock: "Clock") -> None:
        """Ask for a token unless there is one that lasts for another minute.

        Raises:
            SourceError: Reddit gives none.
        """
        async with hosts.lock:
            if self._token is None or clock.now() >= self._token[1]:
                self._token = await self._new_token(hosts, clock)

    async def _new_token(self, hosts: Hosts, clock: "Clock") -> tuple[SecretStr, int]:
        http = await hosts.client(*self._tokens)
        form = {"grant_type": "client_credentials"}
        answer = await http.post("/api/v1/access_token", fields=form, headers=self._headers)
        read = answer.read
        if read.has("error"):
            raise UnauthorisedError(f"{answer.what} gave no token", where=answer.where)
        ends = clock.now() + round(read.number("expires_in") - 60) * SECOND
        return SecretStr(read.text("access_token")), ends

    async def listing(self, hosts: Hosts, clock: "Clock", sub: str, floor: int) -> Listing:
        """Return the posts of a subreddit since an instant, as far back as Reddit lists them.

        Raises:
            SourceError: the subreddit cannot be read.
        """
        posts: dict[str, Post] = {}
        problems: list[str] = []
        after: str | None = None
        while True:
            answer = await self._page(hosts, clock, sub, after, len(posts))
            page, after = parse_page(answer.read, problems.append)
            posts |= {post.name: post for post in page}
            since = _complete_since(page) if page else answer.fetched_at
            if not page or after is None or since < floor:
                break
        # A listing that ends before Reddit's limit holds every post of the subreddit.
        if after is None and page and len(posts) < _DEEPEST - _PAGE:
            since = 0
        lines = tuple(f"r/{sub}: {line}" for line in problems)
        return Listing(sub, [*posts.values()], since, answer.fetched_at, lines)

    async def _page(
        self, hosts: Hosts, clock: "Clock", sub: str, after: str | None, count: int
    ) -> "HttpResponse":
        for last in (False, True):
            await self.log_in(hosts, clock)
            assert self._token is not None  # noqa: S101  # logged in
            token = self._token
            http = await hosts.client(self._web, token[0])
            try:
                return await http.get(
                    f"/r/{sub}/new",
                    params={"limit": _PAGE, "after": after, "count": count or None, "raw_json": 1},
                    headers=self._headers,
                )
            except UnauthorisedError:
                if last:
                    raise
                # Another request may have renewed it meanwhile.
                if self._token is token:
                    self._token = None
                    hosts.forget(self._web, token[0])
        raise AssertionError


def parse_page(read: "Reader", lost: Callable[[str], None]) -> tuple[list[Post], str | None]:
    """Return the posts of a page, and the cursor of the next page; None after the last page.

    Args:
        read: the answer.
        lost: takes a line for people about posts that cannot be parsed.

    Raises:
        SchemaChangedError: the answer is no listing, or none of its posts can be parsed.
    """
    data = read.at("data")
    posts = data.collect("children", read=_parse_post, lost=lost)
    # A listing without this field has another form: it is not the last page.
    return posts, None if data.at("after").value is None else data.text("after")


def _parse_post(child: "Reader") -> Post:
    data = child.at("data")
    own_id = data.text("id") if data.has("id") else data.text("name").removeprefix("t3_")
    path = data.text("permalink") if data.has("permalink") else f"/comments/{own_id}/"
    return Post(
        name=f"t3_{own_id}",
        created=data.instant("created_utc", unit="s"),
        title=_unless_removed(data, "title"),
        body=_unless_removed(data, "selftext"),
        path=path,
    )


def _unless_removed(data: "Reader", field: str) -> str:
    """Return a text of a post; empty where it is null, missing or removed."""
    text = data.text(field) if data.has(field) else ""
    return "" if _REMOVED.fullmatch(text.strip()) else text


def _complete_since(page: Sequence[Post]) -> int:
    """Return the instant since which a page and the pages before it lack no post."""
    created = [post.created for post in page]
    in_order = created == sorted(created, reverse=True)
    # An old post out of order does not mean that all newer posts were listed.
    return created[-1] if in_order else max(created)


_Row = tuple[str, str, str, int, int, float]


def _mentions(
    texts: Iterable[Text], days: range, counted: Mapping[str, int], now: int
) -> list[_Row]:
    """Return the number of posts of each day that mention each asset, zero included.

    Args:
        texts: posts, each once.
        days: starts of the days to count, microseconds since 1970.
        counted: latest event time already stored, by asset.
        now: when the counts are known.
    """
    counts = {(asset, day): 0 for asset in counted for day in days}
    for text in texts:
        day = text.event_time // DAY * DAY
        for asset in text.assets:
            if (asset, day) in counts:
                counts[asset, day] += 1
    return [
        (_METRIC, _SCOPE, asset, day + DAY, now, float(count))
        for (asset, day), count in counts.items()
        if day + DAY > counted[asset]
    ]


def _observations(rows: list[_Row]) -> "pl.DataFrame":
    """Return rows as a table for `Batch.observations`."""
    import polars as pl  # noqa: PLC0415  # listing providers needs no frames

    names = ["metric", "scope", "entity", "event_time", "known_at", "value"]
    micros = pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(micros)


def _next_midnight(instant: int) -> int:
    return -(-instant // DAY) * DAY
