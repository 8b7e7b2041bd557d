"""Random numbers as functions of their keys, independent of the order of draws."""

import hashlib
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import Floats

Integers: TypeAlias = NDArray[np.int64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@lru_cache(maxsize=4096)
def key_of(*words: str) -> int:
    """Return a 63-bit hash of words."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def generator(seed: int, words: tuple[str, ...], block: int = 0) -> np.random.Generator:
    """Return the random generator of one block of one subject."""
    return np.random.Generator(np.random.SFC64([seed, key_of(*words), block + (1 << 32)]))


def hashed(key: int, numbers: "NDArray[Any]") -> Floats:
    """Return uniform numbers in [0, 1), each a function of the key and an integer.

    The mixing function is splitmix64 (Steele, Lea and Flood 2014).
    """
    # The key is hashed, too: otherwise keys that differ by one would give shifted copies.
    start = np.uint64(_mixed_key(key))
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.int64).view(np.uint64) * _STEP + start
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        mixed = mixed ^ (mixed >> np.uint64(31))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed_key(key: int) -> int:
    digest = hashlib.blake2b(key.to_bytes(16, "big", signed=True), digest_size=8).digest()
    return int.from_bytes(digest)


def split(total: "int | NDArray[Any]", weights: Floats) -> Integers:
    """Split integer totals into integer parts along the last axis, in proportion to weights."""
    share = np.cumsum(weights, axis=-1)
    share /= share[..., -1:]
    ends = np.rint(share * np.asarray(total)[..., None]).astype(np.int64)
    ends[..., -1] = total
    parts: Integers = np.diff(ends, axis=-1, prepend=0)
    return parts
