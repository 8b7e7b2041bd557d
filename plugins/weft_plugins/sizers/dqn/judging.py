"""What a policy is worth beside holding one share throughout, and whether it does just that."""

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
    """What a policy does on the trades it was trained on.

    Attributes:
        trades: how many there are.
        chosen: how often it holds each share, 0 to 1 (share,).
        best_constant: index of the share that would have been worth most on all of them.
    """

    trades: int
    chosen: Floats
    best_constant: int

    @property
    def constant(self) -> float | None:
        """The share it holds on every trade; None where it chooses."""
        return SHARES[int(self.chosen.argmax())] if self.chosen.max() == 1.0 else None

    def to_card(self) -> Mapping[str, Any]:
        """Return the habits as JSON values, and in words where there is but one."""
        share = self.constant
        return {
            "trades": self.trades,
            "chosen": {f"{s:g}": float(c) for s, c in zip(SHARES, self.chosen, strict=True)},
            "best_constant": SHARES[self.best_constant],
            "constant": share,
            "note": None
            if share is None
            else f"the policy is constant: it holds {share:.0%} of the full size on each of the "
            f"{self.trades:,} trades it was trained on, and earns no trust by that",
        }


def habits_of(policy: Policy, trades: Trades, config: DqnConfig) -> Habits:
    """Return what a policy does on the trades it was trained on."""
    chosen = np.bincount(policy.choices(trades.state), minlength=len(SHARES))
    rewards = rewards_of(trades, config).at_highest()
    # Rows count alike, as they do where a policy is judged.
    worth = np.nanmean(_by_row(trades, rewards, int(trades.opened.max()) + 1), axis=0)
    return Habits(len(trades), chosen / len(trades), int(worth.argmax()))


def judge(policy: Policy, trades: Trades, config: DqnConfig, steps: int) -> Evaluation:
    """Return minus the reward of a policy on each decision row, and that of a constant share.

    The constant is the share that was worth most on the trades the policy was trained on, or the
    one the policy itself holds most often, whichever is worth more on these rows: what a policy is
    trusted for is choosing. One that does not choose gains nothing over its own constant.
    """
    rewards = rewards_of(trades, config).at_highest()
    chosen = policy.choices(trades.state)
    constants = _by_row(trades, rewards, steps)
    held = _by_row(trades, np.take_along_axis(rewards, chosen[:, None], axis=1), steps)
    usual = int(np.bincount(chosen, minlength=len(SHARES)).argmax())
    worth = np.nansum(constants, axis=0)
    baseline = max(policy.best_constant, usual, key=worth.__getitem__)
    return Evaluation(loss=-held[:, 0], baseline=-constants[:, baseline])


def _by_row(trades: Trades, values: FloatPanel, steps: int) -> FloatPanel:
    """Return the mean over the trades opened on each row, NaN where there is none (steps, n)."""
    count = np.bincount(trades.opened, minlength=steps)
    found: FloatPanel = np.full((steps, values.shape[1]), np.nan)
    for column in range(values.shape[1]):
        total = np.bincount(trades.opened, weights=values[:, column], minlength=steps)
        np.divide(total, count, out=found[:, column], where=count > 0)
    return found
