"""Agent: walks through trades, learns from them, and can be saved and restored at any step."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.components.trained import Training
from weft.foundation.errors import ArtifactError, TrainingError
from weft_plugins.checkpoints import Checkpoint, pack_tensors, unpack_tensors
from weft_plugins.sizers.dqn.config import SHARES, STATE, DqnConfig, schema_of
from weft_plugins.sizers.dqn.environment import Observation, TradeEnvironment
from weft_plugins.sizers.dqn.network import DoubleDqn
from weft_plugins.sizers.dqn.policy import AGENT, POLICY
from weft_plugins.sizers.dqn.replay import Batch, Replay
from weft_plugins.sizers.dqn.reward import Account
from weft_plugins.sizers.dqn.trades import TradeKey, Trades

_WHERE = "sizer dqn"


def epsilon_at(step: int, config: DqnConfig) -> float:
    """Return the probability of a random action at a step: linear, then constant."""
    progress = min(step / config.epsilon_steps, 1.0)
    return config.epsilon_first + progress * (config.epsilon_last - config.epsilon_first)


def learning_rate_at(step: int, config: DqnConfig) -> float:
    """Return the learning rate at a step: linear over the first training, then constant."""
    progress = min(step / config.steps, 1.0)
    return config.learning_rate + progress * (config.final_learning_rate - config.learning_rate)


@dataclass
class Figures:
    """Rewards and losses since the last report."""

    rewards: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def report(self, epsilon: float) -> dict[str, float]:
        """Return mean reward, mean loss and `epsilon`, and clear the figures."""
        report = {"epsilon": epsilon}
        report |= {"reward": float(np.mean(self.rewards))} if self.rewards else {}
        report |= {"loss": float(np.mean(self.losses))} if self.losses else {}
        self.rewards, self.losses = [], []
        return report


class Agent:
    """Dueling double DQN with its replay memory and account.

    Args:
        config: options of the sizer.
        rng: source of all random numbers; its state is saved and restored with the agent.
        horizon: longest holding time of a trade, rows.
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
        """Train on random episodes of a history, `steps` trades in total.

        Raises:
            TrainingError: no trade is followed by another, or the loss diverged.
        """
        config = self._config
        world = self._world(trades, None)
        reported = saved = self.steps
        while self.steps < config.steps:
            state, _ = world.reset(seed=int(self._rng.integers(2**31)))
            self._walk(world, state, config.steps - self.steps)
            if self.steps - reported >= config.report_steps:
                reported = self.steps
                figures = self._figures.report(epsilon_at(self.steps, config))
                training.progress(min(self.steps, config.steps), config.steps, **figures)
            if self.steps - saved >= config.checkpoint_steps:
                saved = self.steps
                training.checkpoints.save(self.checkpoint(config.replay).to_files())
        self.learnt_until = trades.key(len(trades) - 1)
        self.account = Account()

    def learn(self, trades: Trades, training: Training) -> int:
        """Learn each trade that closed since the last learnt one, once and in order.

        Every trade is a step with the current probability of a random action. The newest trade
        waits until the next one has closed, because its follower is not known yet.

        Returns:
            Number of trades learnt.
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
            state, _ = world.reset(seed=0, options={"start": done, "account": account})
            self._walk(world, state, len(newer) - 1 - done)
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
                str(error), where=_WHERE, hint="Train on a longer history"
            ) from error

    def _walk(self, world: TradeEnvironment, state: Observation, most: int) -> None:
        """Take up to `most` steps of an episode, and learn after each."""
        for _ in range(most):
            action = self.choose(state)
            follower, reward, terminated, truncated, info = world.step(action)
            self.remember(state, action, reward, follower, info["rewards"], terminated=terminated)
            self.steps += 1
            self._figures.rewards.append(reward)
            self.update()
            state = follower
            if terminated or truncated:
                return

    def choose(self, state: Observation) -> int:
        """Return a random action with the probability of the step, otherwise the best one."""
        if self._rng.random() < epsilon_at(self.steps, self._config):
            return int(self._rng.integers(len(SHARES)))
        return int(self.network.values(state[None])[0].argmax())

    def remember(
        self,
        state: Observation,
        action: int,
        reward: float,
        follower: Observation,
        rewards: np.ndarray,
        *,
        terminated: bool,
    ) -> None:
        """Add a step to the replay memory; with `every_action`, also those of the other actions.

        A step that ruins the account is added with its action only: another size might not have
        ruined it.
        """
        single = terminated or not self._config.every_action
        actions = np.array([action]) if single else np.arange(len(rewards))
        rewards = np.array([reward]) if single else rewards
        count = len(actions)
        self.replay.add(
            Batch(
                np.broadcast_to(state, (count, len(state))),
                actions,
                rewards.astype(np.float32),
                np.broadcast_to(follower, (count, len(follower))),
                np.full(count, float(terminated), np.float32),
            )
        )

    def update(self) -> None:
        """Learn from batches of the replay memory, once it holds enough transitions."""
        if len(self.replay) < self._config.learning_starts:
            return
        rate = learning_rate_at(self.steps, self._config)
        for _ in range(self._config.updates_per_step):
            batch = self.replay.sample(self._rng, self._config.batch)
            self._figures.losses.append(self.network.learn(batch, rate))

    # Saving

    def checkpoint(self, transitions: int) -> Checkpoint:
        """Return the agent as a checkpoint, with up to so many of the newest transitions."""
        arrays = self.network.arrays()
        newest = self.replay.newest(transitions)
        arrays |= {f"replay.{name}": array for name, array in newest.items()}
        state = {
            "schema": schema_of(self._config),
            "horizon": self._horizon,
            "steps": self.steps,
            "equity": self.account.equity,
            "highest": self.account.highest,
            "learnt_until": self.learnt_until,
            "rng": self._rng.bit_generator.state,
        }
        files = {POLICY: pack_tensors(self.network.policy()), AGENT: pack_tensors(arrays)}
        return Checkpoint(state, files)

    @classmethod
    def restored(
        cls, config: DqnConfig, files: Mapping[str, bytes], rng: np.random.Generator, horizon: int
    ) -> "Agent":
        """Return the agent of a checkpoint's files; `rng` takes the saved state.

        Raises:
            ArtifactError: the files are damaged, or of other options.
        """
        checkpoint = Checkpoint.from_files(files, _WHERE)
        state = checkpoint.state
        if (state.get("schema"), state.get("horizon")) != (schema_of(config), horizon):
            raise ArtifactError("was saved with other options or another horizon", where=_WHERE)
        agent = cls(config, rng, horizon)
        try:
            arrays = unpack_tensors(checkpoint.files[AGENT], AGENT, _WHERE)
            agent.network.restore(arrays)
            replay = {n.removeprefix("replay."): a for n, a in arrays.items() if "replay." in n}
            agent.replay.restore(replay)
            agent.steps = int(state["steps"])
            agent.account = Account(float(state["equity"]), float(state["highest"]))
            agent.learnt_until = _key(state["learnt_until"])
            rng.bit_generator.state = state["rng"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ArtifactError(f"parts do not fit together: {error}", where=_WHERE) from error
        return agent


def _key(value: Any) -> TradeKey | None:  # noqa: ANN401  # a JSON value
    if value is None:
        return None
    closed, opened, symbol = value
    return int(closed), int(opened), str(symbol)
