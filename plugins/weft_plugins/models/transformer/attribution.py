"""Attribution of a forecast: exact Shapley values of the inputs of a window.

Inputs join a neutral window in every order; the value of an input is the mean change when it joins
(Shapley 1953, A Value for n-person Games; for models Lundberg and Lee 2017, arXiv 1705.07874,
section 2). There are few inputs, so all coalitions are computed and nothing is estimated: the
values add up to the forecast minus that of the neutral window, an input that changes nothing gets
0, and two inputs with the same effect get the same value.

An input that has not joined stands at its mean over the training windows, in all candles at once.
Such a window, for instance a path without its returns, does not occur in markets: the values
explain the network's use of its inputs, not the cause of price moves.
"""

import math

import numpy as np
import torch

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft_plugins.models.transformer.forecast import Forecaster
from weft_plugins.models.transformer.windows import INPUTS, Windows, cells_where
from weft_plugins.torch_runtime import one_thread

BASELINE = "baseline"
"""Name of the forecast of the neutral window."""

COLUMNS = (*INPUTS, BASELINE)
"""Columns of `attribute`, in this order."""


def attribute(forecaster: Forecaster, windows: Windows, chosen: BoolPanel) -> FloatPanel:
    """Return what each input adds to the log-odds of a rise (rows, symbol, column).

    NaN where not chosen, where a candle of the window is missing, and where no close of the window
    changed. `BASELINE` holds the log-odds of the neutral window; all columns together are the
    log-odds of the forecast, up to single precision, which takes a third of the time.

    Args:
        forecaster: forecaster to explain.
        windows: windows over a candle panel.
        chosen: windows to explain, on the last rows of the panel (rows, symbol).
    """
    first = len(windows.complete) - len(chosen)
    added = np.full((*chosen.shape, len(COLUMNS)), np.nan)
    cells = cells_where(chosen & windows.complete[first:], first)
    single = forecaster.in_precision(torch.float32)
    with one_thread():
        for number in range(len(cells)):
            # One window at a time: its coalitions are a batch of fixed size, so the last bits do
            # not depend on the number of windows.
            cell = cells.pick(slice(number, number + 1))
            inputs, volatility = windows.inputs(cell)
            if volatility[0] > 0.0:
                added[cell.rows - first, cell.columns] = attribute_window(single, inputs[0])
    return added


def attribute_window(forecaster: Forecaster, inputs: FloatPanel) -> Floats:
    """Return what each input of one window adds, then the log-odds of the neutral window.

    Args:
        forecaster: forecaster in single precision.
        inputs: inputs of the window's candles (window, inputs).
    """
    joined = coalitions(inputs.shape[1])
    mixed = np.where(joined[:, None, :], inputs, forecaster.means)
    worth = forecaster.log_odds(mixed.astype(np.float32))
    return np.append(shapley_values(worth), worth[0])


def coalitions(players: int) -> BoolPanel:
    """Return the members of each coalition (2 ** players, player): bit k stands for player k."""
    numbers = np.arange(2**players)[:, None]
    members: BoolPanel = (numbers >> np.arange(players)) % 2 == 1
    return members


def shapley_values(worth: Floats) -> Floats:
    """Return each player's mean contribution over all orders of joining (player,).

    Args:
        worth: worth of each coalition, in the order of `coalitions` (2 ** players,).
    """
    players = len(worth).bit_length() - 1
    joined = coalitions(players)
    size = joined.sum(axis=1)
    # Share of all orders in which exactly the `before` members of a coalition join first.
    share = np.array(
        [1.0 / (players * math.comb(players - 1, before)) for before in range(players)]
    )
    values = np.empty(players)
    for player in range(players):
        without = np.flatnonzero(~joined[:, player])
        changes = worth[without + 2**player] - worth[without]
        values[player] = (share[size[without]] * changes).sum()
    return values
