"""Log returns of every symbol, and of the benchmark or sector they are regressed on."""

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
"""Sector of each base asset; an asset without one has the market as its peers.

A coin that fits several sectors is in the one whose news moves it most (our judgement).
"""


def log_returns(candles: Candles) -> FloatPanel:
    """Return the logarithm of each close over the close of the row before (time, symbol).

    NaN where either close is missing: no return spans a hole or a closed market.
    """
    returns = np.full(candles.close.shape, np.nan)
    _fill_log_returns(candles.close, returns)
    return returns


def benchmark_returns(
    view: View, returns: FloatPanel, against: Against, benchmark: str
) -> FloatPanel:
    """Return the returns that each symbol is regressed on: one column for all, or one for each.

    Each row depends on the returns known on it, not on which columns there are: a column may belong
    to a symbol that was listed later.

    Args:
        view: names the instruments in the columns.
        returns: log returns of every symbol (time, symbol).
        against: ``benchmark`` for the mean of the instruments of the base asset `benchmark`;
            ``sector`` for the mean of each symbol's peers without the symbol. On rows where none of
            these has a return, and for a symbol without a known sector, the mean of all symbols
            whose market never closes.
        benchmark: a base asset.
    """
    always_open = np.array([i.always_open for i in view.instruments])
    if against == "benchmark":
        about = np.array([i.base.upper() == benchmark.upper() for i in view.instruments])
        mean = _mean(*_add_up(returns, about))
        return np.where(np.isnan(mean), _mean(*_add_up(returns, always_open)), mean)
    return _mean_of_peers(returns, view.instruments, always_open)


def shifted(values: FloatPanel, rows: int) -> FloatPanel:
    """Return values shifted down: each row holds the value of `rows` rows before."""
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
        members = np.array([s == sector for s in sectors])
        columns = np.flatnonzero(members)
        means[:, columns] = _mean_without(returns, columns, always_open, *market)
        if sector:
            peers = _mean_without(returns, columns, members, *_add_up(returns, members))
            means[:, columns] = np.where(np.isnan(peers), means[:, columns], peers)
    return means


def _mean_without(
    returns: FloatPanel,
    columns: NDArray[np.int64],
    members: BoolPanel,
    total: FloatPanel,
    count: FloatPanel,
) -> FloatPanel:
    """Return for each of `columns` the mean over the members without the column itself."""
    excluded = np.where(members[columns], returns[:, columns], np.nan)
    return _mean(total - np.nan_to_num(excluded), count - ~np.isnan(excluded))


def _mean(total: FloatPanel, count: FloatPanel) -> FloatPanel:
    """Return total / count, NaN where the count is 0."""
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _add_up(returns: FloatPanel, members: BoolPanel) -> tuple[FloatPanel, FloatPanel]:
    """Return sum and number of the members' known returns on each row (time, 1)."""
    chosen = returns[:, members]
    total = np.zeros((len(returns), 1))
    count = np.zeros((len(returns), 1))
    for column in range(chosen.shape[1]):
        # The order in which np.sum adds depends on the number of rows.
        values = chosen[:, column : column + 1]
        total += np.nan_to_num(values)
        count += ~np.isnan(values)
    return total, count


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_log_returns(close: FloatPanel, returns: FloatPanel) -> None:
    for row in range(1, close.shape[0]):
        for column in range(close.shape[1]):
            returns[row, column] = log_ratio(close[row, column], close[row - 1, column])
