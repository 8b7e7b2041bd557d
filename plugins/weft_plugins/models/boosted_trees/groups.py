"""Groups of symbols: by the name of the asset, otherwise by its volatility."""

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
"""Assets of each group by name."""

WILD: Final = 1.2
"""Yearly volatility above which an unnamed coin counts as a meme coin."""

VOLATILITY: Final[FeatureNeed] = feature("volatility", window=168)
"""Input of the rule for unnamed coins."""

_RENAMED: Final = MappingProxyType({"POL": "MATIC"})


def members(
    view: View, group: Group, named: Mapping[Group, tuple[str, ...]], wild: float
) -> BoolPanel:
    """Return which symbols belong to a group at each decision row (steps, symbol).

    Each symbol belongs to exactly one group at each row:

    - an asset in `named` always belongs to its named group;
    - other stocks and indices belong to the stocks. They have a group because a horizon holds
      fewer candles of a market that closes, so moves in units of candle volatility differ;
    - any other coin belongs to the memes where its yearly volatility over the last 168 candles is
      above `wild`, and to the alts where it is not, or is unknown.

    Args:
        view: holds candles and `VOLATILITY`.
        group: group to select.
        named: assets of each group by name.
        wild: yearly volatility above which an unnamed coin counts as a meme coin.
    """
    fixed = [group_of(instrument, named) for instrument in view.instruments]
    by_name = np.tile(np.array([name == group for name in fixed], dtype=np.bool_), (view.steps, 1))
    unnamed = np.array([name is None for name in fixed], dtype=np.bool_)
    if group in {"majors", "stocks"} or not unnamed.any():
        return by_name
    candles_a_year = YEAR / view.interval.micros
    is_wild = view.feature(VOLATILITY) * np.sqrt(candles_a_year) > wild
    by_rule: BoolPanel = unnamed & (is_wild if group == "memes" else ~is_wild)
    return by_name | by_rule


def group_of(instrument: Instrument, named: Mapping[Group, tuple[str, ...]]) -> Group | None:
    """Return the fixed group of an instrument; None where volatility decides.

    The asset counts, not the symbol: ``1000PEPEUSDT`` is PEPE. POL is the later name of MATIC.
    """
    earlier = (split_pair(symbol) for symbol in instrument.renamed_from)
    assets = {instrument.base.upper(), *(pair[0] for pair in earlier if pair is not None)}
    assets |= {_RENAMED[asset] for asset in assets & _RENAMED.keys()}
    for group, names in named.items():
        if assets & set(names):
            return group
    return "stocks" if instrument.kind in {Kind.EQUITY, Kind.INDEX} else None
