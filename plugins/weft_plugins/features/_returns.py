"""Returns of every symbol, and of what each is held against."""

from typing import Literal, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.domain.candles import Candles
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.market.view import View
from weft_plugins.features._numerics import log_ratio
from weft_plugins.features._sectors import SECTORS

Against: TypeAlias = Literal["benchmark", "sector"]


def log_returns(candles: Candles) -> FloatPanel:
    """Return each close over that of the row before, as a logarithm (time, symbol).

    NaN where either is missing: no return reaches over a hole, or over a closed market.
    """
    returns = np.full(candles.close.shape, np.nan)
    _fill_log_returns(candles.close, returns)
    return returns


def others(view: View, returns: FloatPanel, against: Against, benchmark: str) -> FloatPanel:
    """Return what each symbol's returns are explained by: one column for all, or one for each.

    Each row follows from the returns known on it, and not from which columns there are: a column
    may be of a symbol that was listed later.

    Args:
        view: says what is in the columns.
        returns: of every symbol (time, symbol).
        against: ``benchmark`` for the mean of the instruments about the asset `benchmark`;
            ``sector`` for the mean of each symbol's peers, itself left out. On rows on which none
            of these has a return, and for a symbol of no known sector, it is the mean of all whose
            market never closes.
        benchmark: a base asset.
    """
    always_open = np.array([i.always_open for i in view.instruments])
    if against == "benchmark":
        about = np.array([i.base.upper() == benchmark.upper() for i in view.instruments])
        found = _mean(*_add_up(returns, about))
        return np.where(np.isnan(found), _mean(*_add_up(returns, always_open)), found)
    return _mean_of_peers(returns, view.instruments, always_open)


def shifted(values: FloatPanel, rows: int) -> FloatPanel:
    """Return each row's values of `rows` rows before."""
    if not rows:
        return values
    late = np.full_like(values, np.nan)
    late[rows:] = values[:-rows]
    return late


def _mean_of_peers(
    returns: FloatPanel, instruments: tuple[Instrument, ...], always_open: BoolPanel
) -> FloatPanel:
    market = _add_up(returns, always_open)
    sectors = [SECTORS.get(i.base.upper(), "") if i.always_open else "" for i in instruments]
    means = np.empty_like(returns)
    for sector in sorted(set(sectors)):
        own = np.array([s == sector for s in sectors])
        asked = np.flatnonzero(own)
        means[:, asked] = _mean_without(returns, asked, always_open, *market)
        if sector:
            peers = _mean_without(returns, asked, own, *_add_up(returns, own))
            means[:, asked] = np.where(np.isnan(peers), means[:, asked], peers)
    return means


def _mean_without(
    returns: FloatPanel,
    asked: NDArray[np.int64],
    members: BoolPanel,
    total: FloatPanel,
    count: FloatPanel,
) -> FloatPanel:
    """Return, for each column that is asked for, the mean over the members but for itself."""
    mine = np.where(members[asked], returns[:, asked], np.nan)
    return _mean(total - np.nan_to_num(mine), count - ~np.isnan(mine))


def _mean(total: FloatPanel, count: FloatPanel) -> FloatPanel:
    """Return the mean, NaN where nothing was counted."""
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _add_up(returns: FloatPanel, members: BoolPanel) -> tuple[FloatPanel, FloatPanel]:
    """Return sum and number of the members known on each row, as columns."""
    chosen = returns[:, members]
    total = np.zeros((len(returns), 1))
    count = np.zeros((len(returns), 1))
    for column in range(chosen.shape[1]):
        # NumPy's own sum adds in an order that depends on the number of rows.
        one = chosen[:, column : column + 1]
        total += np.nan_to_num(one)
        count += ~np.isnan(one)
    return total, count


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_log_returns(close: FloatPanel, returns: FloatPanel) -> None:
    for row in range(1, close.shape[0]):
        for column in range(close.shape[1]):
            returns[row, column] = log_ratio(close[row, column], close[row - 1, column])
