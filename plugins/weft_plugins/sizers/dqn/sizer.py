"""Sizes chosen by an agent that learns from closed trades."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.needs import Need, feature, forecasts, metric, regime
from weft.components.risk import Levels, Sizer, Sizes
from weft.components.trained import Artifact, Evaluation, Trained, Training
from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import ArtifactError, TrainingError
from weft.market.view import View
from weft_plugins.sizers._volatility import OPEN_HOURS
from weft_plugins.sizers.dqn.baselines import fractional_kelly
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig, schema_of
from weft_plugins.sizers.dqn.files import POLICY, artifact_of, missing, policy_in, unpacked
from weft_plugins.sizers.dqn.judging import habits_of, judge
from weft_plugins.sizers.dqn.policy import Policy, policy_of
from weft_plugins.sizers.dqn.state import Situation, find_situation, states
from weft_plugins.sizers.dqn.trades import Trades, closed_trades

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from weft_plugins.sizers.dqn.agent import Agent

_WHERE = "sizer dqn"
_FULL = len(SHARES) - 1


class DqnSizer(Trained, Sizer):
    """Holds the share of the full size that a dueling double DQN finds worth most.

    One decision is one trade: opened at the row's close, and closed at the stop, the target or
    the horizon, whichever a later candle reaches first (`trades.find_exits`). What is chosen
    moves no price and changes no later state, so that composing needs no memory: the state is
    seven numbers known at the row (`state.states`), the action 0, 25, 50, 75 or 100 % of the
    full size, and the reward the return on equity net of fee, slippage and funding, less risk,
    less added drawdown, in units of volatility (`reward.Rewards`).

    The full size is what `volatility_target` holds, times the regime's position multiplier.
    Until it is trained, the sizer holds the full size, and says ``trained`` = 0.

    Evidence: ``trained``, ``policy_is_constant`` (1 where it held the same share of every trade it
    was trained on), the ``share`` chosen, the ``full_size``; what the baselines
    ``constant``, ``volatility_target`` and ``fractional_kelly`` would hold; what each share is
    worth, ``value_0`` to ``value_100``, and the ``advantage`` of the one chosen over holding
    nothing. Values are NaN where there is no signal or no training.

    Training walks random episodes through history (`environment.TradeEnvironment`). A later
    training goes on from what the one before left behind: it learns, in order and once, the trades
    that closed since, with weights, replay and exploration as they were. Trained every hour, it so
    learns continuously. A training that was stopped half-way goes on from its last checkpoint.
    Files that are damaged, or were kept with other options, are passed over, and training
    begins anew.
    """

    name = "dqn"
    seconds_per_row = 0.05
    learns_from_opinions = True

    class Config(DqnConfig):
        """Options."""

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Candles, volatility, forecasts, the regime, and funding where it is charged."""
        wanted: list[Need] = [
            OPEN_HOURS,
            feature("volatility", window=self.config.window),
            feature("volatility", window=self.config.slow_window),
            forecasts(),
            regime(),
        ]
        return [*wanted, metric("funding_rate")] if self.config.charge_funding else wanted

    # In use

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        """Return the fraction of equity to hold."""
        config = self.config
        situation = find_situation(view, fusion, levels, config)
        if view.is_trained:
            chosen, values = _choose(view.learned, view, fusion, levels, situation, config)
        else:
            chosen = np.where(situation.full_size > 0.0, 1.0, 0.0)
            values = np.full((*chosen.shape, len(SHARES)), np.nan)
        is_constant = view.is_trained and view.learned.is_constant
        held = np.take_along_axis(values, _action(chosen)[..., None], axis=-1)[..., 0]
        shape = situation.full_size.shape
        signal = (fusion.direction != 0) & np.isfinite(levels.entry)
        kelly = fractional_kelly(
            situation.expected,
            fusion,
            levels,
            share=config.kelly_share,
            cost=2e-4 * (config.fee_bps + config.slippage_bps),
            largest=config.largest,
        )
        return Sizes(
            fraction=chosen * situation.full_size,
            full=situation.volatility_target,
            evidence={
                "trained": np.full(shape, float(view.is_trained)),
                "policy_is_constant": np.full(shape, float(is_constant)),
                "share": chosen,
                "full_size": situation.full_size,
                "constant": np.where(signal, config.constant, 0.0),
                "volatility_target": situation.volatility_target,
                "fractional_kelly": kelly,
                "advantage": held - values[..., 0],
                **{f"value_{100 * s:.0f}": values[..., n] for n, s in enumerate(SHARES)},
            },
        )

    # Training

    def fit(self, view: View, training: Training) -> Artifact:
        """Train on the closed trades of a view, or go on with those closed since.

        Raises:
            TrainingError: too few trades closed, there are no opinions to trade on, or the loss
                diverged.
            MissingDependencyError: torch, gymnasium or safetensors is not installed.
        """
        trades = self._trades(view, training)
        one_thread, agent_class = _machinery()
        with one_thread():
            self._expect_enough(trades)
            agent = self._earlier(agent_class, training)
            if agent is not None and agent.learnt_until is not None:
                agent.learn(trades, training)
            else:
                agent = agent or agent_class(self.config, training.rng, training.horizon)
                agent.train(trades, training)
            artifact = self._artifact(agent, training.horizon, trades)
        training.checkpoints.save(artifact.files)
        return artifact

    def learn(
        self, artifact: Artifact, trades: Trades, rng: np.random.Generator, horizon: int
    ) -> Artifact:
        """Return an artifact that has also learnt the trades closed since, in order.

        The generator takes on the state that the artifact's own was left in, so that the result
        follows from the artifact and the trades alone.

        Raises:
            ArtifactError: the artifact is damaged, or of another version.
            TrainingError: the loss diverged.
        """
        self.load(artifact)
        training = Training(rng, horizon)
        one_thread, agent_class = _machinery()
        with one_thread():
            agent = agent_class.restored(self.config, artifact.files, rng, horizon)
            if agent.learn(trades, training):
                return self._artifact(agent, horizon, trades)
        return artifact

    def load(self, artifact: Artifact) -> Policy:
        """Return the policy of an artifact.

        Raises:
            ArtifactError: it was made by another version or with other options, or is damaged.
        """
        return policy_in(artifact, schema_of(self.config))

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return minus the reward of the policy on each row, and that of the best constant share.

        Each row's is the mean over the symbols whose trade, opened on that row, has closed; the
        account is taken to be at its highest each time. NaN where no trade has closed. `judge`
        says which share is the constant.

        Raises:
            NotTrainedError: there is nothing to evaluate.
            TrainingError: there are no opinions to trade on.
        """
        policy: Policy = view.learned
        return judge(policy, self._trades(view, training), self.config, view.steps)

    def _trades(self, view: View, training: Training) -> Trades:
        opinions = training.opinions
        if opinions is None:
            raise TrainingError(
                "there are no opinions to trade on",
                where=_WHERE,
                hint="Train it as part of a composition: `weft train` gives it what it needs",
            )
        expected = (view.steps, len(view.symbols))
        if opinions.fusion.direction.shape != expected:
            raise TrainingError(
                f"opinions of {opinions.fusion.direction.shape}, expected {expected}",
                where=_WHERE,
                hint="Give the opinions on the decision rows of the view",
            )
        return closed_trades(view, opinions, self.config, training.horizon)

    def _artifact(self, agent: "Agent", horizon: int, trades: Trades) -> Artifact:
        files = agent.files(self.config.replay_kept)
        policy = policy_of(unpacked(files[POLICY]), horizon)
        return artifact_of(
            files,
            schema_of(self.config),
            habits=habits_of(policy, trades, self.config).to_card(),
            horizon=horizon,
            steps=agent.steps,
            learnt_until=list(agent.learnt_until or ()),
        )

    def _expect_enough(self, trades: Trades) -> None:
        if len(trades) < self.config.least_trades:
            raise TrainingError(
                f"{len(trades)} trades have closed, expected at least {self.config.least_trades}",
                where=_WHERE,
                hint="Train on a longer history, or on a composition that gives more signals",
            )

    def _earlier(self, agent_class: "type[Agent]", training: Training) -> "Agent | None":
        """Return the agent that a checkpoint holds, or the previous artifact; None for neither."""
        previous = training.previous.files if training.previous else None
        before = training.rng.bit_generator.state
        for kept in (training.checkpoints.load(), previous):
            if kept is None:
                continue
            try:
                return agent_class.restored(self.config, kept, training.rng, training.horizon)
            except ArtifactError:
                training.rng.bit_generator.state = before
        return None


def _choose(
    policy: Policy,
    view: View,
    fusion: Fusion,
    levels: Levels,
    situation: Situation,
    config: DqnConfig,
) -> tuple[FloatPanel, FloatPanel]:
    """Return the share chosen (steps, symbol) and what each is worth (steps, symbol, 5)."""
    seen = states(view, fusion, levels, situation, config, policy.horizon)
    signal = situation.is_signal
    values = np.full((*signal.shape, len(SHARES)), np.nan)
    values[signal] = policy.values(seen[signal])
    chosen = np.zeros(signal.shape)
    chosen[signal] = np.array(SHARES)[values[signal].argmax(axis=1)]
    return chosen, values


def _action(share: FloatPanel) -> np.ndarray:
    return np.rint(share * _FULL).astype(np.int64)


def _machinery() -> "tuple[Callable[[], AbstractContextManager[int]], type[Agent]]":
    """Return what trains, of which torch and gymnasium are a part.

    Raises:
        MissingDependencyError: one of them is not installed.
    """
    for package in ("torch", "gymnasium", "safetensors"):
        if find_spec(package) is None:
            raise missing(package)
    from weft_plugins.sizers.dqn.agent import Agent  # noqa: PLC0415  # imports torch
    from weft_plugins.torch_threads import one_thread  # noqa: PLC0415  # imports torch

    return one_thread, Agent
