"""Reward of a closed trade: return, minus risk, minus drawdown."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from weft.foundation.arrays import Floats
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.sizers.dqn.trades import Trades

UNIT: Final = 3.0
"""Return with a reward of 1, in volatilities of a full-size trade.

Errors then lie in the quadratic part of the Huber loss. Its linear part would estimate the median
rather than the mean; for a near stop and a far target they have different signs.
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Equity of an account, and its highest equity so far."""

    equity: float = 1.0
    highest: float = 1.0

    @property
    def drawdown(self) -> float:
        """Loss of equity since its highest, 0 to 1."""
        return 1.0 - max(self.equity, 0.0) / self.highest

    @property
    def is_ruined(self) -> bool:
        """Whether no equity is left."""
        return self.equity <= 0.0

    def after(self, change: float) -> "Account":
        """Return the account after a return on equity."""
        equity = max(self.equity * (1.0 + change), 0.0)
        return Account(equity, max(self.highest, equity))


@dataclass(frozen=True, slots=True)
class Rewards:
    """Return and reward of each share of each trade.

    For a trade with return r (net of costs, in its direction), full size f and volatility s, a
    share a returns R = a * f * r on equity, with the reward::

        (R - R**2 / (2 * kelly_share) - drawdown_penalty * added drawdown) / (UNIT * f * s)

    The first two terms are quadratic utility, which approximates the logarithm of wealth where
    `kelly_share` is 1 (Markowitz 1959). The share that maximises their mean is
    kelly_share * E[r] / (f * E[r**2]), that share of the Kelly fraction. An R above `kelly_share`
    counts as `kelly_share`, because the parabola falls from there. The added drawdown is the
    increase of the account's drawdown by this trade. The divisor is the volatility of the full
    size, so rewards have one scale in quiet and volatile markets, like a Sharpe ratio.

    A differential Sharpe ratio (Moody and Saffell 2001) does not fit: the Sharpe ratio of a
    constant share is the same for every share, so it cannot choose a size.

    Attributes:
        returns: R of each trade and share (n, 5).
        utility: reward of each trade and share without the drawdown term (n, 5).
        unit: divisor of each trade (n,).
        drawdown_penalty: cost of one unit of added drawdown, in units of return.
    """

    returns: Floats
    utility: Floats
    unit: Floats
    drawdown_penalty: float

    def of(self, trade: int, account: Account) -> Floats:
        """Return the reward of each share of one trade, for an account (5,)."""
        equity = np.maximum(account.equity * (1.0 + self.returns[trade]), 0.0)
        drawdown = 1.0 - np.minimum(equity / account.highest, 1.0)
        added = np.maximum(drawdown - account.drawdown, 0.0)
        rewards: Floats = self.utility[trade] - self.drawdown_penalty * added / self.unit[trade]
        return rewards

    def at_highest(self) -> Floats:
        """Return the reward of each share of every trade, for accounts at their highest (n, 5)."""
        added = np.clip(-self.returns, 0.0, 1.0)
        rewards: Floats = self.utility - self.drawdown_penalty * added / self.unit[:, None]
        return rewards


def rewards_of(trades: Trades, config: DqnConfig) -> Rewards:
    """Return the rewards of all shares of closed trades."""
    returns = np.array(SHARES) * (trades.full_size * trades.net_return)[:, None]
    unit = UNIT * trades.full_size * trades.volatility
    capped = np.minimum(returns, config.kelly_share)
    utility = (capped - capped**2 / (2.0 * config.kelly_share)) / unit[:, None]
    return Rewards(returns, utility, unit, config.drawdown_penalty)
