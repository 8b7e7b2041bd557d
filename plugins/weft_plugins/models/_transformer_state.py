"""The state of a training between two epochs, and files to keep it in."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from weft_plugins.models._transformer_network import Network

VERSION: Final = 1
_TENSORS, _NUMBERS = "training.safetensors", "training.json"


@dataclass(frozen=True, slots=True)
class History:
    """Losses of the epochs done so far.

    Attributes:
        loss: mean of each epoch, while learning.
        validation: after each epoch, on the rows kept to stop by.
        best: number of the epoch with the smallest validation loss; -1 before the first.
    """

    loss: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best: int = -1

    @property
    def epochs(self) -> int:
        """How many are done."""
        return len(self.loss)

    def after(self, loss: float, validation: float) -> "History":
        """Return the history with one more epoch."""
        better = self.best < 0 or validation < self.validation[self.best]
        return replace(
            self,
            loss=(*self.loss, loss),
            validation=(*self.validation, validation),
            best=self.epochs if better else self.best,
        )

    def figures(self) -> dict[str, float]:
        """Return the latest losses, for whoever watches."""
        if not self.epochs:
            return {}
        return {
            "loss": self.loss[-1],
            "validation": self.validation[-1],
            "best": self.validation[self.best],
        }


class State:
    """Weights now and at their best, optimizer and schedule of one training."""

    def __init__(self, network: Network, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.best: dict[str, Tensor] = {}
        self.keep_best()

    def keep_best(self) -> None:
        """Remember the weights as they are."""
        self.best = {name: value.clone() for name, value in self.network.state_dict().items()}

    def use_best(self) -> None:
        """Go back to the weights remembered."""
        self.network.load_state_dict(self.best)


def write_state(state: State, history: History, seed: int) -> dict[str, bytes]:
    """Return a training's state as files."""
    inner = state.optimizer.state_dict()
    moments = {
        f"optimizer.{number}.{name}": value
        for number, values in inner["state"].items()
        for name, value in values.items()
    }
    weights = {f"weights.{name}": value for name, value in state.network.state_dict().items()}
    best = {f"best.{name}": value for name, value in state.best.items()}
    numbers = {
        "version": VERSION,
        "seed": seed,
        "history": asdict(history),
        "rates": [group["lr"] for group in inner["param_groups"]],
        "scheduler": state.scheduler.state_dict(),
    }
    tensors = dict(chain(weights.items(), best.items(), moments.items()))
    return {_TENSORS: save(tensors), _NUMBERS: json.dumps(numbers).encode()}


def read_state(state: State, files: Mapping[str, bytes] | None, seed: int) -> History:
    """Bring a training to the state that was kept, and return what came before.

    Where nothing usable was kept (nothing at all, by another version, from another seed, cut
    off), the training is left at its beginning.
    """
    if files is None:
        return History()
    try:
        tensors = load(files[_TENSORS])
        numbers = json.loads(files[_NUMBERS])
        if (numbers["version"], numbers["seed"]) != (VERSION, seed):
            return History()
        kept = numbers["history"]
        history = History(tuple(kept["loss"]), tuple(kept["validation"]), int(kept["best"]))
        _expect_same(_under("weights", tensors), state.network)
        _expect_same(_under("best", tensors), state.network)
        inner = _optimizer_state(state, tensors, numbers)
        schedule = dict(numbers["scheduler"])
    except (SafetensorError, KeyError, TypeError, ValueError):
        return History()
    state.network.load_state_dict(_under("weights", tensors))
    state.optimizer.load_state_dict(inner)
    state.scheduler.load_state_dict(schedule)
    device = next(state.network.parameters()).device
    state.best = {name: value.to(device) for name, value in _under("best", tensors).items()}
    return history


def _optimizer_state(
    state: State, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    inner = state.optimizer.state_dict()
    for group, rate in zip(inner["param_groups"], numbers["rates"], strict=True):
        group["lr"] = float(rate)
    found: dict[int, dict[str, Tensor]] = {}
    for path, value in _under("optimizer", tensors).items():
        number, name = path.split(".")
        found.setdefault(int(number), {})[name] = value
    return {"state": found, "param_groups": inner["param_groups"]}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def _expect_same(weights: Mapping[str, Tensor], network: Network) -> None:
    shapes = {name: value.shape for name, value in weights.items()}
    if shapes != {name: value.shape for name, value in network.state_dict().items()}:
        raise ValueError("weights of another network")
