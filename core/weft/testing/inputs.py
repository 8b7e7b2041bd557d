"""What a composition hands to ensembles, risk models and sizers, made up from time and symbol.

Every cell follows from its own instant and symbol alone, so that one row, many rows, and symbols in
another order are handed the same.
"""

from collections.abc import Mapping
from zlib import crc32

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.risk import Levels
from weft.foundation.arrays import FloatPanel, read_only
from weft.foundation.times import HOUR
from weft.market.view import View

WEIGHTS: Mapping[str, float] = {"first": 0.5, "second": 0.3, "third": 0.2}
"""The base weights of the layers that answered."""

_ACTS = 15.0


def scores_of(view: View) -> dict[str, Scores]:
    """Return what three layers say on a view's decision rows, with gaps."""
    found = {}
    for name in WEIGHTS:
        wave = _wave(view, name)
        score = np.where(_wave(view, f"{name} gaps") > 0.9, np.nan, 100.0 * wave)
        confidence = np.where(np.isnan(score), np.nan, 0.5 + 0.5 * _wave(view, f"{name} trust"))
        found[name] = Scores(read_only(score), read_only(confidence))
    return found


def fusion_of(view: View) -> Fusion:
    """Return what an ensemble says on a view's decision rows: long, short and neutral."""
    score = 100.0 * _wave(view, "fused")
    direction = np.where(np.abs(score) < _ACTS, 0.0, np.sign(score)).astype(np.int8)
    return Fusion(
        score=read_only(score),
        confidence=read_only(np.abs(score) / 100.0),
        direction=read_only(direction),
        weights={"first": read_only(np.ones(score.shape))},
        calibrated=False,
    )


def levels_of(view: View, fusion: Fusion) -> Levels:
    """Return levels on the side a fusion points to; NaN where there is nothing to act on."""
    gaps = _wave(view, "no entry") > 0.9
    entry = np.where(gaps, np.nan, 100.0 + 50.0 * _wave(view, "price"))
    side = np.where(fusion.direction == 0, np.nan, fusion.direction)
    stop, target = entry * (1.0 - 0.02 * side), entry * (1.0 + 0.03 * side)
    return Levels(read_only(entry), read_only(stop), read_only(target))


def _wave(view: View, name: str) -> FloatPanel:
    """Return numbers from -1 to 1, of another period and phase for each symbol."""
    hours = (view.times // HOUR).astype(np.float64)[:, None]
    seeds = np.array([crc32(f"{name} {symbol}".encode()) % 10_007 for symbol in view.symbols])
    wave: FloatPanel = np.sin(hours * (0.05 + seeds / 40_000.0) + seeds)
    return wave
