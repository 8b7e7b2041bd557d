"""Sizer that learns from closed trades which share of the full size to hold."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.needs import Need, feature, forecasts, metric, regime
from weft.components.risk import Levels, Sizer, Sizes
from weft.components.trained import Artifact, Evaluation, Trained, Training
from weft.foundation.arrays import FloatPanel
from weft.foundation.dependencies import require
from weft.foundation.errors import ArtifactError, TrainingError
from weft.market.view import View
from weft_plugins.checkpoints import sealed
from weft_plugins.sizers.dqn.baselines import fractional_kelly
from weft_plugins.sizers.dqn.config import SHARES, DqnConfig, schema_of
from weft_plugins.sizers.dqn.judging import habits_of, judge
from weft_plugins.sizers.dqn.policy import Policy, load_policy, policy_of
from weft_plugins.sizers.dqn.state import Situation, situation_of, states
from weft_plugins.sizers.dqn.trades import Trades, closed_trades
from weft_plugins.sizers.volatility_target import OPEN_HOURS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from weft_plugins.sizers.dqn.agent import Agent

_WHERE = "sizer dqn"
_log = logging.getLogger(__name__)
_FULL = len(SHARES) - 1


class DqnSizer(Trained, Sizer):
    """Sizer that holds the share of the full size with the highest value of a dueling double DQN.

    One decision is one trade: it opens at the close of the row and closes at the stop, the target
    or the horizon, whichever comes first (`trades.find_exits`). Actions move no price and change no
    later state, so composing needs no memory. The state is seven numbers known at the row
    (`state.states`), the action 0, 25, 50, 75 or 100 % of the full size, and the reward the return
    on equity after fee, slippage and funding, minus risk and added drawdown, in units of volatility
    (`reward.Rewards`).

    The full size is that of `volatility_target` times the regime's position multiplier. Before the
    first training the sizer holds the full size, with ``trained`` = 0.

    Evidence: ``trained``; ``policy_is_constant``, 1 for a policy that held the same share of all
    training trades; the chosen ``share`` and the ``full_size``; the sizes of the baselines
    ``constant``, ``volatility_target`` and ``fractional_kelly``; the value of each share,
    ``value_0`` to ``value_100``; and the ``advantage`` of the chosen share over holding nothing.
    Values are NaN where there is no signal or no training.

    The first training walks through random episodes of history (`environment.TradeEnvironment`).
    Later ones continue from the previous artifact, with its weights, replay memory and exploration:
    they learn each trade that closed since, once and in order. Trained every hour, the sizer thus
    learns continuously. A stopped training continues from its last checkpoint. Damaged files, or
    files of other options, are ignored, and training starts from the beginning.
    """

    name = "dqn"
    seconds_per_row = 0.05
    learns_from_decisions = True

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

    # Sizing

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        """Return the fraction of equity to hold."""
        config = self.config
        situation = situation_of(view, fusion, levels, config)
        if view.is_trained:
            chosen, values = _choose(view.learned, view, fusion, levels, situation, config)
        else:
            chosen = np.where(situation.full_size > 0.0, 1.0, 0.0)
            values = np.full((*chosen.shape, len(SHARES)), np.nan)
        is_constant = view.is_trained and view.learned.is_constant
        chosen_value = np.take_along_axis(values, _action(chosen)[..., None], axis=-1)[..., 0]
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
                "advantage": chosen_value - values[..., 0],
                **{f"value_{100 * s:.0f}": values[..., n] for n, s in enumerate(SHARES)},
            },
        )

    # Training

    def fit(self, view: View, training: Training) -> Artifact:
        """Train on the closed trades of a view, or continue with those closed since.

        Raises:
            TrainingError: too few trades have closed, there are no decisions to trade on, or the
                loss diverged.
            MissingDependencyError: torch, gymnasium or safetensors is not installed.
        """
        trades = self._trades(view, training)
        one_thread, agent_class = _agent_class()
        with one_thread():
            self._expect_enough(trades)
            agent = self._resumed(agent_class, training)
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

        `rng` takes the state saved in the artifact, so the result follows from the artifact and
        the trades only.

        Raises:
            ArtifactError: the artifact is damaged, or of another version.
            TrainingError: the loss diverged.
        """
        self.load(artifact)
        training = Training(rng, horizon)
        one_thread, agent_class = _agent_class()
        with one_thread():
            agent = agent_class.restored(self.config, artifact.files, rng, horizon)
            if agent.learn(trades, training):
                return self._artifact(agent, horizon, trades)
        return artifact

    def load(self, artifact: Artifact) -> Policy:
        """Return the policy of an artifact.

        Raises:
            ArtifactError: the artifact is damaged, or of another version or other options.
            MissingDependencyError: safetensors is not installed.
        """
        return load_policy(artifact, schema_of(self.config))

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return minus the reward of the policy on each row, and that of the best constant share.

        The reward of a row is the mean over the trades opened on it that have closed, each for an
        account at its highest. NaN where no trade has closed. `judge` chooses the constant share.

        Raises:
            NotTrainedError: the view has no artifact.
            TrainingError: there are no decisions to trade on.
        """
        policy: Policy = view.learned
        return judge(policy, self._trades(view, training), self.config, view.steps)

    def _trades(self, view: View, training: Training) -> Trades:
        decisions = training.decisions
        if decisions is None:
            raise TrainingError(
                "there are no decisions to trade on",
                where=_WHERE,
                hint="Train it as part of a composition, with `weft train`",
            )
        expected = (view.steps, len(view.symbols))
        if decisions.fusion.direction.shape != expected:
            raise TrainingError(
                f"decisions have shape {decisions.fusion.direction.shape}, expected {expected}",
                where=_WHERE,
                hint="Pass the decisions on the decision rows of the view",
            )
        return closed_trades(view, decisions, self.config, training.horizon)

    def _artifact(self, agent: "Agent", horizon: int, trades: Trades) -> Artifact:
        policy = policy_of(agent.network.policy(), horizon)
        card = {
            "schema": schema_of(self.config),
            "habits": habits_of(policy, trades, self.config).to_card(),
            "horizon": horizon,
            "steps": agent.steps,
            "learnt_until": list(agent.learnt_until or ()),
        }
        return sealed(agent.checkpoint(self.config.replay_kept).to_files(), card)

    def _expect_enough(self, trades: Trades) -> None:
        if len(trades) < self.config.least_trades:
            raise TrainingError(
                f"only {len(trades):,} trades have closed; {self.config.least_trades:,} are "
                "required",
                where=_WHERE,
                hint="Train on a longer history, or on a composition with more signals",
            )

    def _resumed(self, agent_class: "type[Agent]", training: Training) -> "Agent | None":
        """Return the agent of the checkpoint, or of the previous artifact; None without either."""
        previous = training.previous.files if training.previous else None
        before = training.rng.bit_generator.state
        for files in (training.checkpoints.load(), previous):
            if files is None:
                continue
            try:
                return agent_class.restored(self.config, files, training.rng, training.horizon)
            except ArtifactError as error:
                _log.warning("files of an earlier training are ignored: %s", error)
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
    """Return the chosen share (steps, symbol) and the value of each (steps, symbol, 5)."""
    state = states(view, fusion, levels, situation, config, policy.horizon)
    signal = situation.is_signal
    values = np.full((*signal.shape, len(SHARES)), np.nan)
    values[signal] = policy.values(state[signal])
    chosen = np.zeros(signal.shape)
    chosen[signal] = np.array(SHARES)[values[signal].argmax(axis=1)]
    return chosen, values


def _action(share: FloatPanel) -> np.ndarray:
    return np.rint(share * _FULL).astype(np.int64)


def _agent_class() -> "tuple[Callable[[], AbstractContextManager[int]], type[Agent]]":
    """Return `one_thread` and the class of the agent, which import torch and gymnasium.

    Raises:
        MissingDependencyError: torch, gymnasium or safetensors is not installed.
    """
    require("torch", "gymnasium", "safetensors", extra="ml", where=_WHERE)
    from weft_plugins.sizers.dqn.agent import Agent  # noqa: PLC0415  # imports torch
    from weft_plugins.torch_runtime import one_thread  # noqa: PLC0415  # imports torch

    return one_thread, Agent
