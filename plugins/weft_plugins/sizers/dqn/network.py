"""Dueling network and its double Q-learning; imports torch."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weft.foundation.errors import TrainingError
from weft_plugins.checkpoints import Arrays
from weft_plugins.sizers.dqn.config import DqnConfig
from weft_plugins.sizers.dqn.replay import Batch
from weft_plugins.torch_runtime import to_arrays, to_tensors

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class DuelingNetwork(nn.Module):
    """Network with Q(s, a) = V(s) + A(s, a) - mean of A(s, .), over hidden layers with ReLU.

    Wang et al. (2016), Dueling Network Architectures for Deep Reinforcement Learning, equation 9.

    Args:
        inputs: numbers of a state.
        hidden: neurons in each hidden layer.
        actions: number of actions.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], actions: int) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        pairs = pairwise(widths)
        self.hidden = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in pairs)
        self.value = nn.Linear(widths[-1], 1)
        self.advantage = nn.Linear(widths[-1], actions)

    def forward(self, states: Tensor) -> Tensor:
        """Return Q of each action (n, actions)."""
        for layer in self.hidden:
            states = torch.relu(layer(states))
        advantage: Tensor = self.advantage(states)
        values: Tensor = self.value(states) + advantage - advantage.mean(dim=1, keepdim=True)
        return values


def double_targets(
    rewards: Tensor, terminated: Tensor, online_next: Tensor, target_next: Tensor, discount: float
) -> Tensor:
    """Return r + discount * (1 - terminated) * Q_target(s', argmax over a of Q_online(s', a)).

    van Hasselt, Guez and Silver (2016), Deep Reinforcement Learning with Double Q-learning.
    """
    best = online_next.argmax(dim=1, keepdim=True)
    following = target_next.gather(1, best).squeeze(1)
    return rewards + discount * (1.0 - terminated) * following


def soft_update(target: nn.Module, online: nn.Module, share: float) -> None:
    """Move each weight of `target` by a share of the distance to `online`."""
    with torch.no_grad():
        for weight, new in zip(target.parameters(), online.parameters(), strict=True):
            weight.lerp_(new, share)


class DoubleDqn:
    """Dueling double deep Q-network that learns from batches of transitions.

    Args:
        config: hidden layers, discount, rates.
        inputs: numbers of a state.
        actions: number of actions.
        seed: seed of the initial weights.
    """

    def __init__(self, config: DqnConfig, inputs: int, actions: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.online = DuelingNetwork(inputs, config.hidden, actions)
            self.target = DuelingNetwork(inputs, config.hidden, actions)
        self.target.load_state_dict(self.online.state_dict())
        self._optimizer = torch.optim.AdamW(
            _groups(self.online, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self._config = config

    def values(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return Q of each action from the online network (n, actions)."""
        with torch.no_grad():
            values: NDArray[np.float32] = self.online(torch.from_numpy(states)).numpy()
        return values

    def learn(self, batch: Batch, learning_rate: float) -> float:
        """Take one optimizer step on the Huber loss of a batch, and return that loss.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        states, followers = torch.from_numpy(batch.states), torch.from_numpy(batch.followers)
        with torch.no_grad():
            targets = double_targets(
                torch.from_numpy(batch.rewards),
                torch.from_numpy(batch.terminated),
                self.online(followers),
                self.target(followers),
                self._config.discount,
            )
        actions = torch.from_numpy(batch.actions)[:, None]
        values = self.online(states).gather(1, actions).squeeze(1)
        loss = nn.functional.huber_loss(values, targets, delta=1.0)
        figure = float(loss.detach())
        if not np.isfinite(figure):
            raise TrainingError(
                f"the loss became {figure}",
                where="sizer dqn",
                hint="Lower learning_rate, and look for extreme prices in the history",
            )
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(self.online.parameters(), self._config.gradient_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        soft_update(self.target, self.online, self._config.soft_update)
        return figure

    def policy(self) -> dict[str, NDArray[Any]]:
        """Return the weights of the target network, an average over some hundred updates."""
        return to_arrays(self.target.state_dict())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return networks and optimizer as arrays by name, for `restore`."""
        arrays = to_arrays(self.online.state_dict(), "online.")
        arrays |= to_arrays(self.target.state_dict(), "target.")
        for name, parameter in self.online.named_parameters():
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                arrays[f"adam.{moment}.{name}"] = value.detach().numpy().copy()
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Load networks and optimizer from the arrays of `arrays`.

        Raises:
            KeyError: an array is missing.
            RuntimeError: an array is missing, or has another shape.
        """
        self.online.load_state_dict(to_tensors(arrays, "online."))
        self.target.load_state_dict(to_tensors(arrays, "target."))
        moments = to_tensors(arrays, "adam.")
        if not moments:
            return
        for name, parameter in self.online.named_parameters():
            self._optimizer.state[parameter] = {
                moment: moments[f"{moment}.{name}"] for moment in _MOMENTS
            }


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: weights with weight decay, biases without.

    Biases, which act on every state alike, are learnt freely; differences between states need
    evidence.
    """
    named = list(network.named_parameters())
    weights = [parameter for name, parameter in named if name.endswith("weight")]
    biases = [parameter for name, parameter in named if name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
