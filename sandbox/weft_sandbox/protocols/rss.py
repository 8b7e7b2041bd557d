"""Feeds of many publishers, each below the name of its host: RSS 2.0, RDF and Atom.

The news of the world are divided among the publishers; another publisher repeats about one in six,
twenty minutes later and with another link. Responses have an ETag and a Last-Modified; a request
that sends them back gets status 304 if nothing is new.
"""

import hashlib
from email.utils import format_datetime
from functools import lru_cache
from html import escape

from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, iso, to_datetime
from weft_sandbox.market.news import NewsItem
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Answer, Api, Ask, Problem, Refusal

_RSS, _RDF, _ATOM = "application/rss+xml", "application/rdf+xml", "application/atom+xml"
_NEWS = {
    "www.coindesk.com/arc/outboundfeeds/rss/": _RSS,
    "www.theblock.co/rss.xml": _RSS,
    "blockworks.co/feed": _RSS,
    "decrypt.co/feed": _RSS,
    "www.dlnews.com/arc/outboundfeeds/rss/": _RSS,
    "cointelegraph.com/rss": _RSS,
    "thedefiant.io/feed": _RSS,
    "bitcoinmagazine.com/feed": _RSS,
    "cryptoslate.com/feed/": _RSS,
    "beincrypto.com/feed/": _RSS,
    "cryptobriefing.com/feed/": _RSS,
    "news.bitcoin.com/feed/": _RSS,
    "cryptonews.com/news/feed/": _RSS,
    "cryptopotato.com/feed/": _RSS,
    "www.newsbtc.com/feed/": _RSS,
    "u.today/rss": _RSS,
    "ambcrypto.com/feed/": _RSS,
    "bitcoinist.com/feed/": _RSS,
    "dailyhodl.com/feed/": _RSS,
    "blog.example.com/atom.xml": _ATOM,
}
_OFFICIAL = {
    "www.federalreserve.gov/feeds/press_all.xml": _RSS,
    "www.federalreserve.gov/feeds/h15.xml": _RDF,
    "www.cftc.gov/rss/pressreleases.xml": _RSS,
    "www.sec.gov/news/pressreleases.rss": _RSS,
}
_FEEDS = {**_NEWS, **_OFFICIAL}
_MOST, _SPAN, _LATE = 30, 12 * DAY, 20 * MINUTE


def _errors(problem: Problem, detail: str) -> Answer:
    status = {Problem.NOT_FOUND: 404, Problem.RATE_LIMITED: 429, Problem.SERVER: 503}
    wait = {"Retry-After": detail} if problem is Problem.RATE_LIMITED else {}
    page = b"<!DOCTYPE html><html><title>Attention Required!</title></html>"
    return Answer(page, status.get(problem, 403), wait, "text/html")


api = Api("rss", errors=_errors)


@api.get("/{address:path}")
def feed(ask: Ask) -> Answer:
    """Return the newest items of a feed."""
    address = ask.path["address"]
    kind = _FEEDS.get(address)
    if kind is None:
        raise Refusal(Problem.NOT_FOUND)
    if address.startswith("www.sec.gov") and "@" not in ask.headers.get("user-agent", ""):
        page = b"<html><title>SEC.gov | Request Rate Threshold Exceeded</title></html>"
        raise Refusal(Answer(page, 403, media_type="text/html"))
    items = _official(ask, address) if address in _OFFICIAL else _news(ask, address)
    body = {_RSS: _rss, _RDF: _rdf, _ATOM: _atom}[kind](address, items).encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    newest = to_datetime(items[0].time if items else ask.now // DAY * DAY)
    headers = {"ETag": tag, "Last-Modified": format_datetime(newest, usegmt=True)}
    if ask.headers.get("if-none-match") == tag:
        return Answer(b"", 304, headers)
    return Answer(body, headers=headers, media_type=f"{kind}; charset=utf-8")


@lru_cache(maxsize=4)
def _archive(world: World, until: int) -> tuple[NewsItem, ...]:
    """Return the news of some days, equal for all feeds within an hour."""
    return tuple(world.news(until - _SPAN, until))


def _news(ask: Ask, address: str) -> list[NewsItem]:
    place = list(_NEWS).index(address)
    items = []
    hour = ask.now // HOUR * HOUR
    for item in [*_archive(ask.world, hour), *ask.world.news(hour, ask.now)]:
        home = item.number * 7 % len(_NEWS)
        if home == place:
            items.append(item)
        elif item.number % 6 == 0 and (home + 1) % len(_NEWS) == place:
            later = item.time + _LATE
            copy = (item.number, later, item.title, item.text, item.outlet, item.coin, 0.0)
            items += [NewsItem(*copy)] if later <= ask.now else []
    return sorted(items, key=lambda item: -item.time)[:_MOST]


def _official(ask: Ask, address: str) -> list[NewsItem]:
    host = address.split("/", 1)[0]
    days = range(ask.now // DAY - 9, ask.now // DAY + 1)
    drafts = [
        NewsItem(day, day * DAY + 15 * HOUR, f"Statement number {day} of {host}", "", host, "", 0.0)
        for day in days
    ]
    return [item for item in reversed(drafts) if item.time <= ask.now]


def _links(address: str, item: NewsItem) -> tuple[str, str]:
    host = address.split("/", 1)[0]
    slug = "-".join(item.title.lower().replace(",", "").split())
    return f"https://{host}/{iso(item.time)[:10]}/{slug}/", f"https://{host}/?p={item.number}"


def _rss(address: str, items: list[NewsItem]) -> str:
    rows = []
    for item in items:
        link, guid = _links(address, item)
        text = f"<p>{item.text}</p><p>The post {item.title} appeared first on {address}.</p>"
        tags = "<category><![CDATA[Markets]]></category>"
        rows.append(
            f"<item><title><![CDATA[{item.title} &#038; more, {item.number}]]></title>"
            f"<link>{link}?utm_source=rss</link><dc:creator>A. Writer</dc:creator>"
            f"<pubDate>{format_datetime(to_datetime(item.time))}</pubDate>{tags}"
            f'<guid isPermaLink="false">{guid}</guid>'
            f"<description><![CDATA[{text}]]></description></item>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" '
        'xmlns:content="http://purl.org/rss/1.0/modules/content/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><channel>'
        f"<title>{address}</title><link>https://{address}</link>{''.join(rows)}</channel></rss>"
    )


def _rdf(address: str, items: list[NewsItem]) -> str:
    rows = []
    for item in items:
        link, _ = _links(address, item)
        rows.append(
            f'<item rdf:about="{link}"><title>{escape(item.title)}</title><link>{link}</link>'
            f"<dc:date>{iso(item.time // SECOND * SECOND)}</dc:date></item>"
        )
    return (
        '<?xml version="1.0"?><rdf:RDF xmlns="http://purl.org/rss/1.0/" '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<channel rdf:about="https://{address}"><title>{address}</title></channel>'
        f"{''.join(rows)}</rdf:RDF>"
    )


def _atom(address: str, items: list[NewsItem]) -> str:
    rows = []
    for item in items:
        link, guid = _links(address, item)
        time, more = iso(item.time), f" &amp;amp; more, {item.number}"
        rows.append(
            f'<entry><id>{guid}</id><title type="html">{escape(item.title)}{more}</title>'
            f'<link href="{link}"/><published>{time}</published><updated>{time}</updated>'
            f'<content type="html">{escape(f"<p>{item.text}</p>")}</content></entry>'
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom">'
        f"<title>{address}</title><id>https://{address}</id>{''.join(rows)}</feed>"
    )
