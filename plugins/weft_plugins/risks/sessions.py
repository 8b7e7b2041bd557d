"""Markets with sessions: returns across closures, and how many candles a horizon holds."""

import numpy as np

from weft.domain.candles import Candles, Presence
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import WEEK

_WEEKS = 3


def log_returns(candles: Candles) -> FloatPanel:
    """Return the logarithm of each close over the close before it (time, symbol).

    The first candle of a session is measured from the last close before the market closed, so that
    it holds the overnight move. NaN on the first row, while a market is closed, and at holes.
    """
    returns = np.full(candles.close.shape, np.nan)
    returns[1:] = np.log(candles.close[1:] / candles.marked_close()[:-1])
    return returns


def closed(candles: Candles) -> BoolPanel:
    """Return whether the market is closed (time, symbol)."""
    closed_rows: BoolPanel = candles.presence == Presence.CLOSED
    return closed_rows


def paces(candles: Candles, steps: int, horizon: int, reach: int) -> FloatPanel:
    """Return the root of the share of the next `horizon` rows that have candles (steps, symbol).

    A candle's deviation times this pace, taken over as many steps as the horizon has rows, gives
    the deviation over the horizon. 1 for a market that never closes. For a market with sessions it
    is the largest pace over the same rows of the three weeks before, as one week may have had a
    holiday; where the horizon ends while the market is closed, the next candle counts, at which a
    position could be closed.

    Args:
        candles: decision rows last.
        steps: decision rows.
        horizon: rows ahead.
        reach: rows that every panel has before the decision rows. Earlier rows are ignored, so
            that a row uses the same weeks among many rows and among few.

    Returns:
        The paces; NaN where `reach` is shorter than one week and the horizon.
    """
    pace = np.ones((steps, len(candles.symbols)))
    sessions = candles.closable > 0
    if not sessions.any():
        return pace
    week = max(1, WEEK // candles.interval.micros)
    nearest = -(-horizon // week)
    traded = ~closed(candles)[:, sessions]
    so_far = np.concatenate([np.zeros((1, traded.shape[1])), np.cumsum(traded, axis=0)])
    counted = np.full((steps, traded.shape[1]), np.nan)
    for weeks in range(nearest, nearest + _WEEKS):
        begun = np.arange(len(candles) - steps, len(candles)) + 1 - weeks * week
        if weeks * week > reach + 1 or begun[0] < 0:
            break
        ended = begun + horizon
        out = ~traded[ended - 1]
        counted = np.fmax(counted, so_far[ended] - so_far[begun] + out)
    pace[:, sessions] = np.sqrt(counted / horizon)
    return pace
