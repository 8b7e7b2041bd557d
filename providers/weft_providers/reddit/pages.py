"""Reddit: tokens, pages from the newest post back, and mentions counted by the day."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import SecretStr

from weft.foundation.times import DAY, SECOND
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, HeaderKey
from weft.sources.http.errors import UnauthorisedError
from weft.sources.texts import Text

if TYPE_CHECKING:
    import polars as pl

    from weft.foundation.clock import Clock
    from weft.sources.http import HttpResponse, Reader

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
