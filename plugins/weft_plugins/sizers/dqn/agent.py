"""The agent: walks trades, remembers, learns; can be kept at any time and go on from there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.components.trained import Training
from weft.foundation.errors import ArtifactError, TrainingError
from weft_plugins.sizers.dqn.config import SHARES, STATE, DqnConfig, schema_of
from weft_plugins.sizers.dqn.environment import Observation, TradeEnvironment
from weft_plugins.sizers.dqn.files import (
    AGENT,
    POLICY,
    PROGRESS,
    packed,
    read_progress,
    unpacked,
)
from weft_plugins.sizers.dqn.network import DoubleDqn
from weft_plugins.sizers.dqn.replay import Batch, Replay
from weft_plugins.sizers.dqn.reward import Account
from weft_plugins.sizers.dqn.trades import TradeKey, Trades


def epsilon_at(step: int, config: DqnConfig) -> float:
    """Return the chance of a random choice at a step: a line, then constant."""
    way = min(step / config.epsilon_steps, 1.0)
    return config.epsilon_first + way * (config.epsilon_last - config.epsilon_first)


def learning_rate_at(step: int, config: DqnConfig) -> float:
    """Return the learning rate at a step: a line over the first training, then constant."""
    way = min(step / config.steps, 1.0)
    return config.learning_rate + way * (config.final_learning_rate - config.learning_rate)


@dataclass
class Figures:
    """What a training has come to since the last report."""

    rewards: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def report(self, epsilon: float) -> dict[str, float]:
        """Return mean reward, loss and chance of a random choice, and begin anew."""
        told = {"epsilon": epsilon}
        told |= {"reward": float(np.mean(self.rewards))} if self.rewards else {}
        told |= {"loss": float(np.mean(self.losses))} if self.losses else {}
        self.rewards, self.losses = [], []
        return told


class Agent:
    """A dueling double DQN with its replay, its account and the trades it has learnt.

    Args:
        config: everything there is to choose.
        rng: all of its randomness; its state is kept and restored with the agent.
        horizon: rows a trade is held at most.
    """

    def __init__(self, config: DqnConfig, rng: np.random.Generator, horizon: int) -> None:
        self._config = config
        self._rng = rng
        self._horizon = horizon
        self.network = DoubleDqn(config, len(STATE), len(SHARES), int(rng.integers(2**31)))
        self.replay = Replay(config.replay, len(STATE))
        self.steps = 0
        self.account = Account()
        self.learnt_until: TradeKey | None = None
        self._figures = Figures()

    # Learning

    def train(self, trades: Trades, training: Training) -> None:
        """Walk random episodes of a history until `steps` trades have been walked.

        Raises:
            TrainingError: no trade is followed by another, or the loss diverged.
        """
        config = self._config
        world = self._world(trades, None)
        reported = saved = self.steps
        while self.steps < config.steps:
            seen, _ = world.reset(seed=int(self._rng.integers(2**31)))
            self._walk(world, seen, config.steps - self.steps)
            if self.steps - reported >= config.report_steps:
                reported = self.steps
                figures = self._figures.report(epsilon_at(self.steps, config))
                training.progress(min(self.steps, config.steps), config.steps, **figures)
            if self.steps - saved >= config.checkpoint_steps:
                saved = self.steps
                training.checkpoints.save(self.files(config.replay))
        self.learnt_until = trades.key(len(trades) - 1)
        self.account = Account()

    def learn(self, trades: Trades, training: Training) -> int:
        """Learn the trades that closed since the last one learnt, in their order, each once.

        Every trade is a step, taken with the chance of a random choice the agent has come to.
        The newest trade waits until the next one has closed: what follows it is not known yet.

        Returns:
            How many trades were learnt.
        """
        newer = trades if self.learnt_until is None else trades.after(self.learnt_until)
        if len(newer) < 2:
            return 0
        followers = np.append(np.arange(1, len(newer)), -1)
        world = self._world(newer, followers)
        before = self.steps
        done = 0
        while done < len(newer) - 1:
            account = Account() if self.account.is_ruined else self.account
            seen, _ = world.reset(seed=0, options={"start": done, "account": account})
            self._walk(world, seen, len(newer) - 1 - done)
            self.account = world.account
            done = self.steps - before
            figures = self._figures.report(epsilon_at(self.steps, self._config))
            training.progress(done, len(newer) - 1, **figures)
        self.learnt_until = newer.key(len(newer) - 2)
        return done

    def _world(self, trades: Trades, followers: np.ndarray | None) -> TradeEnvironment:
        try:
            return TradeEnvironment(trades, self._config, followers)
        except ValueError as error:
            raise TrainingError(
                str(error), where="sizer dqn", hint="Train on a longer history"
            ) from error

    def _walk(self, world: TradeEnvironment, seen: Observation, most: int) -> None:
        """Take up to `most` steps of an episode, learning after each."""
        for _ in range(most):
            action = self.choose(seen)
            follower, reward, terminated, truncated, info = world.step(action)
            self.remember(seen, action, reward, follower, info["rewards"], terminated=terminated)
            self.steps += 1
            self._figures.rewards.append(reward)
            self.update()
            seen = follower
            if terminated or truncated:
                return

    def choose(self, seen: Observation) -> int:
        """Return a random action with the chance of the step, else the best known."""
        if self._rng.random() < epsilon_at(self.steps, self._config):
            return int(self._rng.integers(len(SHARES)))
        return int(self.network.values(seen[None])[0].argmax())

    def remember(
        self,
        seen: Observation,
        action: int,
        reward: float,
        follower: Observation,
        every: np.ndarray,
        *,
        terminated: bool,
    ) -> None:
        """Remember a step, and where `every_action` says so, what the others were worth.

        A terminated step is remembered alone: with another size something may have been left.
        """
        alone = terminated or not self._config.every_action
        actions = np.array([action]) if alone else np.arange(len(every))
        rewards = np.array([reward]) if alone else every
        count = len(actions)
        self.replay.add(
            Batch(
                np.broadcast_to(seen, (count, len(seen))),
                actions,
                rewards.astype(np.float32),
                np.broadcast_to(follower, (count, len(follower))),
                np.full(count, float(terminated), np.float32),
            )
        )

    def update(self) -> None:
        """Learn from batches of what is remembered, once there is enough of it."""
        if len(self.replay) < self._config.learning_starts:
            return
        rate = learning_rate_at(self.steps, self._config)
        for _ in range(self._config.updates_per_step):
            batch = self.replay.sample(self._rng, self._config.batch)
            self._figures.losses.append(self.network.learn(batch, rate))

    # Keeping

    def files(self, remembered: int) -> dict[str, bytes]:
        """Return all that is needed to go on, with so many of the newest transitions."""
        tensors = self.network.tensors()
        newest = self.replay.newest(remembered)
        tensors |= {f"replay.{name}": array for name, array in newest.items()}
        progress = {
            "schema": schema_of(self._config),
            "horizon": self._horizon,
            "steps": self.steps,
            "equity": self.account.equity,
            "highest": self.account.highest,
            "learnt_until": self.learnt_until,
            "rng": self._rng.bit_generator.state,
        }
        return {
            POLICY: packed(self.network.policy()),
            AGENT: packed(tensors),
            PROGRESS: json.dumps(progress, sort_keys=True).encode(),
        }

    @classmethod
    def restored(
        cls, config: DqnConfig, files: Mapping[str, bytes], rng: np.random.Generator, horizon: int
    ) -> "Agent":
        """Return the agent whose files were kept; `rng` goes on from where its own stood.

        Raises:
            ArtifactError: they are damaged, or were kept with other options.
        """
        where = "sizer dqn"
        absent = [name for name in (AGENT, PROGRESS) if name not in files]
        if absent:
            raise ArtifactError(f"{', '.join(absent)} is missing", where=where)
        progress = read_progress(files[PROGRESS])
        if (progress.get("schema"), progress.get("horizon")) != (schema_of(config), horizon):
            raise ArtifactError("it was kept with other options, or another horizon", where=where)
        tensors = unpacked(files[AGENT])
        agent = cls(config, rng, horizon)
        try:
            agent.network.restore(tensors)
            replay = {n.removeprefix("replay."): t for n, t in tensors.items() if "replay." in n}
            agent.replay.restore(replay)
            agent.steps = int(progress["steps"])
            agent.account = Account(float(progress["equity"]), float(progress["highest"]))
            agent.learnt_until = _key(progress["learnt_until"])
            rng.bit_generator.state = progress["rng"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"it does not fit together: {error}", where=where) from error
        return agent


def _key(told: Any) -> TradeKey | None:  # noqa: ANN401  # a JSON value
    if told is None:
        return None
    closed, opened, symbol = told
    return int(closed), int(opened), str(symbol)
