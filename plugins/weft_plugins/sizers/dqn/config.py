"""Options of the DQN sizer, and the schema that its artifacts must have."""

import json
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from weft_plugins.checkpoints import digest_of
from weft_plugins.sizers.volatility_target import VolatilityTarget

VERSION: Final = 3
"""Version of state, reward and files; artifacts of another version are refused."""

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Actions of the agent: the share of the full size to hold."""

STATE: Final = (
    "conviction",
    "confidence",
    "edge",
    "volatility_ratio",
    "position_multiplier",
    "regime_change",
    "reward_risk",
)
"""Names of the seven numbers of a state; `weft_plugins.sizers.dqn.state` defines them."""


class DqnConfig(VolatilityTarget.Config):
    """Options; `target`, `window` and `largest` set the full size, as in `volatility_target`."""

    slow_window: int = Field(
        default=480,
        ge=10,
        le=100_000,
        description="candles of the slow volatility that the recent one is compared with",
    )
    fee_bps: float = Field(
        default=5.0, ge=0, description="fee of one side of a trade, basis points of its value"
    )
    slippage_bps: float = Field(
        default=2.0, ge=0, description="slippage of one side of a trade, basis points"
    )
    charge_funding: bool = Field(
        default=True, description="whether to charge funding while a trade is open, where known"
    )
    kelly_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of the growth-optimal (Kelly) size to aim at; 1 over risk aversion",
    )
    drawdown_penalty: float = Field(
        default=0.1, ge=0, description="cost of one unit of added drawdown in the reward"
    )
    constant: float = Field(
        default=0.1, ge=0, description="fraction of equity of the constant baseline"
    )
    hidden: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64), min_length=1, max_length=8, description="neurons in each hidden layer"
    )
    discount: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="weight of the next trade's value",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="first learning rate of AdamW")
    final_learning_rate: float = Field(
        default=1e-5, gt=0, description="learning rate of AdamW after the first training"
    )
    weight_decay: float = Field(default=3.0, ge=0, description="weight decay of AdamW")
    batch: int = Field(default=128, ge=1, le=65_536, description="transitions in one update")
    replay: int = Field(
        default=100_000, ge=1, le=1_000_000, description="transitions in the replay memory, at most"
    )
    replay_kept: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="transitions stored in an artifact, for the next training",
    )
    soft_update: float = Field(
        default=0.005,
        gt=0,
        le=1,
        description="step of the target network in one update",
    )
    epsilon_first: float = Field(
        default=1.0, ge=0, le=1, description="probability of a random action at the first step"
    )
    epsilon_last: float = Field(
        default=0.01, ge=0, le=1, description="probability of a random action in the long run"
    )
    epsilon_steps: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="steps over which that probability falls linearly",
    )
    every_action: bool = Field(
        default=True,
        description="whether to learn the rewards of all sizes, not only of the chosen one",
    )
    steps: int = Field(
        default=20_000, ge=1, le=10_000_000, description="trades of the first training"
    )
    updates_per_step: int = Field(default=1, ge=1, le=1000, description="updates after each trade")
    learning_starts: int = Field(
        default=1000,
        ge=1,
        le=10_000_000,
        description="transitions in memory before the first update",
    )
    episode_trades: int = Field(
        default=250, ge=1, le=1_000_000, description="trades in one episode"
    )
    gradient_norm: float = Field(default=10.0, gt=0, description="largest norm of a gradient")
    least_trades: int = Field(
        default=200,
        ge=2,
        le=10_000_000,
        description="fewest closed trades to train on",
    )
    report_steps: int = Field(
        default=500, ge=1, le=10_000_000, description="steps between two progress reports"
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


# Options that change neither the training nor the meaning of its result.
_REPORTING = {"constant", "report_steps", "checkpoint_steps"}


def schema_of(config: DqnConfig) -> dict[str, Any]:
    """Return the values an artifact must agree with: version, state, actions and options."""
    options = config.model_dump(mode="json", exclude=_REPORTING)
    digest = digest_of(json.dumps(options, sort_keys=True).encode())
    return {
        "version": VERSION,
        "state": list(STATE),
        "shares": list(SHARES),
        "hidden": list(config.hidden),
        "options": digest[:16],
    }
