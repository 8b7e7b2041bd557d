"""News from RSS and Atom feeds."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

import weft
from weft.components.base import ComponentConfig
from weft.components.provider import Batch, HttpConfig, Provider, Request
from weft.http.api import Api, RateLimit
from weft.http.errors import SourceError
from weft.times import DAY
from weft_providers._feeds import Feed, Item, items_of, usual_feeds
from weft_providers._hosts import Hosts
from weft_providers._texts import (
    AssetFinder,
    Text,
    digest,
    frame_of,
    same_link,
    same_title,
)

if TYPE_CHECKING:
    from weft.clock import Clock
    from weft.http import Http

_SAME_STORY = 3 * DAY
_UNDATED_KEPT = 30 * DAY
_MOST_REMEMBERED = 50_000
_ACCEPT = "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"


class Rss(Provider):
    """Headlines and summaries of crypto news and of the authorities, from their feeds.

    A text counts as known when it was first fetched, whatever date it bears; its event time is the
    date its publisher gave it, but never later than that. A text that is edited is a further
    version, known from then on. A feed holds its newest items only: what it drops between two
    fetches is lost, and there is no history. What several feeds bring under one title or link
    within three days is kept once, from whoever published it first.

    Feeds are asked with their ETag, and have hosts and circuit breakers of their own: one that
    fails is told, and the others go on.

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
        async with Hosts(http) as hosts:
            answers = await asyncio.gather(*(self._read(http, hosts, f) for f in feeds.values()))
        finder = AssetFinder(self.config.names, request.assets)
        # When what bears no date, or one to come, was first seen.
        seen: dict[str, int] = json.loads(request.cursor or "{}")
        first = {id_: at for id_, at in seen.items() if clock.now() - at < _UNDATED_KEPT}
        texts, failed = list[Text](), dict[str, SourceError]()
        for name, answer in zip(feeds, answers, strict=True):
            if isinstance(answer, SourceError):
                failed[name] = answer
            else:
                known_at, items = answer
                texts += [_text(name, feeds[name], i, known_at, first, finder) for i in items]
        fresh = self._fresh(texts)
        problems = tuple(f"{name}: {error.message}" for name, error in failed.items())
        if fresh or problems or first != seen:
            cursor = json.dumps(first) if first != seen else None
            yield Batch(texts=frame_of(fresh) if fresh else None, problems=problems, cursor=cursor)
        if failed and len(failed) == len(feeds):
            raise next(iter(failed.values()))

    async def _read(
        self, http: "Http", hosts: Hosts, feed: Feed
    ) -> "tuple[int, list[Item]] | SourceError":
        """Return since when a feed has been as it is, and its items; or why it cannot be had."""
        parts = urlsplit(feed.url)
        path, client = parts.path or "/", http
        if self.config.base_url:
            path = f"/{parts.netloc}{path}"
        else:
            host = f"{parts.scheme}://{parts.netloc}"
            client = await hosts.client(replace(self.web, base_url=host))
        headers = {"Accept": _ACCEPT}
        if self.config.contact:
            headers["User-Agent"] = f"weft/{weft.__version__} ({self.config.contact})"
        try:
            answer = await client.get(
                path,
                params=dict(parse_qsl(parts.query)),
                ttl=self.config.poll_minutes * 60,
                headers=headers,
                form="bytes",
            )
            return answer.unchanged_since, await asyncio.to_thread(items_of, answer)
        except SourceError as error:
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


def _text(
    name: str, feed: Feed, item: Item, known_at: int, first: dict[str, int], finder: AssetFinder
) -> Text:
    """Return an item as a text, and note when one without a date in the past was first seen."""
    own_id = digest(name, item.own_id)
    event_time = item.published
    if own_id in first or event_time is None or event_time > known_at:
        event_time = first.setdefault(own_id, known_at)
    return Text(
        id=own_id,
        event_time=event_time,
        known_at=max(known_at, event_time),
        title=item.title,
        summary=item.summary,
        url=item.url,
        feed=name,
        assets=finder.find(f"{item.title}\n{item.summary}\n{item.tags}"),
        credibility=feed.credibility,
    )
