"""Words of a text."""

import re

_WORD = re.compile(r"\$?[^\W_]+(?:['-][^\W_]+)*", re.UNICODE)


def words(text: str) -> list[str]:
    """Return the words of a plain text as they are written; ``$BTC`` keeps its sign."""
    return _WORD.findall(text)
