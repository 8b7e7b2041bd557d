"""Which specialist a symbol belongs to: by the name of its asset, else by how wild it is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

import numpy as np

from weft.components.needs import FeatureNeed, feature
from weft.domain.instruments import Instrument, Kind, split_pair
from weft.foundation.arrays import BoolPanel
from weft.foundation.times import YEAR
from weft.market.view import View

Group: TypeAlias = Literal["majors", "alts", "memes", "stocks"]

NAMED: Final[Mapping[Group, tuple[str, ...]]] = MappingProxyType(
    {
        "majors": ("BTC", "ETH", "BNB"),
        "alts": ("SOL", "AVAX", "LINK", "DOT", "MATIC", "NEAR", "ARB", "OP"),
        "memes": ("PEPE", "DOGE", "SHIB", "FLOKI", "BONK", "WIF"),
    }
)
"""Assets whose group is known by name."""

WILD: Final = 1.2
"""Volatility a year above which a coin that nobody has named counts among the memes."""

VOLATILITY: Final[FeatureNeed] = feature("volatility", window=168)
"""What the rule for coins that nobody has named looks at."""

_RENAMED: Final = MappingProxyType({"POL": "MATIC"})


def members(
    view: View, group: Group, named: Mapping[Group, tuple[str, ...]], wild: float
) -> BoolPanel:
    """Return which symbols belong to a group at each decision row (steps, symbol).

    An asset in `named` belongs to that group always. Stocks and indices that are not named are
    stocks: as many rows hold fewer candles of a market that closes, so that a move in units of
    a candle's volatility is another there. Any other coin is, row by row, among the memes where
    its volatility over the last 168 candles, taken to a year, is above `wild`, and among the alts
    where it is not, or is not yet known. So each symbol is in exactly one group at each row.
    """
    fixed = [group_of(instrument, named) for instrument in view.instruments]
    found = np.tile(np.array([one == group for one in fixed], dtype=np.bool_), (view.steps, 1))
    unnamed = np.array([one is None for one in fixed], dtype=np.bool_)
    if group in {"majors", "stocks"} or not unnamed.any():
        return found
    candles_a_year = YEAR / view.interval.micros
    is_wild = view.feature(VOLATILITY) * np.sqrt(candles_a_year) > wild
    by_rule: BoolPanel = unnamed & (is_wild if group == "memes" else ~is_wild)
    return found | by_rule


def group_of(instrument: Instrument, named: Mapping[Group, tuple[str, ...]]) -> Group | None:
    """Return the group of an instrument that never changes; None where volatility decides.

    It goes by the asset, so that ``1000PEPEUSDT`` is PEPE; POL is MATIC under its later name.
    """
    earlier = (split_pair(symbol) for symbol in instrument.renamed_from)
    assets = {instrument.base.upper(), *(pair[0] for pair in earlier if pair is not None)}
    assets |= {_RENAMED[asset] for asset in assets & _RENAMED.keys()}
    for group, names in named.items():
        if assets & set(names):
            return group
    return "stocks" if instrument.kind in {Kind.EQUITY, Kind.INDEX} else None
