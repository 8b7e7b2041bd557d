"""News from RSS and Atom feeds."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

import weft
from weft.components.base import ComponentConfig
from weft.components.provider import Batch, HttpConfig, Provider, Request
from weft.foundation.errors import ConfigError, WeftError
from weft.foundation.times import DAY, SECOND, iso
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, RateLimit
from weft.sources.http.errors import BannedError, ForbiddenError, RefusedError, SourceError
from weft.sources.texts import (
    AssetFinder,
    Text,
    digest,
    frame_of,
    same_link,
    same_title,
)
from weft_providers.rss.feeds import Feed, Item, default_feeds, parse_items

if TYPE_CHECKING:
    from weft.foundation.clock import Clock
    from weft.sources.http import Http

_UNDATED_KEPT = 30 * DAY
_OLDEST_NEWS = 14 * DAY
"""An older date of a new text, in a feed that was read before, is wrong."""
_SHORT = 8


class FeedMemory:
    """Remembers the texts of feeds from fetch to fetch, and dates those without a valid date.

    A text counts as published when it was first seen, if it has no date or a future date, or if it
    is new in a feed that was read before and has a date weeks ago. In the first fetch of a feed old
    dates are accepted: many feeds list texts that are months old.

    Args:
        cursor: cursor of the previous fetch; None in the first fetch.
        now: microseconds since 1970.
    """

    def __init__(self, cursor: str | None, now: int) -> None:
        state: dict[str, Any] = json.loads(cursor or "{}")
        # Earlier versions stored only the times of first sight.
        state = state if "first" in state else {"first": state, "listed": {}}
        self._now = now
        self._first: dict[str, int] = state["first"]
        self._listed: dict[str, str] = state["listed"]

    def published(self, feed: str, text: str, date: int | None, known_at: int) -> int:
        """Return when a text was published, microseconds since 1970.

        Args:
            feed: name of the feed.
            text: id of the text.
            date: date of the text; None for none.
            known_at: instant since which the feed is unchanged.
        """
        if date is None or date > known_at or text in self._first:
            return self._first.setdefault(text, known_at)
        is_old = date < known_at - _OLDEST_NEWS
        if is_old and feed in self._listed and not self._lists(feed, text):
            return self._first.setdefault(text, known_at)
        return date

    def note(self, feed: str, texts: Iterable[str]) -> None:
        """Remember the texts that a feed lists now."""
        self._listed[feed] = "".join(sorted(text[:_SHORT] for text in texts))

    @property
    def cursor(self) -> str:
        """The cursor for the next fetch."""
        shown = {short for listed in self._listed.values() for short in _shorts(listed)}
        first = {
            text: at
            for text, at in self._first.items()
            if self._now - at < _UNDATED_KEPT or text[:_SHORT] in shown
        }
        return json.dumps({"first": first, "listed": self._listed}, sort_keys=True)

    def _lists(self, feed: str, text: str) -> bool:
        return text[:_SHORT] in _shorts(self._listed[feed])


def _shorts(listed: str) -> set[str]:
    return {listed[at : at + _SHORT] for at in range(0, len(listed), _SHORT)}


_SAME_STORY = 3 * DAY
_REFUSED_SECONDS = 6 * 3_600.0
"""Time until a feed that is gone or refuses requests is requested again."""
_MOST_REMEMBERED = 50_000
_ACCEPT = "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"


class Rss(Provider):
    """Headlines and summaries of crypto news and of authorities, from their feeds.

    A text counts as known when it was first fetched, whatever its date; its event time is the
    publisher's date, but never later than the fetch, nor weeks earlier if it is new in a feed that
    was read before. An invalid or ambiguous date counts as missing. An edited text is a further
    version, known from then on. A feed lists only its newest items: items dropped between two
    fetches are lost, and there is no history. A story that several feeds publish under one title or
    link within three days is stored once, from the first publisher.

    Each feed has its host, ETag and circuit breaker: a feed that fails is named, and the others are
    not affected. A feed that is gone or refuses requests is not requested again for six hours.

    The format: https://www.rssboard.org/rss-specification
    """

    name = "rss"
    # Each feed has its own host; this address only satisfies the contract of `Api`.
    web = Api(
        base_url="https://www.coindesk.com",
        limits=(RateLimit(30, 60),),
        largest_bytes=8 << 20,
        attempts=2,
        deadline_seconds=30.0,
    )

    class Config(HttpConfig):
        """Options. With `base_url`, the path of each feed begins with the name of its host."""

        feeds: Mapping[str, Feed] = Field(default_factory=default_feeds, description="by name")
        names: Mapping[str, str] = Field(
            default_factory=dict, description="further names of assets: {maker: MKR}"
        )
        poll_minutes: float = Field(default=10.0, gt=0, description="minutes between requests")
        contact: str = Field(
            default="", pattern=r"^[\x20-\x7e]*$", description="e-mail address sent to publishers"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._versions: dict[str, str] = {}
        self._stories: dict[str, Text] = {}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield the new and changed texts of all feeds.

        Raises:
            SourceError: no feed could be read.
        """
        feeds = {
            name: feed
            for name, feed in self.config.feeds.items()
            if self.config.contact or not feed.needs_contact
        }
        memory = FeedMemory(request.cursor, clock.now())
        feeds = {name: feed for name, feed in feeds.items() if http.refusal(name) is None}
        async with Hosts(http) as hosts:
            answers = await asyncio.gather(*(self._read(http, hosts, f) for f in feeds.values()))
        finder = AssetFinder(self.config.names, request.assets)
        texts, failed = list[Text](), dict[str, WeftError]()
        for name, answer in zip(feeds, answers, strict=True):
            if isinstance(answer, WeftError):
                failed[name] = answer
            else:
                known_at, items = answer
                named = {digest(name, item.item_id): item for item in items}
                for item_id, item in named.items():
                    date = memory.published(name, item_id, item.published, known_at)
                    texts.append(_text(name, feeds[name], item_id, item, date, known_at, finder))
                memory.note(name, named)
        fresh = self._fresh(texts)
        now = clock.now()
        problems = tuple(_trouble(http, name, error, now) for name, error in failed.items())
        cursor = memory.cursor
        if fresh or problems or cursor != request.cursor:
            yield Batch(texts=frame_of(fresh) if fresh else None, problems=problems, cursor=cursor)
        if failed and len(failed) == len(feeds):
            raise next(iter(failed.values()))

    async def _read(
        self, http: "Http", hosts: Hosts, feed: Feed
    ) -> "tuple[int, list[Item]] | WeftError":
        """Return since when a feed is unchanged and its items, or the error of the request."""
        parts = urlsplit(feed.url)
        path, client = parts.path or "/", http
        headers = {"Accept": _ACCEPT}
        if self.config.contact:
            headers["User-Agent"] = f"weft/{weft.__version__} ({self.config.contact})"
        try:
            if self.config.base_url:
                path = f"/{parts.netloc}{path}"
            else:
                host = f"{parts.scheme}://{parts.netloc}"
                client = await hosts.client(replace(self.web, base_url=host))
            answer = await client.get(
                path,
                params=dict(parse_qsl(parts.query)),
                ttl=self.config.poll_minutes * 60,
                headers=headers,
                form="bytes",
            )
            return answer.unchanged_since, await asyncio.to_thread(parse_items, answer)
        except (SourceError, ConfigError) as error:
            return error

    def _fresh(self, texts: list[Text]) -> list[Text]:
        """Return new and changed texts, of each story the first text only."""
        fresh = []
        for text in sorted(texts, key=lambda t: (t.event_time, -t.credibility, t.feed)):
            version = digest(text.title, text.summary)
            keys = [key for key in (same_title(text.title), same_link(text.url)) if key]
            first = next((self._stories[key] for key in keys if key in self._stories), text)
            gap = abs(text.event_time - first.event_time)
            repeats = gap < _SAME_STORY and first.id != text.id and text.id not in self._versions
            if self._versions.get(text.id) == version or repeats:
                continue
            self._versions[text.id] = version
            self._stories |= dict.fromkeys(keys, text)
            fresh.append(text)
        for memory in (self._versions, self._stories):
            for key in list(memory)[: max(0, len(memory) - _MOST_REMEMBERED)]:
                del memory[key]
        return fresh


def _trouble(http: "Http", name: str, error: WeftError, now: int) -> str:
    """Return the line about a feed that could not be read; note a standing refusal."""
    line = f"{name}: {error.message}"
    standing = isinstance(error, ForbiddenError | RefusedError)
    if not standing or isinstance(error, BannedError):
        return line
    line += f"; not asked for again before {iso(now + int(_REFUSED_SECONDS * SECOND))}"
    http.note_refusal(name, line, _REFUSED_SECONDS)
    return line


def _text(  # one argument for each part of the text
    name: str,
    feed: Feed,
    item_id: str,
    item: Item,
    published: int,
    known_at: int,
    finder: AssetFinder,
) -> Text:
    return Text(
        id=item_id,
        event_time=published,
        known_at=max(known_at, published),
        title=item.title,
        summary=item.summary,
        url=item.url,
        feed=name,
        assets=finder.find(item.title, item.summary, item.tags),
        credibility=feed.credibility,
    )
