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
from weft_providers.rss.feeds import Feed, Item, items_of, usual_feeds

if TYPE_CHECKING:
    from weft.foundation.clock import Clock
    from weft.sources.http import Http

_UNDATED_KEPT = 30 * DAY
_OLDEST_NEWS = 14 * DAY
"""What is new in a feed that was read before, and older than this, bears a wrong date."""
_SHORT = 8


class FeedMemory:
    """Says when texts were published, as far as their dates can be believed.

    A text counts as published when it was first seen where it bears no date, a date to come, or
    where it is new in a feed that was read before and claims to be weeks old. The first time a feed
    is read, old dates are believed: many feeds list what is months old.

    Args:
        cursor: what the fetch before left; None at first.
        now: microseconds since 1970.
    """

    def __init__(self, cursor: str | None, now: int) -> None:
        told: dict[str, Any] = json.loads(cursor or "{}")
        # Earlier versions kept the first sights alone.
        whole = told if "first" in told else {"first": told, "listed": {}}
        self._now = now
        self._first: dict[str, int] = whole["first"]
        self._listed: dict[str, str] = whole["listed"]

    def published(self, feed: str, text: str, date: int | None, known_at: int) -> int:
        """Return when a text was published.

        Args:
            feed: its feed.
            text: its id.
            date: that it bears; None for none.
            known_at: since when the feed has been as it is.
        """
        if date is None or date > known_at or text in self._first:
            return self._first.setdefault(text, known_at)
        is_old = date < known_at - _OLDEST_NEWS
        if is_old and feed in self._listed and not self._lists(feed, text):
            return self._first.setdefault(text, known_at)
        return date

    def note(self, feed: str, texts: Iterable[str]) -> None:
        """Remember what a feed lists now."""
        self._listed[feed] = "".join(sorted(text[:_SHORT] for text in texts))

    @property
    def cursor(self) -> str:
        """What the next fetch is given."""
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
"""A feed that is gone, or refuses whoever asks, is left alone for so long."""
_MOST_REMEMBERED = 50_000
_ACCEPT = "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"


class Rss(Provider):
    """Headlines and summaries of crypto news and of the authorities, from their feeds.

    A text counts as known when it was first fetched, whatever date it bears; its event time is the
    date its publisher gave it, but never later than that, nor weeks earlier where it is new in a
    feed that was read before. A date that cannot be read or meant is none. A text that is edited is
    a further version, known from then on. A feed holds its newest items only: what it drops between
    two fetches is lost, and there is no history. What several feeds bring under one title or link
    within three days is kept once, from whoever published it first.

    Feeds are asked with their ETag, and have hosts and circuit breakers of their own: one that
    fails is named, and the others go on. One that is gone or refuses is left alone for six hours.

    The format: https://www.rssboard.org/rss-specification
    """

    name = "rss"
    # Each feed has a host of its own; this one stands for them where a source has to have one.
    web = Api(
        base_url="https://www.coindesk.com",
        limits=(RateLimit(30, 60),),
        largest_bytes=8 << 20,
        attempts=2,
        deadline_seconds=30.0,
    )

    class Config(HttpConfig):
        """Options. At another `base_url` each feed is looked for below the name of its host."""

        feeds: Mapping[str, Feed] = Field(default_factory=usual_feeds, description="by name")
        names: Mapping[str, str] = Field(
            default_factory=dict, description="further names of assets: {maker: MKR}"
        )
        poll_minutes: float = Field(default=10.0, gt=0, description="how often a feed is asked")
        contact: str = Field(
            default="", pattern=r"^[\x20-\x7e]*$", description="e-mail told to those asked"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._versions: dict[str, str] = {}
        self._stories: dict[str, Text] = {}

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield the texts of all feeds that are new, or were changed.

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
                named = {digest(name, item.own_id): item for item in items}
                for own_id, item in named.items():
                    date = memory.published(name, own_id, item.published, known_at)
                    texts.append(_text(name, feeds[name], own_id, item, date, known_at, finder))
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
        """Return since when a feed has been as it is, and its items; or why it cannot be had."""
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
            return answer.unchanged_since, await asyncio.to_thread(items_of, answer)
        except (SourceError, ConfigError) as error:
            return error

    def _fresh(self, texts: list[Text]) -> list[Text]:
        """Return what was not there before, of what several bring the first."""
        fresh = []
        for text in sorted(texts, key=lambda t: (t.event_time, -t.credibility, t.feed)):
            version = digest(text.title, text.summary)
            keys = [key for key in (same_title(text.title), same_link(text.url)) if key]
            told = next((self._stories[key] for key in keys if key in self._stories), text)
            again = abs(text.event_time - told.event_time) < _SAME_STORY and told.id != text.id
            if self._versions.get(text.id) == version or (again and text.id not in self._versions):
                continue
            self._versions[text.id] = version
            self._stories |= dict.fromkeys(keys, text)
            fresh.append(text)
        for memory in (self._versions, self._stories):
            for key in list(memory)[: max(0, len(memory) - _MOST_REMEMBERED)]:
                del memory[key]
        return fresh


def _trouble(http: "Http", name: str, error: WeftError, now: int) -> str:
    """Return the line about a feed that could not be read, and note one that will not be."""
    line = f"{name}: {error.message}"
    standing = isinstance(error, ForbiddenError | RefusedError)
    if not standing or isinstance(error, BannedError):
        return line
    line += f"; not asked for again before {iso(now + int(_REFUSED_SECONDS * SECOND))}"
    http.note_refusal(name, line, _REFUSED_SECONDS)
    return line


def _text(  # one argument for each part of it
    name: str,
    feed: Feed,
    own_id: str,
    item: Item,
    published: int,
    known_at: int,
    finder: AssetFinder,
) -> Text:
    return Text(
        id=own_id,
        event_time=published,
        known_at=max(known_at, published),
        title=item.title,
        summary=item.summary,
        url=item.url,
        feed=name,
        assets=finder.find(item.title, item.summary, item.tags),
        credibility=feed.credibility,
    )
