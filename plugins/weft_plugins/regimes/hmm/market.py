"""What is observed of the market: one series of features, from a panel of symbols."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weft.components.needs import FeatureNeed
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft.market.view import View

RETURN, VOLATILITY, VOLUME, RSI = "log_return", "log_volatility", "log_volume_ratio", "rsi"


@dataclass(frozen=True, slots=True)
class Observations:
    """Features of every symbol, and which of them tell of the market.

    Attributes:
        values: (time, symbol, feature), NaN where unknown.
        known: whether all features of a symbol are known (time, symbol).
        reference: column of the reference asset; None where it is not among the symbols.
        open: columns of markets that never close (symbol,).
    """

    values: Floats
    known: BoolPanel
    reference: int | None
    open: BoolPanel

    def series(self, start: int, stop: int) -> FloatPanel:
        """Return the market from row `start` to `stop`, as (time, feature).

        It is the reference asset, from the first of these rows on at which it is known; its holes
        stay unknown. Before that, it is the median over the symbols of markets that never close
        of which everything is known at the row, feature by feature; NaN where there is none.
        """
        found = np.full((stop - start, self.values.shape[2]), np.nan)
        first = stop - start
        if self.reference is not None:
            there = self.known[start:stop, self.reference]
            if there.any():
                first = int(there.argmax())
                own = self.values[start + first : stop, self.reference]
                found[first:] = np.where(there[first:, None], own, np.nan)
        before = slice(start, start + first)
        found[:first] = _medians(self.values[before], self.known[before] & self.open)
        return found


def _medians(values: Floats, counted: BoolPanel) -> FloatPanel:
    """Return the median over the symbols that count, NaN where none does (time, feature)."""
    # Sorting puts NaN last, so that the middle of what counts is found by its number.
    ordered = np.sort(np.where(counted[:, :, None], values, np.nan), axis=1)
    count = counted.sum(axis=1)[:, None, None]
    if not ordered.size:
        return np.full((len(values), values.shape[2]), np.nan)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=1)
    high = np.take_along_axis(ordered, np.minimum(count // 2, values.shape[1] - 1), axis=1)
    middle: FloatPanel = 0.5 * (low + high)[:, 0]
    return middle


def observe(
    view: View,
    needs: Mapping[str, FeatureNeed],
    reference: str,
) -> Observations:
    """Return what a view holds of the market, its decision rows last.

    Args:
        view: holds candles, and the features asked for.
        needs: what is observed besides the log return, by name, in the order it is observed in.
        reference: base asset of the symbol that stands for the market; of several symbols of it
            the first by name.
    """
    panels = {name: view.feature(need) for name, need in needs.items()}
    close = view.candles().close
    # The first candle has no return.
    rows = min([len(close) - 1, *map(len, panels.values())])
    change = np.log(close[-rows:] / close[-rows - 1 : -1])
    further = [
        panel[-rows:] if name == RSI else _log(panel[-rows:]) for name, panel in panels.items()
    ]
    values = np.stack([change, *further], axis=2)
    return Observations(
        values=values,
        known=np.isfinite(values).all(axis=2),
        reference=_column(view.instruments, reference),
        open=np.array([i.always_open for i in view.instruments], dtype=np.bool_),
    )


def _log(values: FloatPanel) -> FloatPanel:
    """Return logarithms, NaN where a value is not above zero."""
    return np.log(values, out=np.full_like(values, np.nan), where=values > 0.0)


def _column(instruments: Sequence[Instrument], base: str) -> int | None:
    named = [(i.symbol, column) for column, i in enumerate(instruments) if i.base == base]
    return min(named)[1] if named else None
