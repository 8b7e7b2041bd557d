"""Pages of results, in the ways of the APIs."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import orjson

from weft_sandbox.protocol import Json, Problem, Refusal

T = TypeVar("T")


def window(count: int, limit: int, *, newest: bool) -> slice:
    """Return the slice of the first or last `limit` of `count` ascending rows."""
    return slice(max(count - limit, 0), count) if newest else slice(0, limit)


def numbered(rows: Sequence[T], page: int, size: int) -> Sequence[T]:
    """Return a page by its number, from 1."""
    return rows[(page - 1) * size : page * size]


def encode_cursor(state: Json) -> str:
    """Return an opaque text for `decode_cursor`."""
    return base64.urlsafe_b64encode(orjson.dumps(state)).decode().rstrip("=")


def decode_cursor(text: str, name: str = "cursor") -> Json:
    """Return the content of a cursor; refuse the request if the cursor is invalid."""
    try:
        return orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise Refusal(Problem.BAD_PARAMETER, name) from None


def decimal(value: int, digits: int, least: int = 0) -> str:
    """Return a number of units of 10**-digits as exact decimal text.

    Args:
        value: number of units, not negative.
        digits: decimals of the unit.
        least: least number of decimals to write.
    """
    width = max(digits, least)
    value *= 10 ** (width - digits)
    if not width:
        return str(value)
    integer, part = divmod(value, 10**width)
    return f"{integer}.{part:0{width}d}"
