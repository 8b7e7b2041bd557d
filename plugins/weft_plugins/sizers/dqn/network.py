"""The dueling network and its double Q-learning. Imported only where torch is there."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weft.foundation.errors import TrainingError
from weft_plugins.sizers.dqn.config import DqnConfig
from weft_plugins.sizers.dqn.replay import Batch

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class DuelingNetwork(nn.Module):
    """Q(s, a) = V(s) + A(s, a) - mean of A(s, .), over shared hidden layers with ReLU.

    Wang et al., Dueling Network Architectures for Deep Reinforcement Learning (2016), equation 9.

    Args:
        inputs: numbers in a state.
        hidden: neurons in each hidden layer.
        actions: to choose from.
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

    van Hasselt, Guez and Silver, Deep Reinforcement Learning with Double Q-learning (2016).
    """
    best = online_next.argmax(dim=1, keepdim=True)
    following = target_next.gather(1, best).squeeze(1)
    return rewards + discount * (1.0 - terminated) * following


def soft_update(target: nn.Module, online: nn.Module, share: float) -> None:
    """Move each weight of `target` by `share` of its way towards `online`."""
    with torch.no_grad():
        for kept, new in zip(target.parameters(), online.parameters(), strict=True):
            kept.lerp_(new, share)


class DoubleDqn:
    """A dueling double deep Q-network that learns from batches of transitions.

    Args:
        config: hidden layers, discount, rates.
        inputs: numbers in a state.
        actions: to choose from.
        seed: of the first weights.
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
        """Return Q of each action by the online network (n, actions)."""
        with torch.no_grad():
            values: NDArray[np.float32] = self.online(torch.from_numpy(states)).numpy()
        return values

    def learn(self, batch: Batch, learning_rate: float) -> float:
        """Take one step down the Huber loss of a batch, and return that loss.

        Raises:
            TrainingError: the loss is not a number any more.
        """
        states, followers = torch.from_numpy(batch.states), torch.from_numpy(batch.followers)
        with torch.no_grad():
            aims = double_targets(
                torch.from_numpy(batch.rewards),
                torch.from_numpy(batch.terminated),
                self.online(followers),
                self.target(followers),
                self._config.discount,
            )
        taken = torch.from_numpy(batch.actions)[:, None]
        said = self.online(states).gather(1, taken).squeeze(1)
        loss = nn.functional.huber_loss(said, aims, delta=1.0)
        size = float(loss.detach())
        if not np.isfinite(size):
            raise TrainingError(
                f"the loss became {size}",
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
        return size

    def policy(self) -> dict[str, NDArray[Any]]:
        """Return the target network's weights: the average over some hundred updates."""
        return _arrays(self.target)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Return everything that is needed to go on learning, by name."""
        kept = {f"online.{name}": array for name, array in _arrays(self.online).items()}
        kept |= {f"target.{name}": array for name, array in _arrays(self.target).items()}
        for name, parameter in self.online.named_parameters():
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                kept[f"adam.{moment}.{name}"] = value.detach().numpy().copy()
        return kept

    def restore(self, kept: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `tensors` returned.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: one has another shape.
        """
        for part, network in (("online", self.online), ("target", self.target)):
            found = {n: torch.from_numpy(kept[f"{part}.{n}"].copy()) for n in network.state_dict()}
            network.load_state_dict(found)
        if not any(name.startswith("adam.") for name in kept):
            return
        for name, parameter in self.online.named_parameters():
            self._optimizer.state[parameter] = {
                moment: torch.from_numpy(kept[f"adam.{moment}.{name}"].copy())
                for moment in _MOMENTS
            }


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return weights, which are drawn to 0, and biases, which are not.

    What holds for every state can then be learnt freely, what holds for some has to show.
    """
    named = list(network.named_parameters())
    weights = [parameter for name, parameter in named if name.endswith("weight")]
    biases = [parameter for name, parameter in named if name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]


def _arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
