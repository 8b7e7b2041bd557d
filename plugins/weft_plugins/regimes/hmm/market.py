"""Observations of the market: one series of features from a panel of symbols."""

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
    """Features of every symbol, and the symbols that represent the market.

    Attributes:
        values: features (time, symbol, feature), NaN where unknown.
        known: whether all features of a symbol are known (time, symbol).
        reference: column of the reference asset; None where it is not among the symbols.
        open: columns of markets that never close (symbol,).
    """

    values: Floats
    known: BoolPanel
    reference: int | None
    open: BoolPanel

    def series(self, start: int, stop: int) -> FloatPanel:
        """Return the market from row `start` to `stop` (time, feature).

        The series is that of the reference asset from its first known row on, with its gaps. Before
        that row it is the median of each feature over the symbols of markets that never close and
        whose features are all known; NaN where there is none.
        """
        series = np.full((stop - start, self.values.shape[2]), np.nan)
        first = stop - start
        if self.reference is not None:
            known = self.known[start:stop, self.reference]
            if known.any():
                first = int(known.argmax())
                asset = self.values[start + first : stop, self.reference]
                series[first:] = np.where(known[first:, None], asset, np.nan)
        before = slice(start, start + first)
        series[:first] = _medians(self.values[before], self.known[before] & self.open)
        return series


def _medians(values: Floats, counted: BoolPanel) -> FloatPanel:
    """Return the median over the counted symbols, NaN where there is none (time, feature)."""
    # Sorting puts NaN last, so the count of the other values gives the middle.
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
    """Return the observations of a view, decision rows last.

    Args:
        view: view with candles and the features of `needs`.
        needs: features observed besides the log return, by name, in the order of observation.
        reference: base asset that represents the market; where several symbols have it, the first
            by name.
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
    """Return the logarithm; NaN for values of 0 or less."""
    return np.log(values, out=np.full_like(values, np.nan), where=values > 0.0)


def _column(instruments: Sequence[Instrument], base: str) -> int | None:
    named = [(i.symbol, column) for column, i in enumerate(instruments) if i.base == base]
    return min(named)[1] if named else None
