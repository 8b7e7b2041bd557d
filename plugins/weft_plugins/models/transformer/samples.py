"""Which windows a training learns from, and which it is stopped by."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import BoolPanel, Floats
from weft.foundation.errors import TrainingError
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.windows import Cells, Windows, cells_where

_FEWEST_TO_LEARN_FROM = 64
_FEWEST_TO_STOP_BY = 8
_TO_AVERAGE = 2048


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows with known outcomes, apart in time.

    Attributes:
        windows: over a candle panel.
        horizon: candles ahead.
        train: windows whose outcome is known before the first validation row.
        validation: windows of the latest rows, whose outcomes do not overlap.
        per_epoch: windows of an epoch, at most.
    """

    windows: Windows
    horizon: int
    train: Cells
    validation: Cells
    per_epoch: int

    def of_epoch(self, rng: np.random.Generator) -> Cells:
        """Draw an epoch's windows, in random order.

        Of each symbol every `horizon`-th row, from a random one on, so that no two outcomes of an
        epoch tell the same story (uniqueness 1), while many epochs see every row.
        """
        columns = self.windows.complete.shape[1]
        phase = np.asarray(rng.integers(self.horizon, size=columns))
        drawn = (self.train.rows + phase[self.train.columns]) % self.horizon == 0
        thinned = self.train.pick(drawn)
        return thinned.pick(rng.permutation(len(thinned))[: self.per_epoch])

    def neutral(self) -> Floats:
        """Return the mean of each input over windows to train on, evenly taken (inputs,)."""
        cells = self.train.pick(_evenly(len(self.train), _TO_AVERAGE))
        inputs, _ = self.windows.inputs(cells)
        found: Floats = inputs.mean(axis=(0, 1))
        return found


def choose_samples(
    windows: Windows,
    members: BoolPanel,
    horizon: int,
    options: Options,
    where: str,
) -> Samples:
    """Split rows into those to learn from and those to stop by, with no outcome in both.

    Args:
        windows: over a candle panel that ends with the decision rows.
        members: which symbols are in the universe on the decision rows (steps, symbol).
        horizon: candles ahead.
        options: shares and counts.
        where: the component, for error messages.

    Raises:
        TrainingError: too few windows have all of their candles and a known outcome.
    """
    steps = len(members)
    first = len(windows.complete) - steps
    usable = windows.complete[first:] & windows.labelled(horizon)[first:] & members
    border = first + round((1.0 - options.validation_share) * steps)
    cells = cells_where(usable, first)
    # Where nothing moves there is no unit to measure in.
    cells = cells.pick(windows.moves(cells))
    train = cells.pick(cells.rows + horizon < border)
    late = cells.pick((cells.rows >= border) & ((cells.rows + cells.columns) % horizon == 0))
    validation = late.pick(_evenly(len(late), options.validation_windows))
    apart = len(train) // horizon
    if apart < _FEWEST_TO_LEARN_FROM or len(validation) < _FEWEST_TO_STOP_BY:
        raise TrainingError(
            f"{apart} outcomes to learn from and {len(validation)} to stop by do not overlap; "
            f"it takes {_FEWEST_TO_LEARN_FROM} and {_FEWEST_TO_STOP_BY}",
            where=where,
            hint=f"Each needs {windows.length + 1} candles without a hole before it, and "
            f"{horizon} rows after it; train on more rows or more symbols, or use a shorter window",
        )
    return Samples(windows, horizon, train, validation, options.windows_per_epoch)


def _evenly(count: int, most: int) -> np.ndarray:
    """Return up to `most` of `count` positions, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)
