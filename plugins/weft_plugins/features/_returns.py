"""Returns of every symbol, and of what each is held against."""

from typing import Final, Literal, TypeAlias

import numpy as np
from numba import njit

from weft.arrays import BoolPanel, FloatPanel
from weft.market.candles import Candles
from weft.market.instruments import Instrument
from weft.market.view import View
from weft_plugins.features._numerics import log_ratio
from weft_plugins.features._sectors import SECTORS

Against: TypeAlias = Literal["benchmark", "sector"]

_MARKET: Final = ""


def log_returns(candles: Candles) -> FloatPanel:
    """Return each close over that of the row before, as a logarithm (time, symbol).

    NaN where either is missing: no return reaches over a hole, or over a closed market.
    """
    returns = np.full(candles.close.shape, np.nan)
    _fill_log_returns(candles.close, returns)
    return returns


def others(view: View, returns: FloatPanel, against: Against, benchmark: str) -> FloatPanel:
    """Return what each symbol's returns are explained by: one column for all, or one for each.

    Args:
        view: says what is in the columns.
        returns: of every symbol (time, symbol).
        against: ``benchmark`` for the mean of the instruments about the asset `benchmark`, or of
            all whose market never closes, where none is about it; ``sector`` for the mean of each
            symbol's peers, itself left out. A symbol with no peer in the view, or of no known
            sector, has all whose market never closes as its peers.
        benchmark: a base asset.
    """
    if against == "benchmark":
        members = [i.base.upper() == benchmark.upper() for i in view.instruments]
        if not any(members):
            members = [i.always_open for i in view.instruments]
        return _mean(returns, np.array(members))
    return _mean_of_peers(returns, view.instruments)


def shifted(values: FloatPanel, rows: int) -> FloatPanel:
    """Return each row's values of `rows` rows before."""
    if not rows:
        return values
    late = np.full_like(values, np.nan)
    late[rows:] = values[:-rows]
    return late


def _mean(returns: FloatPanel, members: BoolPanel) -> FloatPanel:
    """Return the mean over the members that are known, as one column."""
    total, count = _add_up(returns, members)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _mean_of_peers(returns: FloatPanel, instruments: tuple[Instrument, ...]) -> FloatPanel:
    always_open = np.array([i.always_open for i in instruments])
    sectors = [
        SECTORS.get(i.base.upper(), _MARKET) if i.always_open else _MARKET for i in instruments
    ]
    means = np.empty_like(returns)
    for sector in sorted(set(sectors)):
        own = np.array([s == sector for s in sectors])
        alone = sector == _MARKET or own.sum() == 1
        peers = always_open if alone else own
        total, count = _add_up(returns, peers)
        asked = np.flatnonzero(own)
        mine = np.where(peers[asked], returns[:, asked], np.nan)
        rest = count - ~np.isnan(mine)
        left = total - np.nan_to_num(mine)
        means[:, asked] = np.divide(left, rest, out=np.full_like(left, np.nan), where=rest > 0)
    return means


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
