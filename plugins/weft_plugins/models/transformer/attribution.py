"""What each input adds to a forecast: exact Shapley values over the inputs of a window.

The inputs are players who join a window that is neutral at first, in every order; a player's
value is what its joining changes on average (Shapley 1953, A Value for n-person Games; for models
Lundberg and Lee 2017, arXiv 1705.07874, section 2). With few inputs every coalition can be asked,
so nothing is estimated: the values add up to the forecast less that of the neutral window, an
input that changes nothing gets 0, and two inputs that do the same get the same.

An input that has not joined stands at its mean over the training windows, in all candles at once.
Such a window, a path without its returns for instance, comes from no market: the values tell what
the network makes of its inputs, not what moves prices.
"""

import math

import numpy as np
import torch

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft_plugins.models.transformer.forecast import Forecaster
from weft_plugins.models.transformer.windows import INPUTS, Windows, cells_where
from weft_plugins.torch_runtime import one_thread

BASELINE = "baseline"
"""Name of what is said of the neutral window, before any input is looked at."""

COLUMNS = (*INPUTS, BASELINE)
"""What `attribute` returns of each window, in this order."""


def attribute(forecaster: Forecaster, windows: Windows, asked: BoolPanel) -> FloatPanel:
    """Return what each input adds to the log-odds of a rise (rows, symbol, `COLUMNS`).

    NaN where it is not asked, where a candle of the window is missing, and where its market did
    not move at all. Under `BASELINE` stands what is said of the neutral window; all together are
    the log-odds of the forecast, up to single precision, which takes a third of the time.

    Args:
        forecaster: whose forecasts.
        windows: over a candle panel.
        asked: of which windows, for its last rows (rows, symbol).
    """
    first = len(windows.complete) - len(asked)
    found = np.full((*asked.shape, len(COLUMNS)), np.nan)
    cells = cells_where(asked & windows.complete[first:], first)
    teller = forecaster.in_precision(torch.float32)
    with one_thread():
        for number in range(len(cells)):
            # One window at a time: all of its coalitions make a batch, which therefore has the
            # same size, and the same last bits, however many windows are asked for.
            cell = cells.pick(slice(number, number + 1))
            inputs, volatility = windows.inputs(cell)
            if volatility[0] > 0.0:
                found[cell.rows - first, cell.columns] = attribute_window(teller, inputs[0])
    return found


def attribute_window(forecaster: Forecaster, inputs: FloatPanel) -> Floats:
    """Return what each input of one window (window, inputs) adds, and what is said without any.

    Args:
        forecaster: in single precision.
        inputs: of the window's candles.
    """
    joined = coalitions(inputs.shape[1])
    mixed = np.where(joined[:, None, :], inputs, forecaster.neutral)
    worth = forecaster.log_odds(mixed.astype(np.float32))
    return np.append(shapley_values(worth), worth[0])


def coalitions(players: int) -> BoolPanel:
    """Return who is in each coalition (2 ** players, player); bit k of its number is player k."""
    numbers = np.arange(2**players)[:, None]
    found: BoolPanel = (numbers >> np.arange(players)) % 2 == 1
    return found


def shapley_values(worth: Floats) -> Floats:
    """Return each player's mean contribution over all orders of joining (player,).

    Args:
        worth: of each coalition, in the order of `coalitions` (2 ** players,).
    """
    players = len(worth).bit_length() - 1
    joined = coalitions(players)
    size = joined.sum(axis=1)
    # Of all orders, the share in which exactly the `before` others of a coalition come first.
    share = np.array(
        [1.0 / (players * math.comb(players - 1, before)) for before in range(players)]
    )
    values = np.empty(players)
    for player in range(players):
        without = np.flatnonzero(~joined[:, player])
        changes = worth[without + 2**player] - worth[without]
        values[player] = (share[size[without]] * changes).sum()
    return values
