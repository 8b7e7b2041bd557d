"""Digests of everything a view holds, to tell whether somebody wrote to it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from weft.market.view import View


def digests_of(view: View) -> dict[str, str]:
    """Return the digest of each array a view holds, by how messages call the array.

    Besides candles these are texts, the regime, forecasts, and the features asked for so far.
    """
    data = view._data  # noqa: SLF001  # a component's own view does not hand it out
    parts = {
        "candles": {interval.name: panel for interval, panel in data.candles.items()},
        "news": data.news,
        "regime": data.regime,
        "forecasts": data.outlooks,
        "feature": {
            f"{need.name} {dict(need.params) or ''}": panels
            for (need, _), panels in data.computed.items()
        },
        "universe": data.universe,
    }
    return {name: _digest(array) for name, array in _arrays(parts, "")}


def _arrays(part: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(part, np.ndarray):
        yield name.strip(), part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _arrays(value, f"{name} {key}")
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _arrays(getattr(part, field.name), f"{name} {field.name}")


def _digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()
