"""Posts of subreddits, and how many of them mention each asset."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import Field, SecretStr

from weft.components.provider import Batch, FactKey, HttpConfig, Provider, Request
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR, SECOND
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, HeaderKey, RateLimit
from weft.sources.http.errors import SourceError, UnauthorisedError
from weft.sources.texts import AssetFinder, Text, digest, frame_of, plain

if TYPE_CHECKING:
    import polars as pl

    from weft.components.base import ComponentConfig
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, HttpResponse, Reader

METRIC, SCOPE = "social_volume", "asset"
_TOKENS = "https://www.reddit.com"
_PAGE, _DEEPEST = 100, 1_000
_REMOVED = ("[removed]", "[deleted]")


@dataclass(frozen=True, slots=True)
class Post:
    """One post; the body of a removed one is empty."""

    name: str
    created: int
    title: str
    body: str
    path: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The newest posts of a subreddit.

    Attributes:
        sub: its name.
        posts: newest first.
        reach: since when they are complete.
        fetched_at: when the last page came.
    """

    sub: str
    posts: list[Post]
    reach: int
    fetched_at: int


class Listings:
    """Reads listings, and renews the token where it is refused or about to end.

    Args:
        web: the API.
        base_url: another address, of tokens too.
        key: ``client_id:client_secret``.
        user_agent: as Reddit asks for.
    """

    def __init__(
        self, web: Api, base_url: str | None, key: SecretStr | None, user_agent: str
    ) -> None:
        text = key.get_secret_value() if key else ""
        basic = SecretStr(base64.b64encode(text.encode()).decode()) if text else None
        basic_key = HeaderKey("Authorization", "Basic ")
        self._gate = (replace(web, base_url=base_url or _TOKENS, key=basic_key), basic)
        self._web = replace(web, base_url=base_url or web.base_url)
        self._headers = {"User-Agent": user_agent}
        self._token: tuple[SecretStr, int] | None = None

    async def log_in(self, hosts: Hosts, clock: "Clock") -> None:
        """Have a token that lasts for another minute at least.

        Raises:
            SourceError: none is given.
        """
        async with hosts.lock:
            if self._token is None or clock.now() >= self._token[1]:
                self._token = await self._new_token(hosts, clock)

    async def _new_token(self, hosts: Hosts, clock: "Clock") -> tuple[SecretStr, int]:
        gate = await hosts.client(*self._gate)
        form = {"grant_type": "client_credentials"}
        answer = await gate.post("/api/v1/access_token", fields=form, headers=self._headers)
        told = answer.read
        if told.has("error"):
            raise UnauthorisedError(f"{answer.what} gave no token", where=answer.where)
        ends = clock.now() + round(told.number("expires_in") - 60) * SECOND
        return SecretStr(told.text("access_token")), ends

    async def read(self, hosts: Hosts, clock: "Clock", sub: str, floor: int) -> Listing:
        """Return the posts of a subreddit since an instant, as far back as it lists them.

        Raises:
            SourceError: it cannot be had.
        """
        posts: list[Post] = []
        after: str | None = None
        while True:
            answer = await self._page(hosts, clock, sub, after, len(posts))
            data = answer.read.at("data")
            page = [_post(child) for child in data.rows("children")]
            posts += page
            # A listing whose next page is not named is another form, and not the last page.
            after = None if data.at("after").value is None else data.text("after")
            if not page or after is None or posts[-1].created < floor:
                break
        reach = posts[-1].created if posts else answer.fetched_at
        # A listing that ends early holds all there is, unless Reddit cut it.
        whole = after is None and page and len(posts) < _DEEPEST - _PAGE
        return Listing(sub, posts, 0 if whole else reach, answer.fetched_at)

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


def _post(child: "Reader") -> Post:
    data = child.at("data")
    body = data.text("selftext") if data.has("selftext") else ""
    return Post(
        name=data.text("name"),
        created=data.instant("created_utc", unit="s"),
        title=data.text("title"),
        body="" if body in _REMOVED else body,
        path=data.text("permalink"),
    )


Row = tuple[str, str, str, int, int, float]


def mentions(texts: Iterable[Text], days: range, counted: Mapping[str, int], now: int) -> list[Row]:
    """Return the posts of each day that mention each asset; none are as good a count as many."""
    counts = {(asset, day): 0 for asset in counted for day in days}
    for text in texts:
        day = text.event_time // DAY * DAY
        for asset in text.assets:
            if (asset, day) in counts:
                counts[asset, day] += 1
    return [
        (METRIC, SCOPE, asset, day + DAY, now, float(count))
        for (asset, day), count in counts.items()
        if day + DAY > counted[asset]
    ]


def observations_of(rows: list[Row]) -> "pl.DataFrame":
    """Return rows as a table for `Batch.observations`."""
    import polars as pl  # noqa: PLC0415  # listing providers needs no frames

    names = ["metric", "scope", "entity", "event_time", "known_at", "value"]
    micros = pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(micros)


_MOST_REMEMBERED, _LONGEST_SUMMARY = 50_000, 2_000


class Reddit(Provider):
    """Posts as texts, and the posts a day that mention each asset as its social volume.

    A post counts as known when it was first fetched, not when it was written: the spam filter may
    hold it back. A post that is edited is a further version. Votes and comments are left out, since
    they go on changing. A day's mentions are counted once it is over, from the posts still there,
    and count as known from then on; only days that the listings reach back to, about a thousand
    posts, are counted, and none while a subreddit cannot be read.

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
    metrics = (METRIC,)

    class Config(HttpConfig):
        """Options. The key is ``client_id:client_secret``; the secret may be empty."""

        user_agent: str = Field(
            default="linux:weft:1.0 (by /u/unknown)",
            pattern=r"^[\x20-\x7e]+$",
            description="platform:app:version (by /u/you), as Reddit asks for",
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
            description="which to read, and the asset that all posts there are about, if any",
        )
        assets: tuple[str, ...] = Field(
            default=("BTC", "ETH"), description="whose mentions to count; empty for all traded"
        )
        names: Mapping[str, str] = Field(
            default_factory=dict, description="further names of assets: {maker: MKR}"
        )
        credibility: float = Field(default=0.3, ge=0, le=1, description="of every post")
        overlap_hours: int = Field(
            default=6, ge=0, description="how far back posts that were held up are looked for"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        own, key = self.config, self.config.api_key
        if key and ":" not in key.get_secret_value():
            raise ConfigError(
                "the key is not client_id:client_secret",
                where=f"provider {self.name}",
                hint="Join the two of your app, from https://www.reddit.com/prefs/apps",
            )
        self._listings = Listings(self.web, own.base_url, key, own.user_agent)
        self._versions: dict[str, str] = {}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield the posts that are new, or were changed, and the mentions of days that are over.

        Raises:
            SourceError: no token is given, or no subreddit could be read.
        """
        today = clock.now() // DAY * DAY
        assets = self.config.assets or request.assets
        counted = {
            asset: request.known_facts.get(FactKey(METRIC, SCOPE, asset), request.since)
            for asset in assets
        }
        due = _next_midnight(min(counted.values(), default=today))
        seen: dict[str, int] = json.loads(request.cursor or "{}")
        async with Hosts(http) as hosts:
            await self._listings.log_in(hosts, clock)
            found = await asyncio.gather(
                *(
                    self._read(hosts, clock, sub, self._floor(sub, seen, due, today))
                    for sub in self.config.subreddits
                )
            )
        listings = [one for one in found if isinstance(one, Listing)]
        failed = [one for one in found if isinstance(one, SourceError)]
        refused = next((e for e in failed if isinstance(e, UnauthorisedError)), None)
        if refused is not None:
            raise refused
        texts = list(self._texts(listings, AssetFinder(self.config.names, assets)))
        rows = []
        if not failed:
            reach = _next_midnight(max((one.reach for one in listings), default=today))
            days = range(max(due, reach), today, DAY)
            rows = mentions(texts, days, counted, clock.now())
        fresh = [text for text in texts if self._is_fresh(text)]
        for one in listings:
            seen[one.sub] = max([seen.get(one.sub, 0), *(p.created for p in one.posts)])
        cursor = json.dumps(seen)
        yield Batch(
            texts=frame_of(fresh) if fresh else None,
            observations=observations_of(rows) if rows else None,
            problems=tuple(error.message for error in failed),
            cursor=cursor if cursor != request.cursor else None,
        )
        if failed and len(failed) == len(found):
            raise failed[0]

    def _floor(self, sub: str, seen: Mapping[str, int], due: int, today: int) -> int:
        """Return how far back to read: to what was read before, or over the days to be counted."""
        if sub not in seen:
            return due
        back = seen[sub] - self.config.overlap_hours * HOUR
        return min(back, due) if due < today else back

    async def _read(
        self, hosts: Hosts, clock: "Clock", sub: str, floor: int
    ) -> Listing | SourceError:
        try:
            return await self._listings.read(hosts, clock, sub, floor)
        except SourceError as error:
            return error

    def _texts(self, listings: Iterable[Listing], finder: AssetFinder) -> Iterable[Text]:
        for listing in listings:
            own = self.config.subreddits[listing.sub]
            for post in listing.posts:
                body = plain(post.body)
                assets = {*finder.find(post.title, body), *([own] if own else [])}
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


def _next_midnight(instant: int) -> int:
    return -(-instant // DAY) * DAY
