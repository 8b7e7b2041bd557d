"""Reading of each text: tone, language, tokens and figures; each text is read once."""

import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from weft.foundation.arrays import Times
from weft.text.tagging import Tagger, Tags
from weft_plugins.layers.sentiment.text.cleaning import is_readable, plain, words
from weft_plugins.layers.sentiment.text.lexicon import Lexicon
from weft_plugins.layers.sentiment.text.lexicon_words import NEGATIONS

_MOST_HELD: Final = 200_000
_MOOD: Final = 0.2
"""Absolute tone from which on a text counts as good or bad news."""
_FIGURE: Final = re.compile(r"\d[\d.,]*")
_EMPTY_WORDS: Final = frozenset(
    ("a", "an", "the", "of", "to", "in", "on", "for", "and", "as", "at", "by", "with", "from", "is")
)
_FREQUENT: Final = 1 << 61
_FREQUENT_STEMS: Final = """
bitcoin btc ethereum eth crypto pric market new token us defi blockchain nft trad say exchang not
after mor how why up
"""
_FREQUENT_WORDS: Final = frozenset(_FREQUENT_STEMS.split())
"""Stems in too many headlines to find similar ones by: other words are compared first."""
_ENDINGS: Final = ("ing", "ed", "es", "s")


class Read(NamedTuple):
    """A text that was read.

    Attributes:
        text: title and summary, plain.
        tone: by the lexicon, -1 to +1.
        is_readable: whether it is probably English.
        tokens: of its title, ascending; the same for words that differ in their endings alone.
        figures: in its title, ascending.
        bits: one bit for each token.
        mood: +1 good news, -1 bad news, 0 neither.
        title: plain.
        summary: plain.
    """

    text: str
    tone: float
    is_readable: bool
    tokens: Times
    figures: Times
    bits: int
    mood: int
    title: str
    summary: str


class Reader:
    """Reads texts, and caches what it read.

    Args:
        longest: characters of a title and of a summary that are read.
        names: further names of assets.
    """

    def __init__(self, longest: int, names: Mapping[str, str]) -> None:
        self._longest = longest
        self._names = dict(names)
        self._lexicon = Lexicon()
        self._read: dict[tuple[str, str], Read] = {}
        self._tagger: tuple[object, Tagger] | None = None
        self._tags: dict[tuple[str, str, tuple[str, ...]], Tags] = {}

    def read(self, title: str, summary: str) -> Read:
        """Return a text's tone, tokens and figures, from the cache where it was read before."""
        key = title, summary
        cached = self._read.get(key)
        if cached is None:
            if len(self._read) >= _MOST_HELD:
                self._read = {}
            cached = self._read[key] = self._first_read(title, summary)
        return cached

    def look_for(self, assets: Iterable[str], stocks: Iterable[str]) -> None:
        """Set which assets, besides the large coins, texts may be about."""
        wanted = frozenset(assets), frozenset(stocks)
        if self._tagger is None or self._tagger[0] != wanted:
            self._tagger = wanted, Tagger(wanted[0], self._names, wanted[1])
            self._tags = {}

    def tags(self, title: str, summary: str, marks: tuple[str, ...]) -> Tags:
        """Return the assets that a text is about."""
        key = title, summary, marks
        cached = self._tags.get(key)
        if cached is None:
            if len(self._tags) >= _MOST_HELD:
                self._tags = {}
            tagger = self._tagger[1] if self._tagger else Tagger()
            read = self.read(title, summary)
            cached = self._tags[key] = tagger.tag(read.title, read.summary, marks)
        return cached

    def _first_read(self, title: str, summary: str) -> Read:
        headline, rest = plain(title, self._longest), plain(summary, self._longest)
        reading = self._lexicon.read(headline, rest)
        text = f"{headline}. {rest}" if rest else headline
        tokens, figures = _tokens(headline)
        bits = 0
        for token in tokens:
            bits |= 1 << (token & 63)
        return Read(
            text=text,
            tone=reading.tone,
            is_readable=is_readable(text, reading.known),
            tokens=np.array(tokens, dtype=np.int64),
            figures=np.array(figures, dtype=np.int64),
            bits=bits,
            mood=(reading.tone > _MOOD) - (reading.tone < -_MOOD),
            title=headline,
            summary=rest,
        )


def _tokens(title: str) -> tuple[list[int], list[int]]:
    """Return numbers for the words of a title and for its figures, each once, ascending."""
    folded = title.casefold()
    tokens = {
        _number("not" if word in NEGATIONS or word.endswith("n't") else _stem(word))
        for word in words(folded)
        if word not in _EMPTY_WORDS
    }
    figures = {_number(figure.strip(".,").replace(",", "")) for figure in _FIGURE.findall(folded)}
    return sorted(tokens), sorted(figures)


def _stem(word: str) -> str:
    word = word.removesuffix("'s").lstrip("$")
    for ending in _ENDINGS:
        if len(word) > len(ending) + 2 and word.endswith(ending):
            return word.removesuffix(ending).removesuffix("e")
    return word.removesuffix("e")


def _number(word: str) -> int:
    """Return a number for a word, the same in every process; a high one where it is frequent."""
    raw = word.encode("utf-8", "replace")
    number = (zlib.crc32(raw) << 29 ^ zlib.adler32(raw)) & (_FREQUENT - 1)
    return number | _FREQUENT if word in _FREQUENT_WORDS else number
