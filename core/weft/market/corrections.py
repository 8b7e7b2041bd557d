"""Candles that their source says otherwise about than before: which, and how that is reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl

from weft.foundation.arrays import Times
from weft.foundation.times import Interval, iso


@dataclass(frozen=True, slots=True)
class Corrections:
    """Candles of one symbol that its source corrected; times are microseconds since 1970.

    Attributes:
        opened: open times of the candles, ascending.
        known_at: when the first correction of each became known.
    """

    opened: Times
    known_at: Times


Corrected: TypeAlias = Mapping[tuple[str, str], Corrections]
"""Corrected candles by source and symbol."""

_MOST_LINES = 10
_FEWEST_ADJUSTED = 5
_SAME_FACTOR = 1e-3
"""How far apart the factors of two candles may lie that were adjusted alike, being rounded."""


def late_by(base: Interval, delay: int) -> pl.Expr:
    """Return how long after the decision of its row a candle became known, microseconds.

    Args:
        base: length of the candles, and distance of the rows.
        delay: how long after its close a row's decision is taken, microseconds.
    """
    offset = base.floor(0)
    close = pl.col("open_time").to_physical() + base.micros - offset
    # Upside-down floor division rounds up to the row.
    row = -(-close // base.micros) * base.micros + offset
    return pl.col("known_at").to_physical() - row - delay


def joined(known: Corrected, found: pl.DataFrame) -> Corrected:
    """Return corrected candles with more of them: source, symbol, open_time and known_at."""
    merged = dict(known)
    for (source, symbol), part in found.group_by("source", "symbol"):
        key = str(source), str(symbol)
        opened = part["open_time"].to_physical().to_numpy()
        times = part["known_at"].to_physical().to_numpy()
        if key in known:
            opened = np.concatenate([known[key].opened, opened])
            times = np.concatenate([known[key].known_at, times])
        order = np.lexsort((times, opened))
        opened, first = np.unique(opened[order], return_index=True)
        merged[key] = Corrections(opened, times[order][first])
    return merged


def note_of(corrections: Corrections, since: int, until: int) -> str | None:
    """Return a signal's note on corrected candles opened in a span, or None.

    A correction that became known after the span says nothing: what was stated as of an instant
    stays as it was.
    """
    opened = corrections.opened
    inside = (opened >= since) & (opened < until) & (corrections.known_at <= until)
    count = int(np.count_nonzero(inside))
    if not count:
        return None
    many = f"{count} candle{'s' * (count != 1)} since {iso(since)}"
    return f"{many} came otherwise later, or went from the source; what came first counts"


def about_restated(rows: pl.DataFrame, was: pl.DataFrame, provider: str) -> list[str]:
    """Return a line for each symbol whose candles came otherwise than they are stored.

    Args:
        rows: the candles as they came.
        was: what is stored of each, in columns like ``was_close``.
        provider: who brought them.
    """
    compared = pl.concat([rows, was], how="horizontal").sort("symbol", "open_time")
    way_out = f"`weft providers start-over {provider}` takes the source as it is now"
    lines = []
    for _, part in compared.group_by("symbol", maintain_order=True):
        gone = part.filter(pl.col("close").is_nan())
        other = part.filter(pl.col("close").is_not_nan())
        told = [_withdrawn(gone)] if len(gone) else []
        told += [_restated(other)] if len(other) else []
        lines.append(
            f"{part['symbol'][0]}: {'; '.join(told)}; what was stored first counts; {way_out}"
        )
    rest = len(lines) - _MOST_LINES
    return lines if rest <= 0 else [*lines[:_MOST_LINES], f"and {rest} more symbols like these"]


def _withdrawn(rows: pl.DataFrame) -> str:
    many = len(rows) != 1
    stored = "candles that are stored are" if many else "candle that is stored is"
    return f"{len(rows)} {stored} no longer in the source, first at {_first(rows)}"


def _restated(rows: pl.DataFrame) -> str:
    many = len(rows) != 1
    told = f"{len(rows)} candle{'s differ' if many else ' differs'} from what is stored, "
    told += f"first at {_first(rows)}"
    factor = _factor(rows)
    if factor is not None:
        return (
            f"{told}, all by a factor of {factor:.4g}: adjusted anew, as after a split or dividend"
        )
    new, old = rows["close"][0], rows["was_close"][0]
    return told if new == old else f"{told} (close {new:g}, stored {old:g})"


def _factor(rows: pl.DataFrame) -> float | None:
    """Return the factor between all closes and the stored ones; None where there is none."""
    factors = (rows["close"] / rows["was_close"]).drop_nans().drop_nulls()
    middle = factors.median()
    if len(factors) < _FEWEST_ADJUSTED or not isinstance(middle, float):
        return None
    alike = ((factors / middle - 1).abs() < _SAME_FACTOR).all()
    return middle if alike and abs(middle - 1) > _SAME_FACTOR else None


def _first(rows: pl.DataFrame) -> str:
    return iso(int(rows["open_time"].to_physical()[0]))
