"""Keeps keys out of everything that is written down."""

import base64
import logging
import re
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from pydantic import SecretStr

MARK = "***"
_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
)
_SHORTEST_PASSWORD = 6


class Redactor:
    """Replaces secrets in texts, also percent-encoded, escaped as JSON or Python, and in base64.

    Args:
        secrets: what must not be seen; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        given = {secret.get_secret_value() for secret in secrets} - {""}
        raw = given | {part for secret in given for part in _credentials(secret)}
        forms = raw | {form for secret in raw for form in _base64(secret)}
        # The longest first: one secret may be a part of another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        pattern = "|".join("".join(map(_spellings, form)) for form in ordered)
        self._text = re.compile(pattern, re.IGNORECASE) if ordered else None
        self._bytes = re.compile(pattern.encode(), re.IGNORECASE) if ordered else None
        self._anchors = [_anchor(form) for form in ordered]

    def __call__(self, text: str) -> str:
        """Return the text with each secret replaced by ``***``."""
        return self._text.sub(MARK, text) if self._text else text

    def found_in(self, body: bytes) -> bool:
        """Whether a secret stands in UTF-8 bytes."""
        if self._bytes is None:
            return False
        # Bodies are large, and a plain search is a hundred times as fast.
        lower = body.lower()
        likely = any(anchor in lower for anchor in self._anchors)
        return likely and self._bytes.search(body) is not None

    def __repr__(self) -> str:
        return "Redactor()"


def _base64(secret: str) -> Iterable[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret.encode()).decode().rstrip("=")


def _credentials(secret: str) -> Iterable[str]:
    """Return what HTTP basic authentication wraps up: ``user:password``, and the password."""
    try:
        text = base64.b64decode(secret, validate=True).decode("ascii")
    except ValueError:
        return
    _, colon, password = text.partition(":")
    # Something short that happens to decode would blot out half of every message.
    if colon and text.isprintable() and len(password) >= _SHORTEST_PASSWORD:
        yield from (text, password)


def _spellings(char: str) -> str:
    """Return a pattern of every way in which a character of a secret may be written.

    Escapes may be nested, as in the repr of an error that quotes the repr of a header.
    """
    raw = char.encode()
    ways = [re.escape(char), "".join(f"%{byte:02x}" for byte in raw)]
    if not (char.isascii() and char.isalnum()):
        ways[0] = rf"\\{{0,8}}{ways[0]}"
        ways.append("".join(rf"\\{{1,8}}x{byte:02x}" for byte in raw))
        ways.append(rf"\\{{1,8}}x{ord(char):02x}")
        units = char.encode("utf-16-be")
        pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
        ways.append("".join(rf"\\{{1,8}}u{pair}" for pair in pairs))
        ways.append(rf"\\{{1,8}}U{ord(char):08x}")
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"


def _anchor(form: str) -> bytes:
    """Return the longest part that no encoding changes, in lower case."""
    parts = re.findall(r"[A-Za-z0-9]+", form)
    return max(parts, key=len, default="").lower().encode()


class LogRedaction(logging.Filter):
    """Takes secrets out of what the HTTP libraries log, for as long as it is entered.

    They log request lines, and at DEBUG the headers of answers, in which a server may echo the
    key. No other way in exists than a filter on their loggers.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace a message that holds a secret; let every record pass."""
        text = record.getMessage()
        safe = self._redact(text)
        if safe != text:
            record.msg, record.args = safe, ()
        return True

    def __enter__(self) -> Self:
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self)
