"""Outcomes: the return after each row, known once the horizon has passed."""

from typing import TYPE_CHECKING

import numpy as np

from weft.components.trained import Evaluation
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats

if TYPE_CHECKING:
    from weft.components.model import Forecast
    from weft.market.view import View

_SURE = 1e-6


def forward_returns(
    close: FloatPanel,
    horizon: int,
    worth: FloatPanel | None = None,
    leapt: BoolPanel | None = None,
) -> FloatPanel:
    """Return the log return from each row's close over the next `horizon` rows (time, symbol).

    NaN in the last `horizon` rows, where either price is missing, where nothing was traded in
    between, and where the series started afresh in between.

    Args:
        close: of each row's candle, NaN without a candle.
        horizon: rows ahead.
        worth: price at which a position is marked on each row (`Candles.marked_close`): in a
            market with sessions, the last close while it is closed. None for `close`.
        leapt: where the series started afresh within the `horizon` rows up to each row
            (`Candles.leapt_within`); None for nowhere.
    """
    returns = np.full_like(close, np.nan)
    if 0 < horizon < len(close):
        later = (close if worth is None else worth)[horizon:]
        traded = np.cumsum(~np.isnan(close), axis=0)
        since = traded[horizon:] > traded[:-horizon]
        if leapt is not None:
            since &= ~leapt[horizon:]
        returns[:-horizon] = np.where(since, np.log(later / close[:-horizon]), np.nan)
    return returns


def outcomes(view: "View", horizon: int) -> FloatPanel:
    """Return the `forward_returns` of each decision row of a view (steps, symbol)."""
    panel, rows = view.candles(), slice(-view.steps, None)
    leapt = panel.leapt_within(horizon)[rows]
    return forward_returns(panel.close[rows], horizon, panel.marked_close()[rows], leapt)


def uniqueness(labelled: FloatPanel, horizon: int) -> FloatPanel:
    """Return the average uniqueness of each outcome, 0 to 1 (time, symbol), as a sample weight.

    The outcome of a row spans the `horizon` rows after it. Its uniqueness is the mean, over these
    rows, of one over the number of outcomes of the same symbol that span the row. With an outcome
    on each row it is 1 / horizon. López de Prado, Advances in Financial Machine Learning (2018),
    section 4.3.

    Args:
        labelled: NaN where a row has no outcome.
        horizon: rows an outcome spans.
    """
    there = ~np.isnan(labelled)
    ahead = np.zeros((len(there) + horizon + 1, there.shape[1]))
    # The outcome of row r spans rows r + 1 to r + horizon.
    ahead[1 : len(there) + 1] += there
    ahead[horizon + 1 : len(there) + horizon + 1] -= there
    alive = np.cumsum(ahead, axis=0)[:-1]
    share = np.divide(1.0, alive, out=np.zeros_like(alive), where=alive > 0.5)
    total = np.concatenate([np.zeros((1, there.shape[1])), np.cumsum(share, axis=0)])
    first = np.arange(len(there)) + 1
    mean = (total[first + horizon] - total[first]) / horizon
    return np.where(there, mean, 0.0)


def direction_losses(view: "View", forecast: "Forecast", horizon: int) -> Evaluation:
    """Return the log loss of a forecast's probability of a rise; the baseline is one half.

    A row's loss is the mean over the symbols in the universe with a forecast and a known outcome.
    """
    outcome = np.where(view.universe, outcomes(view, horizon), np.nan)
    rose = outcome > 0.0
    chance = np.clip(forecast.probability_up, _SURE, 1.0 - _SURE)
    loss = -np.where(rose, np.log(chance), np.log1p(-chance))
    counts = ~np.isnan(outcome) & ~np.isnan(chance) & (outcome != 0.0)
    return Evaluation(_row_means(loss, counts), _row_means(np.full_like(loss, np.log(2)), counts))


def _row_means(values: FloatPanel, counts: BoolPanel) -> Floats:
    """Return the mean of each row's counted values; NaN for a row without any."""
    number = counts.sum(axis=1)
    total = np.where(counts, values, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)
    return mean
