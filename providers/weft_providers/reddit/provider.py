"""Posts of subreddits, and how many of them mention each asset."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from weft.components.provider import Batch, FactKey, HttpConfig, Provider, Request
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, HeaderKey, RateLimit
from weft.sources.http.errors import SourceError, UnauthorisedError
from weft.sources.texts import AssetFinder, Text, digest, frame_of, plain
from weft_providers.reddit.pages import METRIC, SCOPE, Listing, Listings, mentions, observations_of

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.foundation.clock import Clock
    from weft.sources.http import Http

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
