"""Trades with a known edge, markets and decisions for tests of the DQN sizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.components.trained import Artifact, ComposedDecisions, Training
from weft.market.view import View
from weft.testing.history import History, random_history
from weft.testing.made_up import with_forecasts, with_regime
from weft_plugins.sizers.dqn.agent import Agent
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig
from weft_plugins.sizers.dqn.policy import policy_of
from weft_plugins.sizers.dqn.sizer import DqnSizer
from weft_plugins.sizers.dqn.trades import Trades
from weft_plugins.torch_runtime import one_thread

HORIZON = 6
TINY = DqnSizer.Config(
    window=10,
    slow_window=20,
    steps=150,
    epsilon_steps=100,
    hidden=(8,),
    batch=16,
    learning_starts=50,
    report_steps=50,
    checkpoint_steps=60,
    episode_trades=25,
    least_trades=50,
)


def trades_of(
    net_return: np.ndarray, state: np.ndarray | None = None, *, size: float = 1.0, vol: float = 1.0
) -> Trades:
    """Return trades of one symbol; each closes when the next opens."""
    count = len(net_return)
    rows = np.arange(count)
    noise = np.random.default_rng(count).uniform(0.0, 1.0, (count, 7))
    return Trades(
        state=noise if state is None else state,
        full_size=np.full(count, size),
        volatility=np.full(count, vol),
        net_return=net_return,
        opened=rows,
        closed=rows + 1,
        column=np.zeros(count, np.int64),
        times=np.arange(count + 1) * 3_600_000_000,
        symbols=("A",),
    )


def shares_after_training(trades: Trades, config: DqnConfig, seed: int) -> np.ndarray:
    """Return the shares that a trained policy chooses for the first trades."""
    with one_thread():
        agent = Agent(config, np.random.default_rng(seed), HORIZON)
        agent.train(trades, Training(np.random.default_rng(0), HORIZON))
    policy = policy_of(agent.network.policy(), HORIZON)
    return np.array(SHARES)[policy.choices(trades.state[:1000])]


@dataclass
class MemoryCheckpoints:
    """Checkpoints in memory; the n-th save can stop the training."""

    files: Mapping[str, bytes] | None = None
    stop_at: int | None = None
    saves: list[Mapping[str, bytes]] = field(default_factory=list)

    def load(self) -> Mapping[str, bytes] | None:
        return self.files

    def save(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.saves.append(files)
        if len(self.saves) == self.stop_at:
            raise KeyboardInterrupt


def market(seed: int = 3, rows: int = 700, *, reports: bool = True, flaws: bool = False) -> History:
    """Return a random market, with a regime and forecasts unless switched off."""
    history = random_history(seed, rows=rows, flaws=flaws)
    return with_forecasts(with_regime(history, seed), seed) if reports else history


def decisions(history: History, steps: int, *, calibrated: bool = True) -> ComposedDecisions:
    """Return decisions on the last rows of a history, each from the candle of its row."""
    close = history.candles["close"][-steps:]
    body = close / history.candles["open"][-steps:] - 1.0
    known = np.isfinite(body)
    direction = np.where(known & (np.abs(body) > 0.002), np.sign(body), 0.0)
    score = np.where(known, 100.0 * np.tanh(body / 0.01), 0.0)
    with np.errstate(invalid="ignore"):
        fusion = Fusion(
            score, np.abs(score) / 100.0, direction.astype(np.int8), {}, calibrated=calibrated
        )
    side = np.where(direction == 0, np.nan, direction)
    levels = Levels(close, close * (1 - 0.02 * side), close * (1 + 0.03 * side))
    return ComposedDecisions(fusion, levels)


def fitted(
    sizer: DqnSizer,
    history: History,
    steps: int = 500,
    checkpoints: MemoryCheckpoints | None = None,
) -> tuple[Artifact, Training]:
    """Return the artifact of a sizer trained on the last rows of a market."""
    training = Training(
        np.random.default_rng(11),
        HORIZON,
        checkpoints=checkpoints or MemoryCheckpoints(),
        decisions=decisions(history, steps),
    )
    return sizer.fit(view_of(sizer, history, steps), training), training


def view_of(sizer: DqnSizer, history: History, steps: int, learned: object = None) -> View:
    """Return the sizer's view of the last rows of a market."""
    return history.view(sizer.needs, steps=steps, component="sizer dqn", learned=learned)
