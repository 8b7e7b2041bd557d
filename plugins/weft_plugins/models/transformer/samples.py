"""Training and validation windows of the transformer."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import BoolPanel, Floats
from weft.foundation.errors import TrainingError
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.windows import Cells, Windows, cells_where

_FEWEST_TRAINING = 64
_FEWEST_VALIDATION = 8
_MEAN_WINDOWS = 2048


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows with known outcomes: for training, and later ones for validation.

    Attributes:
        windows: windows over a candle panel.
        horizon: rows ahead of a window that its outcome spans.
        train: windows whose outcome is known before the first validation row.
        validation: windows of the latest rows, with outcomes that do not overlap.
        per_epoch: windows of an epoch, at most.
    """

    windows: Windows
    horizon: int
    train: Cells
    validation: Cells
    per_epoch: int

    def of_epoch(self, rng: np.random.Generator) -> Cells:
        """Draw the windows of an epoch, in random order.

        An epoch takes every `horizon`-th row of each symbol, starting at a random row. So outcomes
        within an epoch do not overlap (uniqueness 1), and many epochs together use every row.
        """
        columns = self.windows.complete.shape[1]
        phase = np.asarray(rng.integers(self.horizon, size=columns))
        drawn = (self.train.rows + phase[self.train.columns]) % self.horizon == 0
        thinned = self.train.pick(drawn)
        return thinned.pick(rng.permutation(len(thinned))[: self.per_epoch])

    def input_means(self) -> Floats:
        """Return the mean of each input over an even selection of training windows (inputs,)."""
        cells = self.train.pick(_evenly(len(self.train), _MEAN_WINDOWS))
        inputs, _ = self.windows.inputs(cells)
        means: Floats = inputs.mean(axis=(0, 1))
        return means


def choose_samples(
    windows: Windows,
    members: BoolPanel,
    horizon: int,
    options: Options,
    where: str,
) -> Samples:
    """Split windows into training and validation, with no outcome in both.

    Args:
        windows: windows over a candle panel that ends with the decision rows.
        members: symbols in the universe on the decision rows (steps, symbol).
        horizon: rows ahead of a window that its outcome spans.
        options: shares and counts.
        where: component, for error messages.

    Raises:
        TrainingError: too few windows are complete and have a known outcome.
    """
    steps = len(members)
    first = len(windows.complete) - steps
    usable = windows.complete[first:] & windows.labelled(horizon)[first:] & members
    border = first + round((1.0 - options.validation_share) * steps)
    cells = cells_where(usable, first)
    # A constant window has volatility 0, so nothing can be measured in units of it.
    cells = cells.pick(windows.moves(cells))
    train = cells.pick(cells.rows + horizon < border)
    late = cells.pick((cells.rows >= border) & ((cells.rows + cells.columns) % horizon == 0))
    validation = late.pick(_evenly(len(late), options.validation_windows))
    apart = len(train) // horizon
    if apart < _FEWEST_TRAINING or len(validation) < _FEWEST_VALIDATION:
        raise TrainingError(
            f"only {apart} outcomes for training and {len(validation)} for validation do not "
            f"overlap; {_FEWEST_TRAINING} and {_FEWEST_VALIDATION} are required",
            where=where,
            hint=f"Each needs {windows.length + 1} candles without a gap before it and "
            f"{horizon} rows after it; train on more rows or more symbols, or use a shorter window",
        )
    return Samples(windows, horizon, train, validation, options.windows_per_epoch)


def _evenly(count: int, most: int) -> np.ndarray:
    """Return up to `most` of `count` positions, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)
