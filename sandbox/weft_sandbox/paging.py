"""Pages of results, in the ways APIs cut them."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import orjson

from weft_sandbox.protocol import Json, Problem, Refusal

T = TypeVar("T")


def window(count: int, limit: int, *, newest: bool) -> slice:
    """Return which of `count` ascending rows make a page: the first or the last `limit`."""
    return slice(max(count - limit, 0), count) if newest else slice(0, limit)


def numbered(rows: Sequence[T], page: int, size: int) -> Sequence[T]:
    """Return a page by number, the first is 1."""
    return rows[(page - 1) * size : page * size]


def encode_cursor(state: Json) -> str:
    """Return an opaque text that `decode_cursor` reads again."""
    return base64.urlsafe_b64encode(orjson.dumps(state)).decode().rstrip("=")


def decode_cursor(text: str, name: str = "cursor") -> Json:
    """Return what a cursor holds; refuse the request if it is none of ours."""
    try:
        return orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        raise Refusal(Problem.BAD_PARAMETER, name) from None


def decimal(value: int, digits: int, least: int = 0) -> str:
    """Return a whole number of units of 10**-digits as an exact decimal text.

    Args:
        value: not negative.
        digits: decimals the unit stands for.
        least: decimals to write at least.
    """
    width = max(digits, least)
    value *= 10 ** (width - digits)
    if not width:
        return str(value)
    whole, part = divmod(value, 10**width)
    return f"{whole}.{part:0{width}d}"
