"""The default feeds, and the parsing of a feed."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import DAY
from weft.sources.http.errors import MalformedError
from weft.sources.texts import digest, plain, same_link
from weft_providers.rss.dates import parse_date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weft.sources.http import HttpResponse

_LONGEST_SUMMARY = 2_000


class Feed(ComponentConfig):
    """One feed."""

    url: str = Field(pattern=r"^https?://[^\s/]", description="address of the feed")
    credibility: float = Field(default=0.5, ge=0, le=1, description="credibility of its texts")
    needs_contact: bool = Field(
        default=False,
        description="skip unless `contact` is set: the publisher requires it",
    )


def default_feeds() -> dict[str, Feed]:
    """Return the default feeds, with the credibility of each."""
    listed = {
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
    feeds = {name: Feed(url=url, credibility=share) for name, (url, share) in listed.items()}
    sec = "https://www.sec.gov/news/pressreleases.rss"
    return {**feeds, "sec": Feed(url=sec, credibility=1.0, needs_contact=True)}


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of a feed; `published` is None where it has no valid date."""

    item_id: str
    title: str
    summary: str
    url: str
    tags: tuple[str, ...]
    published: int | None


def parse_items(answer: "HttpResponse") -> list[Item]:
    """Return the entries of a feed that have a title.

    Raises:
        MalformedError: the answer is no feed, such as the page of a firewall.
    """
    import feedparser  # type: ignore[import-untyped]  # noqa: PLC0415  # listing providers parses nothing

    headers = {"content-type": answer.headers.get("content-type", "")}
    # A stream, since the parser would open a text that looks like an address. No sanitizing:
    # `plain` removes markup, and the parser's sanitizer takes quadratic time.
    try:
        parsed = feedparser.parse(
            io.BytesIO(answer.body),
            response_headers=headers,
            sanitize_html=False,
            resolve_relative_uris=False,
        )
    except Exception as error:  # the parser may raise any error on unexpected markup
        raise MalformedError(f"{answer.what} answered no feed", where=answer.where) from error
    # The result for an empty body has no version at all.
    if not parsed.get("version"):
        raise MalformedError(f"{answer.what} answered no feed", where=answer.where)
    items = (_parse_item(entry) for entry in parsed.get("entries") or ())
    return [item for item in items if item.title]


def _parse_item(entry: "Mapping[str, Any]") -> Item:
    title, link = plain(entry.get("title") or ""), entry.get("link") or ""
    # The parser's dates are not used: it misreads slashes, and knows few zones.
    published = next(
        (
            instant
            for name in ("published", "updated", "created")
            if name in entry and (instant := parse_date(str(entry[name]))) is not None
        ),
        None,
    )
    day = str((published or 0) // DAY)
    return Item(
        item_id=entry.get("id") or same_link(link) or digest(title, day),
        title=title,
        summary=plain(entry.get("summary") or "")[:_LONGEST_SUMMARY],
        url=link,
        tags=tuple(tag.get("term") or "" for tag in entry.get("tags") or ()),
        published=published,
    )
