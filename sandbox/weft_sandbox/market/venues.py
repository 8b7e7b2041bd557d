"""The venues, with the spread of their prices and their share of volume."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import hashed, key_of
from weft_sandbox.market.skeleton import Hours


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue; all its coins trade in the same manner.

    Attributes:
        name: unique name, for instance ``binance-perp``.
        share: volume as a multiple of the reference market's.
        spread: usual relative distance of its price from the reference price.
        leveraged: whether the venue trades perpetuals, whose premium follows past returns.
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
"""Premium of a perpetual after a rise by one standard deviation in three days."""
_USUAL = 0.8e-4
"""Mean premium of a perpetual: on average, longs are in the majority."""


def premium(venue: Venue, coin: Coin, column: int, hours: Hours, seed: int, times: Times) -> Floats:
    """Return the venue's price relative to the reference price, minus 1.

    The premium is linear between full hours. That of a perpetual follows the returns of the past
    three days, so funding lags prices.

    Args:
        venue: venue of the price.
        coin: coin of the price.
        column: column of the coin in the table of hours.
        hours: table of hours, up to the last of `times`.
        seed: seed of the world.
        times: instants, microseconds since 1970.
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
        hours: table of hours.
        column: column of the coin; -1 for the market.
        index: hours since the opening.
        memory: length of the window in hours.
    """
    end, begin = hours.walked(column, index), hours.walked(column, index - memory)
    return np.asarray((end - begin) / np.sqrt(memory))
