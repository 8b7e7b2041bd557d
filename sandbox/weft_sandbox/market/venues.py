"""Where coins trade: what a venue's prices and volumes have of their own."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import hashed, key_of
from weft_sandbox.market.skeleton import Hours


@dataclass(frozen=True, slots=True)
class Venue:
    """One market place: all of its coins trade in the same manner.

    Attributes:
        name: unique, for instance ``binance-perp``.
        share: its volume as a multiple of the reference market's.
        spread: usual distance of its price from the reference price, as a fraction.
        leveraged: whether it is a perpetual, whose premium follows what the crowd does.
    """

    name: str
    share: float = 1.0
    spread: float = 0.0
    leveraged: bool = False


REFERENCE = Venue("binance-spot")
PERPETUAL = Venue("binance-perp", share=3.0, spread=1.5e-4, leveraged=True)
BYBIT_SPOT = Venue("bybit-spot", share=0.3, spread=1.0e-4)
BYBIT_LINEAR = Venue("bybit-linear", share=1.2, spread=1.8e-4, leveraged=True)
COINBASE = Venue("coinbase-spot", share=0.35, spread=3.0e-4)
VENUES = (REFERENCE, PERPETUAL, BYBIT_SPOT, BYBIT_LINEAR, COINBASE)

_MEMORY_HOURS = 72
_CROWD = 2.0e-4
"""Premium of a perpetual when the past three days rose by one standard deviation."""
_USUAL = 0.8e-4
"""Longs are in the majority on average."""


def premium(venue: Venue, coin: Coin, column: int, hours: Hours, seed: int, times: Times) -> Floats:
    """Return how far the venue's price is above the reference price, as a fraction.

    Between full hours it runs in a straight line. A perpetual's follows the returns of the past
    three days, so funding lags prices.

    Args:
        venue: whose price.
        coin: which coin.
        column: the coin's in the table of hours.
        hours: long enough for the last of `times`.
        seed: of the world.
        times: instants, in microseconds since 1970.
    """
    if not venue.spread:
        return np.zeros(len(times))
    first = int(times.min() - OPENING) // HOUR
    index = np.arange(first, int(times.max() - OPENING) // HOUR + 2)
    key = key_of("premium", venue.name, coin.name) ^ seed
    noise = sum(hashed(key + i, index // every) for i, every in enumerate((1, 4, 12))) - 1.5
    level = noise * 2.0 * venue.spread
    if venue.leveraged:
        level = level * 0.4 + _USUAL + _CROWD * momentum(hours, column, index, _MEMORY_HOURS)
    knots = OPENING + index * HOUR
    return np.interp(times, knots, level)


def momentum(hours: Hours, column: int, index: Times, memory: int) -> Floats:
    """Return past returns in standard deviations, known at the start of each hour of `index`.

    Args:
        hours: the table of hours.
        column: of the coin; -1 for the market.
        index: hours since the opening.
        memory: how many hours to look back.
    """
    end, begin = hours.walked(column, index), hours.walked(column, index - memory)
    return np.asarray((end - begin) / np.sqrt(memory))
