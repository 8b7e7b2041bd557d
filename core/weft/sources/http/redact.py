"""Removal of secrets from messages, logs and cached bodies."""

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

    Example::

        redact = Redactor([SecretStr("k-12345")])
        assert redact("GET /v1?key=k%2D12345") == "GET /v1?key=***"

    Args:
        secrets: secrets to replace; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        given = {secret.get_secret_value() for secret in secrets} - {""}
        raw = given | {part for secret in given for part in _credentials(secret)}
        forms = raw | {form for secret in raw for form in _base64(secret)}
        # Longest first: a secret may be part of another.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        pattern = "|".join("".join(map(_spellings, form)) for form in ordered)
        self._text = re.compile(pattern, re.IGNORECASE) if ordered else None
        self._bytes = re.compile(pattern.encode(), re.IGNORECASE) if ordered else None
        self._anchors = [_anchor(form) for form in ordered]

    def __call__(self, text: str) -> str:
        """Return the text with each secret replaced by ``***``."""
        return self._text.sub(MARK, text) if self._text else text

    def matches(self, body: bytes) -> bool:
        """Whether UTF-8 bytes contain a secret."""
        if self._bytes is None:
            return False
        # Bodies are large, and a plain search is a hundred times faster than the expression.
        lower = body.lower()
        likely = any(anchor in lower for anchor in self._anchors)
        return likely and self._bytes.search(body) is not None

    def __repr__(self) -> str:
        return "Redactor()"


def _base64(secret: str) -> Iterable[str]:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret.encode()).decode().rstrip("=")


def _credentials(secret: str) -> Iterable[str]:
    """Return ``user:password`` and the password if a secret is a token of HTTP basic auth."""
    try:
        text = base64.b64decode(secret, validate=True).decode("ascii")
    except ValueError:
        return
    _, colon, password = text.partition(":")
    # A short text that happens to decode would replace large parts of every message.
    if colon and text.isprintable() and len(password) >= _SHORTEST_PASSWORD:
        yield from (text, password)


def _spellings(char: str) -> str:
    """Return a pattern of all spellings of a character: raw, escaped and percent-encoded.

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
    """Return the longest part that no encoding changes, in lower case, for the plain search."""
    parts = re.findall(r"[A-Za-z0-9]+", form)
    return max(parts, key=len, default="").lower().encode()


class LogRedaction(logging.Filter):
    """Removes secrets from log records of the HTTP libraries while the context is entered.

    The libraries log request lines, and at DEBUG the response headers, in which a server may echo
    the key. A filter on their loggers is the only hook they offer.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message of a record; every record passes."""
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
