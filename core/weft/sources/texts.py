"""The base of providers that bring texts: assets, markup, duplicates, and the table of a batch."""

import hashlib
import html
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from weft.text.tagging import Tagger

if TYPE_CHECKING:
    import polars as pl

# An unclosed tag runs to the end of the text; otherwise the search would be quadratic.
_SCRIPT = re.compile(r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|</?[a-zA-Z!?][^<>]*>", re.DOTALL)
_NO_CHARACTER = re.compile(r"&#[0-9]{8,};?")
"""Numeric references beyond Unicode, which may have more digits than `int` accepts."""
_LONGEST_READ = 40_000
"""Characters that are used of a text, the longest post that Reddit allows."""
_FIRST_APPEARED = re.compile(r"\s*The post .{1,300} (first appeared|appeared first) on .{1,80}$")
_SHORTEST_TITLE = 4


class AssetFinder:
    """Finds the assets that a text is about, by the rules of `weft.text.tagging`.

    Example::

        finder = AssetFinder(names={"the merge": "ETH"})
        assert finder.find("Bitcoin rallies after The Merge") == ["BTC", "ETH"]

    Args:
        names: further names, and the asset of each.
        assets: further tickers.
    """

    def __init__(self, names: Mapping[str, str] | None = None, assets: Iterable[str] = ()) -> None:
        self._tagger = Tagger(assets, names)

    def find(self, title: str, summary: str = "", tags: Iterable[str] = ()) -> list[str]:
        """Return the assets of a text, without duplicates, in alphabetical order.

        Args:
            title: title without markup.
            summary: summary without markup.
            tags: tags of the source, such as names of coins; each is read on its own.
        """
        parts = ((title, summary), (summary, title), *((tag, title) for tag in tags))
        return sorted(set().union(*(self._tagger.find(text, rest) for text, rest in parts)))


def plain(text: str) -> str:
    """Return the first 40,000 characters of a text on one line, without markup and entities.

    Example::

        assert plain("<p>Bitcoin &amp; Ether</p>") == "Bitcoin & Ether"
    """
    # Cut first, which bounds the cost of the expressions below.
    text = text[:_LONGEST_READ]
    # Some feeds escape twice, which hides tags from the first pass.
    for _ in range(2):
        bare = _TAG.sub(" ", _SCRIPT.sub(" ", text))
        text = html.unescape(_NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", bare))
    text = " ".join(_TAG.sub(" ", text).split())
    return _FIRST_APPEARED.sub("", text)


def same_link(url: str) -> str:
    """Return a link without scheme, ``www.``, campaign parameters and fragment, to compare pages.

    Example::

        assert same_link("https://www.a.example/b/?utm_source=x#c") == "a.example/b"
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url.strip()
    query = [(k, v) for k, v in parse_qsl(parts.query) if not k.lower().startswith("utm_")]
    host = (parts.netloc or "").lower().removeprefix("www.")
    tail = f"?{urlencode(query)}" if query else ""
    return f"{host}{parts.path.rstrip('/')}{tail}"


def same_title(title: str) -> str | None:
    """Return a title's words in lower case, to compare titles; None for fewer than 4 words."""
    words = re.findall(r"\w+", title.casefold())
    return " ".join(words) if len(words) >= _SHORTEST_TITLE else None


def digest(*parts: str) -> str:
    """Return a 24-digit hexadecimal id of a text, the same in every process."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Text:
    """One row of `Batch.texts`.

    Attributes:
        id: id of the text, unique within the source.
        event_time: instant of publication, microseconds since 1970.
        known_at: instant the text became known, microseconds since 1970.
        title: title without markup.
        summary: summary without markup.
        url: address of the text.
        feed: publisher.
        assets: assets the text is about, such as ``BTC``.
        credibility: 0 to 1.
    """

    id: str
    event_time: int
    known_at: int
    title: str
    summary: str
    url: str
    feed: str
    assets: list[str]
    credibility: float


def frame_of(texts: Iterable[Text]) -> "pl.DataFrame":
    """Return texts as the table of `Batch.texts`, sorted by id and times.

    Example::

        yield Batch(texts=frame_of(texts))
    """
    import polars as pl  # noqa: PLC0415  # listing providers needs no frames

    rows = [tuple(getattr(text, name) for name in Text.__slots__) for text in texts]
    strings = dict.fromkeys(("id", "title", "summary", "url", "feed"), pl.String())
    schema = {
        **dict.fromkeys(Text.__slots__, pl.Int64()),
        **strings,
        "assets": pl.List(pl.String()),
        "credibility": pl.Float64(),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row").sort("id", "event_time", "known_at")
    micros = pl.col("event_time", "known_at").cast(pl.Datetime("us", "UTC"))
    return frame.with_columns(micros)
