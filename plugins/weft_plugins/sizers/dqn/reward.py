"""What a size was worth, once its trade is closed: return, less risk, less drawdown."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from weft.foundation.arrays import Floats
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.sizers.dqn.trades import Trades

UNIT: Final = 3.0
"""Volatilities of a full-size trade that make a reward of 1.

Errors then lie within the square part of the Huber loss. In its straight part it would estimate
something nearer the median than the mean, which for a stop close by and a target far away have
different signs.
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Equity, and the highest it ever was."""

    equity: float = 1.0
    highest: float = 1.0

    @property
    def drawdown(self) -> float:
        """How far equity lies below its highest, 0 to 1."""
        return 1.0 - max(self.equity, 0.0) / self.highest

    @property
    def is_ruined(self) -> bool:
        """Whether nothing is left."""
        return self.equity <= 0.0

    def after(self, change: float) -> "Account":
        """Return the account after a return on equity."""
        equity = max(self.equity * (1.0 + change), 0.0)
        return Account(equity, max(self.highest, equity))


@dataclass(frozen=True, slots=True)
class Rewards:
    """What each share of each trade returns, and what that is worth.

    For a trade with a return of r (net of costs, in its direction), a full size of f and a
    volatility of s, holding a share of a returns R = a * f * r on equity, and is worth::

        (R - R**2 / (2 * kelly_share) - drawdown_penalty * added drawdown) / (UNIT * f * s)

    The first two terms are mean less variance over twice the tolerance of risk, the quadratic
    approximation of the logarithm of wealth where `kelly_share` is 1: the share that maximises
    their mean is kelly_share * E[r] / (f * E[r**2]), that share of the Kelly fraction. An R
    beyond `kelly_share` counts as that, since the parabola would fall from there. The added
    drawdown is what this trade adds to the distance of equity from its highest. The divisor is
    the volatility of holding the full size, so that rewards are Sharpe-like: of one scale in
    quiet and wild markets, whatever the unit of prices.

    A differential Sharpe ratio (Moody and Saffell, 2001) was not taken, because a Sharpe ratio
    is the same for every share held throughout, and so cannot say how much to hold.

    Attributes:
        returns: R of each trade and share (n, 5).
        utility: the reward of each, but for drawdown (n, 5).
        unit: the divisor (n,).
        drawdown_penalty: in units of return.
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
    """Return what each share of each trade returns, and what that is worth."""
    returns = np.array(SHARES) * (trades.full_size * trades.net_return)[:, None]
    unit = UNIT * trades.full_size * trades.volatility
    counted = np.minimum(returns, config.kelly_share)
    utility = (counted - counted**2 / (2.0 * config.kelly_share)) / unit[:, None]
    return Rewards(returns, utility, unit, config.drawdown_penalty)
