"""Options of the DQN sizer, and what an artifact must have been made with to be used."""

import hashlib
import json
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from weft_plugins.sizers.volatility_target import VolatilityTarget

VERSION: Final = 2
"""Of the state, the reward and the files; an artifact of another one is refused."""

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What the agent chooses from: how much of the full size to hold."""

STATE: Final = (
    "conviction",
    "confidence",
    "edge",
    "volatility_ratio",
    "position_multiplier",
    "regime_change",
    "reward_risk",
)
"""Names of the seven numbers the agent sees; `weft_plugins.sizers.dqn.state` defines them."""


class DqnConfig(VolatilityTarget.Config):
    """Options. `target`, `window` and `largest` make the full size, as in `volatility_target`."""

    slow_window: int = Field(
        default=480,
        ge=10,
        le=100_000,
        description="candles of the volatility the recent one is held against",
    )
    fee_bps: float = Field(
        default=5.0, ge=0, description="fee of one side of a trade, basis points of its value"
    )
    slippage_bps: float = Field(
        default=2.0, ge=0, description="slippage of one side of a trade, basis points"
    )
    charge_funding: bool = Field(
        default=True, description="whether funding paid while a trade is open counts, where known"
    )
    kelly_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of the growth-optimal size aimed at; 1 over the aversion to risk",
    )
    drawdown_penalty: float = Field(
        default=0.1, ge=0, description="what one unit of added drawdown costs in the reward"
    )
    constant: float = Field(
        default=0.1, ge=0, description="fraction of equity that the constant baseline holds"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64), min_length=1, max_length=8, description="neurons in each hidden layer"
    )
    discount: float = Field(
        default=0.5, ge=0, lt=1, description="what the next trade's value counts in this one's"
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="of AdamW, at the beginning")
    final_learning_rate: float = Field(
        default=1e-5, gt=0, description="of AdamW, from the last step of the first training on"
    )
    weight_decay: float = Field(
        default=3.0, ge=0, description="of AdamW: how strongly weights are drawn to 0"
    )
    batch: int = Field(default=128, ge=1, le=65_536, description="transitions in one update")
    replay: int = Field(
        default=100_000, ge=1, le=1_000_000, description="transitions that are remembered"
    )
    replay_kept: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="transitions kept in an artifact, to go on from",
    )
    soft_update: float = Field(
        default=0.005, gt=0, le=1, description="how far the target follows in one update"
    )
    epsilon_first: float = Field(
        default=1.0, ge=0, le=1, description="chance of a random choice at the first step"
    )
    epsilon_last: float = Field(
        default=0.01, ge=0, le=1, description="chance of a random choice in the long run"
    )
    epsilon_steps: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="steps from the first chance to the last, in a line",
    )
    every_action: bool = Field(
        default=True,
        description="whether the reward of the sizes not chosen is learnt too, known as it is",
    )
    steps: int = Field(
        default=20_000, ge=1, le=10_000_000, description="trades walked in the first training"
    )
    updates_per_step: int = Field(default=1, ge=1, le=1000, description="updates after each trade")
    learning_starts: int = Field(
        default=1000,
        ge=1,
        le=10_000_000,
        description="transitions remembered before the first update",
    )
    episode_trades: int = Field(
        default=250, ge=1, le=1_000_000, description="trades in one episode"
    )
    gradient_norm: float = Field(default=10.0, gt=0, description="gradients are cut to this norm")
    least_trades: int = Field(
        default=200,
        ge=2,
        le=10_000_000,
        description="closed trades without which nothing is trained",
    )
    report_steps: int = Field(
        default=500, ge=1, le=10_000_000, description="steps from report to report"
    )
    checkpoint_steps: int = Field(
        default=5000, ge=1, le=10_000_000, description="steps between checkpoints"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.replay_kept > self.replay:
            raise ValueError("replay_kept is larger than replay")
        if self.epsilon_last > self.epsilon_first:
            raise ValueError("epsilon_last is larger than epsilon_first")
        return self


# What changes neither what is learnt nor what it means.
_REPORTING = {"constant", "report_steps", "checkpoint_steps"}


def schema_of(config: DqnConfig) -> dict[str, Any]:
    """Return what an artifact has to agree with: the state, the actions, the options."""
    options = config.model_dump(mode="json", exclude=_REPORTING)
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
    return {
        "version": VERSION,
        "state": list(STATE),
        "shares": list(SHARES),
        "hidden": list(config.hidden),
        "options": digest[:16],
    }
