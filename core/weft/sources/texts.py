"""Texts of any source: what they are about, what is left of them without markup, what repeats."""

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

# What is never closed goes on to the end, or each beginning would be followed to the end anew.
_SPEECH = re.compile(r"<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<!--.*?(?:-->|\Z)|</?[a-zA-Z!?][^<>]*>", re.DOTALL)
_NO_CHARACTER = re.compile(r"&#[0-9]{8,};?")
"""References to numbers no character has, which can be longer than Python reads a number."""
_LONGEST_READ = 40_000
"""Characters that are looked at: as many as Reddit allows in a post."""
_FIRST_APPEARED = re.compile(r"\s*The post .{1,300} (first appeared|appeared first) on .{1,80}$")
_SHORTEST_TITLE = 4


class AssetFinder:
    """Finds the assets that a text is about, as layers read it (see `weft.text.tagging`).

    Args:
        names: further names and the assets they stand for.
        assets: further tickers to look for.
    """

    def __init__(self, names: Mapping[str, str] | None = None, assets: Iterable[str] = ()) -> None:
        self._tagger = Tagger(assets, names)

    def find(self, title: str, summary: str = "", tags: Iterable[str] = ()) -> list[str]:
        """Return the assets, each once, in alphabetical order.

        Args:
            title: without markup.
            summary: likewise.
            tags: of the source, such as a coin's name; each is read alone.
        """
        parts = ((title, summary), (summary, title), *((tag, title) for tag in tags))
        return sorted(set().union(*(self._tagger.find(text, rest) for text, rest in parts)))


def plain(text: str) -> str:
    """Return a text without markup and entities, on one line.

    Of a very long one only the beginning is looked at: the first 40 000 characters.
    """
    # Cut before anything else, so that no text costs more than another of that length.
    text = text[:_LONGEST_READ]
    # Feeds escape twice now and then; markup that shows only then goes as well.
    for _ in range(2):
        bare = _TAG.sub(" ", _SPEECH.sub(" ", text))
        text = html.unescape(_NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", bare))
    text = " ".join(_TAG.sub(" ", text).split())
    return _FIRST_APPEARED.sub("", text)


def same_link(url: str) -> str:
    """Return what is left of an address where it is the same page: no campaign, no fragment."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return url.strip()
    query = [(k, v) for k, v in parse_qsl(parts.query) if not k.lower().startswith("utm_")]
    host = (parts.netloc or "").lower().removeprefix("www.")
    tail = f"?{urlencode(query)}" if query else ""
    return f"{host}{parts.path.rstrip('/')}{tail}"


def same_title(title: str) -> str | None:
    """Return what is left of a title where it is the same; None where it is too short to tell."""
    words = re.findall(r"\w+", title.casefold())
    return " ".join(words) if len(words) >= _SHORTEST_TITLE else None


def digest(*parts: str) -> str:
    """Return a short name for a text, the same in every process."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Text:
    """One text as `Batch.texts` takes it; instants in microseconds since 1970."""

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
    """Return texts as a table for `Batch.texts`."""
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
