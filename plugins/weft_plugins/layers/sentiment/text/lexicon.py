"""Tone of a text from a table of words, where no language model is available."""

import math
from typing import Final, NamedTuple

from weft_plugins.layers.sentiment.text.cleaning import words
from weft_plugins.layers.sentiment.text.lexicon_words import (
    BURDENS,
    NEGATIONS,
    PHRASES,
    RELIEFS,
    STRENGTHS,
    WEIGHTS,
)

REACH: Final = 3
"""Words over which a negation or an adverb has an effect."""

_SPREAD: Final = 15.0
"""Constant of the normalisation of VADER (Hutto & Gilbert 2014)."""

_SUMMARY: Final = 0.4
"""Weight of a word in the summary, relative to one in the title."""

_QUESTION: Final = 0.5
"""Weight of a title that is a question."""

_LIFTED: Final = -0.7
"""Factor of a negated word: "not good" is less bad than "bad" (VADER uses -0.74)."""

_COMMON_WORDS: Final = """
the a an of to in on for and as at by with from is are was were be has have will its it after over
says say said that this new how why what into more than amid about up down us out
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_LONGEST_PHRASE: Final = max(phrase.count(" ") + 1 for phrase in PHRASES)
_ENDINGS: Final = ("'s", "s", "es", "ed", "d", "ing", "er", "ers", "ly")
_OPENINGS: Final = frozenset(phrase.split()[0] for phrase in PHRASES)


class Reading(NamedTuple):
    """Tone of a text by its words.

    Attributes:
        tone: -1 (bad news) to +1 (good news).
        known: number of its words that are known to be English.
    """

    tone: float
    known: int


class Lexicon:
    """Reads texts by a table of words; negations invert words, adverbs strengthen them.

    The sum x of the weights becomes x / sqrt(x² + 15), as in VADER (Hutto & Gilbert 2014,
    https://doi.org/10.1609/icwsm.v8i1.14550).
    """

    def __init__(self) -> None:
        self._seen: dict[str, float | None] = {}

    def read(self, title: str, summary: str = "") -> Reading:
        """Return the tone of a text.

        Args:
            title: plain (see `weft_plugins.layers.sentiment.text.cleaning.plain`).
            summary: plain.
        """
        total, known = self._weigh(title)
        if title.rstrip().endswith("?"):
            total *= _QUESTION
        if summary:
            more, also = self._weigh(summary)
            total, known = total + _SUMMARY * more, known + also
        return Reading(total / math.sqrt(total * total + _SPREAD), known)

    def _weigh(self, text: str) -> tuple[float, int]:
        tokens = [word.lstrip("$") for word in words(text.casefold())]
        total, known, place = 0.0, 0, 0
        while place < len(tokens):
            weight, length = self._weight_at(tokens, place)
            if weight is None:
                known += tokens[place] in _COMMON
            else:
                known += 1
                total += weight * self._turned(tokens, place) if weight else 0.0
            place += length
        return total, known

    def _weight_at(self, tokens: list[str], place: int) -> tuple[float | None, int]:
        """Return the weight of the phrase or word at a place, and its number of words."""
        if tokens[place] in _OPENINGS:
            for length in range(min(_LONGEST_PHRASE, len(tokens) - place), 0, -1):
                weight = PHRASES.get(" ".join(tokens[place : place + length]))
                if weight is not None:
                    return weight, length
        return self._weight(tokens[place]), 1

    def _turned(self, tokens: list[str], place: int) -> float:
        before = tokens[max(0, place - REACH) : place]
        factor = 1.0
        if tokens[place] in BURDENS and not RELIEFS.isdisjoint(
            before + tokens[place + 1 : place + 3]
        ):
            factor = _LIFTED
        for word in before:
            if word in NEGATIONS or word.endswith("n't"):
                factor *= _LIFTED
            else:
                factor *= STRENGTHS.get(word, 1.0)
        return factor

    def _weight(self, word: str) -> float | None:
        if word not in self._seen:
            # Bounds the memory: texts come from outside.
            if len(self._seen) > 50_000:
                self._seen.clear()
            self._seen[word] = _look_up(word)
        return self._seen[word]


def _look_up(word: str) -> float | None:
    """Return the weight of a word or of its stem; None where the table has neither."""
    if word in WEIGHTS:
        return WEIGHTS[word]
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if len(stem) < 3 or stem == word:
            continue
        forms = [stem, stem + "e"]
        if stem[-1] == stem[-2]:
            forms.append(stem[:-1])
        if stem[-1] == "i":
            forms.append(stem[:-1] + "y")
        for form in forms:
            if form in WEIGHTS:
                return WEIGHTS[form]
    return None
