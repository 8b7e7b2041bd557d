"""JSON as the standard has it: no NaN, no infinity, nothing after the document."""

import codecs
from typing import Any

import orjson


def parse_json(body: bytes) -> Any:  # noqa: ANN401  # JSON
    """Return what a UTF-8 body holds; a byte order mark is ignored.

    Of a key that stands twice the last value holds. Integers beyond 64 bits become floats.

    Raises:
        ValueError: no JSON, a number too large for a float, or nested more than 1024 deep.
    """
    return orjson.loads(body.removeprefix(codecs.BOM_UTF8))


def is_markup(body: bytes) -> bool:
    """Whether a body looks like a page rather than data."""
    return body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"
