"""The hours of the simulated market: regimes, the market factor, and each coin's return.

All coins share one table of hours that grows block by block. A block depends on the seed and on
the block before, so an hour has the same numbers in any order of requests. Coins after the first
twenty have separate draws: the first twenty do not depend on their number. The table is small (30
MB for twenty coins and ten years); minutes and trades are derived from it on demand.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import Floats
from weft.foundation.times import HOUR
from weft_sandbox.market.coins import COINS, OPENING, Coin
from weft_sandbox.market.draws import Integers, generator

HOURS_A_BLOCK = 28 * 24
HOURS_A_YEAR = 24 * 365.25
REGIMES = ("calm", "bull", "bear", "turbulent")
_DRIFT = np.array([0.05, 0.80, -0.70, -0.30])
"""Of the market, a year."""
_VOLATILITY = np.array([0.32, 0.48, 0.58, 1.05])
"""Of the market, a year."""
_DAYS = np.array([25.0, 40.0, 30.0, 8.0])
"""Mean length of a regime."""
_NEXT = np.array(
    [[0.0, 0.5, 0.3, 0.2], [0.5, 0.0, 0.2, 0.3], [0.5, 0.2, 0.0, 0.3], [0.4, 0.2, 0.4, 0.0]]
)
_PULL = 0.05
"""Share of the distance from its long-run price that a coin is drawn back in a block, so that
no coin leaves for zero or for the moon in a sandbox that runs for years."""
_JUMPS_A_DAY, _JUMP_SIZE = 0.025, 0.022
_RESIDUAL_JUMPS_A_DAY, _RESIDUAL_JUMP_SIZE = 0.02, 0.035
LATE_SHARE = 0.12
"""Share of the market's move that coins other than BTC follow one hour later."""
_PROFILE = np.array(
    [
        *(0.86, 0.84, 0.82, 0.80, 0.78, 0.78, 0.82, 0.92, 1.00, 0.98, 0.95, 0.95),
        *(1.05, 1.30, 1.45, 1.45, 1.35, 1.20, 1.10, 1.05, 1.02, 0.98, 0.92, 0.90),
    ]
)
"""Trading activity by hour of the day (UTC), highest when America opens."""


@dataclass(frozen=True, slots=True)
class Hours:
    """The table of hours; row 0 is the first hour after the opening.

    Attributes:
        close: logarithm of each coin's price at the end of the hour (hours, coins).
        deviation: usual size of the hour's return (hours, coins).
        shock: return divided by its usual size, the market's first (hours, 1 + coins).
        walk: sum of `shock` since the opening (hours, 1 + coins).
        activity: trading activity of the hour, about 1 (hours, coins).
        trades: trades from the opening to the end of the hour (hours, coins).
        regime: index into `REGIMES` (hours,).
    """

    close: Floats
    deviation: Floats
    shock: Floats
    walk: Floats
    activity: Floats
    trades: Integers
    regime: NDArray[np.int8]

    def walked(self, column: int, index: Integers) -> Floats:
        """Return the sum of shocks from the opening to the start of each hour of `index`.

        Args:
            column: column of the coin; -1 for the market.
            index: hours since the opening; negative hours give 0.
        """
        steps = self.walk[np.maximum(index, 1) - 1, column + 1]
        return np.where(index > 0, steps, 0.0)


class Skeleton:
    """Computes and caches the table of hours.

    Args:
        seed: seed of the market.
        coins: coins in the order of the columns.
    """

    def __init__(self, seed: int, coins: tuple[Coin, ...]) -> None:
        self.seed, self.coins = seed, coins
        self._lock = threading.Lock()
        self._blocks: list[Hours] = []
        self._joined: Hours | None = None
        self._anchor = np.log([coin.price for coin in coins])
        self._columns = {coin: column for column, coin in enumerate(coins)}
        opening = generator(seed, ("opening",)).normal(-0.3, 0.25, len(coins))
        self.opening: Floats = self._anchor + opening
        """Logarithm of each coin's price at the opening (coins,)."""

    def until(self, instant: int) -> Hours:
        """Return the table, up to at least the hour after an instant."""
        needed = max(0, (instant - OPENING) // HOUR + 1) // HOURS_A_BLOCK + 1
        joined = self._joined
        # Another thread may have computed blocks that are not yet in the table.
        if joined is not None and len(joined.regime) >= needed * HOURS_A_BLOCK:
            return joined
        with self._lock:
            # Spare blocks: joining the table at each block would have quadratic cost.
            while len(self._blocks) < needed + 4:
                self._blocks.append(self._block(len(self._blocks)))
            names = Hours.__slots__
            parts = {n: np.concatenate([getattr(b, n) for b in self._blocks]) for n in names}
            self._joined = Hours(**parts)
            return self._joined

    def column(self, coin: Coin) -> int:
        """Return the column of a coin."""
        return self._columns[coin]

    def _regimes(self, block: int) -> NDArray[np.int8]:
        rng = generator(self.seed, ("regime",), block)
        state = int(self._blocks[-1].regime[-1]) if self._blocks else 0
        days = []
        for change, choice in rng.random((HOURS_A_BLOCK // 24, 2)):
            if change < 1 / _DAYS[state]:
                state = int(np.searchsorted(np.cumsum(_NEXT[state]), choice))
            days.append(state)
        return np.repeat(np.array(days, np.int8), 24)

    def _block(self, block: int) -> Hours:
        rng = generator(self.seed, ("hours",), block)
        further = generator(self.seed, ("hours", "further"), block)
        size, coins = HOURS_A_BLOCK, len(self.coins)
        widths = (min(coins, len(COINS)), max(coins - len(COINS), 0))

        def each(draw: Callable[[np.random.Generator, tuple[int, int]], Floats]) -> Floats:
            parts = [draw(r, (size, n)) for r, n in zip((rng, further), widths, strict=True)]
            return np.concatenate(parts, axis=1)

        regime = self._regimes(block)
        # A smooth factor of volatility over the block, 1 on average, beside the regime's.
        knots = rng.normal(0.0, 0.35, 9)
        unrest = np.exp(np.interp(np.arange(size), np.linspace(0, size - 1, 9), knots) - 0.06)
        busy = np.tile(_PROFILE, size // 24)
        usual = _VOLATILITY[regime] / np.sqrt(HOURS_A_YEAR) * unrest * busy
        jump = (rng.random(size) < _JUMPS_A_DAY / 24) * rng.normal(-0.002, _JUMP_SIZE, size)
        drift = _DRIFT[regime] / HOURS_A_YEAR
        market = usual * _heavy(rng, size) + jump + drift
        before = self._blocks[-1].shock[-1, 0] * usual[0] if self._blocks else 0.0
        beta = np.array([coin.beta for coin in self.coins])
        late = np.where(beta == 1.0, 0.0, LATE_SHARE)
        late[0] = 0.0
        delayed = np.concatenate([[before], market[:-1]])
        common = beta * ((1 - late) * market[:, None] + late * delayed[:, None])
        residual_usual = np.array([c.volatility for c in self.coins]) / np.sqrt(HOURS_A_YEAR)
        residual_deviation = residual_usual * (unrest * busy)[:, None]
        residual = residual_deviation * each(_heavy)
        hit = each(lambda r, shape: r.random(shape)) < _RESIDUAL_JUMPS_A_DAY / 24
        residual += hit * each(lambda r, shape: r.normal(0.0, _RESIDUAL_JUMP_SIZE, shape))
        deviation = np.sqrt((beta * usual[:, None]) ** 2 + residual_deviation**2)
        change = common + residual
        start = self._blocks[-1].close[-1] if self._blocks else self.opening
        change += (self._anchor - start) * _PULL / size
        shock = np.concatenate([((market - drift) / usual)[:, None], change / deviation], axis=1)
        size_of_move = np.abs(shock[:, 1:])
        noise = np.exp(each(lambda r, shape: r.normal(0.0, 0.35, shape)))
        activity = busy[:, None] * (0.45 + 0.65 * size_of_move) * noise * unrest[:, None] ** 0.5
        mean = np.array([coin.trades for coin in self.coins]) * 60
        counts = np.rint(np.maximum(mean * np.clip(activity, 0.1, 12.0), 60 * 6)).astype(np.int64)
        base = self._blocks[-1].trades[-1] if self._blocks else np.zeros(coins, np.int64)
        walked = self._blocks[-1].walk[-1] if self._blocks else np.zeros(coins + 1)
        return Hours(
            close=start + np.cumsum(change, axis=0),
            deviation=deviation,
            shock=shock,
            walk=walked + np.cumsum(shock, axis=0),
            activity=activity,
            trades=base + np.cumsum(counts, axis=0),
            regime=regime,
        )


def _heavy(rng: np.random.Generator, shape: int | tuple[int, int]) -> Floats:
    """Return draws from a Student t distribution with five degrees of freedom and variance 1."""
    return np.asarray(rng.standard_t(5, shape) * np.sqrt(3 / 5))
