"""Plain texts: normalised characters, no markup, limited length."""

import html
import re
import unicodedata

from weft.text.tagging import words

__all__ = ["is_readable", "plain", "words"]

_MARKUP = re.compile(
    r"<(?:script|style)\b[^>]*>.*?</(?:script|style)\s*>|<[^<>]{0,2000}>", re.IGNORECASE | re.DOTALL
)
_ASCII_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"'})
_READ_BEFORE_CUT = 4


def plain(text: str, longest: int) -> str:
    """Return a text without markup, control and zero-width characters, on one line.

    Characters that look alike by compatibility (full-width, ligatures) become the plain one, by
    Unicode's form NFKC.

    Args:
        text: as published; only the beginning of a very long text is used.
        longest: greatest number of characters returned.
    """
    # Cut first, so that a very long text costs no more than a long one.
    text = text[: _READ_BEFORE_CUT * longest]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ASCII_QUOTES)
        text = text[: _READ_BEFORE_CUT * longest]
        # Cf: zero-width and direction marks. Words must not be split or hidden by them.
        text = "".join(c for c in text if unicodedata.category(c) not in {"Cf", "Cs", "Co", "Cn"})
    if "<" in text or "&" in text:
        text = _MARKUP.sub(" ", html.unescape(_MARKUP.sub(" ", text)))
    return " ".join(text.split())[:longest].rstrip()


def is_readable(text: str, known: int) -> bool:
    """Return whether a text is probably English.

    Args:
        text: plain, with at least one letter in it.
        known: number of its words that are known to be English.
    """
    letters = sum(map(str.isalpha, text))
    latin = sum(c.isascii() for c in text if c.isalpha())
    if not letters or latin < 0.7 * letters:
        return False
    return known > 0 or text.count(" ") < _SHORT


_SHORT = 5
"""Gaps between words below which an English headline may have no common word."""
