"""Candles that their source corrected later, and how corrections are reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl

from weft.foundation.arrays import Times
from weft.foundation.times import Interval, iso


@dataclass(frozen=True, slots=True)
class Corrections:
    """Corrected candles of one symbol; times are microseconds since 1970.

    Attributes:
        opened: open times of the candles, ascending.
        known_at: when the first correction of each candle became known.
    """

    opened: Times
    known_at: Times


Corrected: TypeAlias = Mapping[tuple[str, str], Corrections]
"""Corrected candles by source and symbol."""

_MOST_LINES = 10
_FEWEST_ADJUSTED = 5
_SAME_FACTOR = 1e-3
"""Relative difference between the factors of two candles that rounding explains."""


def late_by(base: Interval, delay: int) -> pl.Expr:
    """Return the time from the decision of a row until its candle became known, microseconds.

    Args:
        base: length of the candles, and distance of the rows.
        delay: time from the close of a row to its decision, microseconds.
    """
    offset = base.floor(0)
    close = pl.col("open_time").to_physical() + base.micros - offset
    # Upside-down floor division rounds up to the row.
    row = -(-close // base.micros) * base.micros + offset
    return pl.col("known_at").to_physical() - row - delay


def merge_corrections(known: Corrected, added: pl.DataFrame) -> Corrected:
    """Return corrected candles with more added (source, symbol, open_time, known_at)."""
    merged = dict(known)
    for (source, symbol), part in added.group_by("source", "symbol"):
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

    Corrections that became known after the span are ignored, so that a signal as of a past time
    stays the same.
    """
    opened = corrections.opened
    inside = (opened >= since) & (opened < until) & (corrections.known_at <= until)
    count = int(np.count_nonzero(inside))
    if not count:
        return None
    many = f"{count} candle{'s' * (count != 1)} since {iso(since)}"
    return f"{many} changed later in the source, or vanished from it; the first version counts"


def about_restated(rows: pl.DataFrame, was: pl.DataFrame, provider: str) -> list[str]:
    """Return a message for each symbol whose candles differ from the stored ones.

    Args:
        rows: the new candles.
        was: the stored candles, in columns such as ``was_close``.
        provider: the provider that brought them.
    """
    compared = pl.concat([rows, was], how="horizontal").sort("symbol", "open_time")
    way_out = f"`weft providers start-over {provider}` adopts the source as it is now"
    lines = []
    for _, part in compared.group_by("symbol", maintain_order=True):
        gone = part.filter(pl.col("close").is_nan())
        other = part.filter(pl.col("close").is_not_nan())
        changes = [_withdrawn(gone)] if len(gone) else []
        changes += [_restated(other)] if len(other) else []
        lines.append(
            f"{part['symbol'][0]}: {'; '.join(changes)}; the first version counts; {way_out}"
        )
    rest = len(lines) - _MOST_LINES
    return lines if rest <= 0 else [*lines[:_MOST_LINES], f"and {rest} more symbols"]


def _withdrawn(rows: pl.DataFrame) -> str:
    many = len(rows) != 1
    stored = "stored candles are" if many else "stored candle is"
    return f"{len(rows)} {stored} no longer in the source, first at {_first(rows)}"


def _restated(rows: pl.DataFrame) -> str:
    many = len(rows) != 1
    change = f"{len(rows)} candle{'s differ' if many else ' differs'} from the stored version, "
    change += f"first at {_first(rows)}"
    factor = _factor(rows)
    if factor is not None:
        return f"{change}, all by a factor of {factor:.4g}: adjusted, as after a split or dividend"
    new, old = rows["close"][0], rows["was_close"][0]
    return change if new == old else f"{change} (close {new:g}, stored {old:g})"


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
