"""Judging of a policy against the best constant share, and its habits on the training trades."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.components.trained import Evaluation
from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.sizers.dqn.policy import Policy
from weft_plugins.sizers.dqn.reward import rewards_of
from weft_plugins.sizers.dqn.trades import Trades


@dataclass(frozen=True, slots=True)
class Habits:
    """Choices of a policy on its training trades.

    Attributes:
        trades: number of trades.
        chosen: frequency of each share, 0 to 1 (share,).
        best_constant: index of the constant share with the highest reward on these trades.
    """

    trades: int
    chosen: Floats
    best_constant: int

    @property
    def constant(self) -> float | None:
        """The share of a policy that chooses the same on every trade; otherwise None."""
        return SHARES[int(self.chosen.argmax())] if self.chosen.max() == 1.0 else None

    def to_card(self) -> Mapping[str, Any]:
        """Return the habits as JSON values, with a note where the policy is constant."""
        share = self.constant
        return {
            "trades": self.trades,
            "chosen": {f"{s:g}": float(c) for s, c in zip(SHARES, self.chosen, strict=True)},
            "best_constant": SHARES[self.best_constant],
            "constant": share,
            "note": None
            if share is None
            else f"the policy is constant: it holds {share:.0%} of the full size on each of its "
            f"{self.trades:,} training trades, and earns no trust with that",
        }


def habits_of(policy: Policy, trades: Trades, config: DqnConfig) -> Habits:
    """Return the choices of a policy on its training trades."""
    chosen = np.bincount(policy.choices(trades.state), minlength=len(SHARES))
    rewards = rewards_of(trades, config).at_highest()
    # Rows have equal weights, as in `judge`.
    mean_reward = np.nanmean(_by_row(trades, rewards, int(trades.opened.max()) + 1), axis=0)
    return Habits(len(trades), chosen / len(trades), int(mean_reward.argmax()))


def judge(policy: Policy, trades: Trades, config: DqnConfig, steps: int) -> Evaluation:
    """Return minus the reward of a policy on each decision row, and that of a constant share.

    The constant is either the best one on the training trades or the policy's most frequent share,
    whichever has the higher reward on these rows. So trust is earned by choosing: a constant policy
    gains nothing over its own share.
    """
    rewards = rewards_of(trades, config).at_highest()
    chosen = policy.choices(trades.state)
    constants = _by_row(trades, rewards, steps)
    chosen_rewards = _by_row(trades, np.take_along_axis(rewards, chosen[:, None], axis=1), steps)
    frequent = int(np.bincount(chosen, minlength=len(SHARES)).argmax())
    total = np.nansum(constants, axis=0)
    baseline = max(policy.best_constant, frequent, key=total.__getitem__)
    return Evaluation(loss=-chosen_rewards[:, 0], baseline=-constants[:, baseline])


def _by_row(trades: Trades, values: FloatPanel, steps: int) -> FloatPanel:
    """Return the mean over the trades opened on each row; NaN where there is none (steps, n)."""
    count = np.bincount(trades.opened, minlength=steps)
    means: FloatPanel = np.full((steps, values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        total = np.bincount(trades.opened, weights=values[:, column], minlength=steps)
        np.divide(total, count, out=means[:, column], where=count > 0)
    return means
