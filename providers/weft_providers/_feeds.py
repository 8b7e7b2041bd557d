"""Feeds: which there are, and what is in one."""

import calendar
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.http.errors import MalformedError
from weft.times import DAY, SECOND
from weft_providers._texts import digest, plain, same_link

if TYPE_CHECKING:
    from weft.http import Answer

_LONGEST_SUMMARY = 2_000


class Feed(ComponentConfig):
    """One feed."""

    url: str = Field(pattern=r"^https?://[^\s/]", description="where it is")
    credibility: float = Field(default=0.5, ge=0, le=1, description="how far it is to be believed")
    needs_contact: bool = Field(
        default=False, description="refuses who does not say how to be reached"
    )


def usual_feeds() -> dict[str, Feed]:
    """Return the feeds asked by default, with how far each is to be believed."""
    told = {
        "coindesk": ("https://www.coindesk.com/arc/outboundfeeds/rss/", 0.85),
        "theblock": ("https://www.theblock.co/rss.xml", 0.85),
        "blockworks": ("https://blockworks.co/feed", 0.8),
        "decrypt": ("https://decrypt.co/feed", 0.75),
        "dlnews": ("https://www.dlnews.com/arc/outboundfeeds/rss/", 0.75),
        "cointelegraph": ("https://cointelegraph.com/rss", 0.7),
        "thedefiant": ("https://thedefiant.io/feed", 0.7),
        "bitcoinmagazine": ("https://bitcoinmagazine.com/feed", 0.65),
        "cryptoslate": ("https://cryptoslate.com/feed/", 0.6),
        "beincrypto": ("https://beincrypto.com/feed/", 0.55),
        "cryptobriefing": ("https://cryptobriefing.com/feed/", 0.55),
        "bitcoincom": ("https://news.bitcoin.com/feed/", 0.5),
        "cryptonews": ("https://cryptonews.com/news/feed/", 0.5),
        "cryptopotato": ("https://cryptopotato.com/feed/", 0.5),
        "newsbtc": ("https://www.newsbtc.com/feed/", 0.45),
        "utoday": ("https://u.today/rss", 0.45),
        "ambcrypto": ("https://ambcrypto.com/feed/", 0.4),
        "bitcoinist": ("https://bitcoinist.com/feed/", 0.4),
        "dailyhodl": ("https://dailyhodl.com/feed/", 0.4),
        "federalreserve": ("https://www.federalreserve.gov/feeds/press_all.xml", 1.0),
        "cftc": ("https://www.cftc.gov/rss/pressreleases.xml", 1.0),
    }
    feeds = {name: Feed(url=url, credibility=share) for name, (url, share) in told.items()}
    sec = "https://www.sec.gov/news/pressreleases.rss"
    return {**feeds, "sec": Feed(url=sec, credibility=1.0, needs_contact=True)}


@dataclass(frozen=True, slots=True)
class Item:
    """What an entry of a feed says; `published` is None where it bears no date."""

    own_id: str
    title: str
    summary: str
    url: str
    tags: str
    published: int | None


def items_of(answer: "Answer") -> list[Item]:
    """Return the entries of a feed.

    Raises:
        MalformedError: it is none, such as the page of a firewall.
    """
    import feedparser  # type: ignore[import-untyped]  # noqa: PLC0415  # listing providers parses nothing

    told = {"content-type": answer.headers.get("content-type", "")}
    # A stream, since a text that looks like one would be opened as an address.
    # Markup goes anyway, and what would be cleaned of it here takes the square of its length.
    try:
        parsed = feedparser.parse(
            io.BytesIO(answer.body),
            response_headers=told,
            sanitize_html=False,
            resolve_relative_uris=False,
        )
    except ValueError as error:  # such as a reference to a character of five thousand digits
        raise MalformedError(f"{answer.what} answered no feed", where=answer.where) from error
    if not parsed.version:
        raise MalformedError(f"{answer.what} answered no feed", where=answer.where)
    items = []
    for entry in parsed.entries:
        title, link = plain(entry.get("title") or ""), entry.get("link") or ""
        stamp = entry.get("published_parsed") or entry.get("updated_parsed")
        published = calendar.timegm(stamp) * SECOND if stamp else None
        summary = plain(entry.get("summary") or "")[:_LONGEST_SUMMARY]
        tags = " ".join(tag.get("term") or "" for tag in entry.get("tags") or ())
        day = str((published or 0) // DAY)
        own_id = entry.get("id") or same_link(link) or digest(title, day)
        if title:
            items.append(Item(own_id, title, summary, link, tags, published))
    return items
