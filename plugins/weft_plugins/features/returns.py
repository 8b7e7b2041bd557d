"""Returns of every symbol, and of what each is held against."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.domain.candles import Candles
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.market.view import View
from weft_plugins.features.numerics import log_ratio

Against: TypeAlias = Literal["benchmark", "sector"]


_MEMBERS: Final = {
    "money": "BTC LTC BCH BSV DOGE XRP XLM DASH ZEC XMR KAS ETC",
    "platforms": (
        "ETH SOL ADA AVAX DOT NEAR ATOM TRX ALGO EOS XTZ SUI APT SEI TON HBAR ICP FTM S NEO EGLD "
        "VET QTUM FLOW LUNA LUNC TIA INJ"
    ),
    "scaling": "MATIC POL ARB OP STRK MNT IMX METIS ZK STX SKL LRC",
    "defi": (
        "UNI AAVE MKR SKY COMP CRV SNX SUSHI YFI 1INCH LDO PENDLE ENA JUP RUNE DYDX GMX CAKE BAL "
        "ONDO RAY JTO HYPE ETHFI"
    ),
    "memes": "SHIB PEPE FLOKI BONK WIF MEME BRETT POPCAT PENGU TRUMP PNUT TURBO NEIRO BOME",
    "ai": "FET AGIX OCEAN TAO RENDER RNDR WLD ARKM VIRTUAL AIOZ AKT GRASS",
    "gaming": "AXS SAND MANA GALA ENJ ILV RON BEAM PIXEL APE CHZ YGG MAGIC",
    "exchanges": "BNB OKB CRO KCS GT LEO FTT HT BGB",
    "data": "LINK GRT FIL AR BAND API3 PYTH STORJ SC BTT THETA HNT",
}

SECTORS: Final[Mapping[str, str]] = MappingProxyType(
    {asset: sector for sector, assets in _MEMBERS.items() for asset in assets.split()}
)
"""Sector of each base asset. One that is not here has the whole market as its peers.

Where a coin fits several sectors, it stands in the one whose news moves it most.
"""


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
