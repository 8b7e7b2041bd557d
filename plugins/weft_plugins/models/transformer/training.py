"""Training the network: AdamW, cosine annealing, early stopping, and going on where it stopped."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import chain
from math import isfinite
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import OutOfMemoryError, Size, Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from weft.components.trained import Training
from weft.foundation.errors import TrainingError
from weft_plugins.models.transformer.network import (
    NOISES,
    Architecture,
    Masks,
    Network,
    build_network,
    draw_masks,
    mixture_log_likelihood,
)
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import Samples
from weft_plugins.models.transformer.windows import Cells
from weft_plugins.torch_runtime import cpu_threads, devices_for, on_first_with_room

VERSION: Final = 1
_ROUNDING: Final = 1.0 + 1e-9
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
    off, with a number that no training leaves behind), the training is left at its beginning.
    """
    if files is None:
        return History()
    beginning = _all_of(state)
    try:
        tensors = load(files[_TENSORS])
        numbers = json.loads(files[_NUMBERS])
        if (numbers["version"], numbers["seed"]) != (VERSION, seed):
            return History()
        history = _history(numbers["history"])
        weights, best = _under("weights", tensors), _under("best", tensors)
        _expect_same(weights, state.network)
        _expect_same(best, state.network)
        inner = _optimizer_state(state, tensors, numbers)
        schedule = _schedule(state, numbers["scheduler"], history)
        _use(state, (weights, inner, schedule))
    except OutOfMemoryError:
        # Nothing is wrong with what was kept: another device may have room for it.
        raise
    except (SafetensorError, LookupError, TypeError, ValueError, ArithmeticError, RuntimeError):
        _use(state, beginning)
        return History()
    device = next(state.network.parameters()).device
    state.best = {name: value.to(device) for name, value in best.items()}
    return history


_Parts: TypeAlias = tuple[Mapping[str, Any], dict[str, Any], dict[str, Any]]
"""States of a network, its optimizer and its schedule."""


def _all_of(state: State) -> _Parts:
    parts = (state.network, state.optimizer, state.scheduler)
    network, optimizer, scheduler = (deepcopy(part.state_dict()) for part in parts)
    return network, optimizer, scheduler


def _use(state: State, parts: _Parts) -> None:
    network, optimizer, scheduler = parts
    state.network.load_state_dict(network)
    state.optimizer.load_state_dict(optimizer)
    state.scheduler.load_state_dict(scheduler)


def _history(kept: Mapping[str, Any]) -> History:
    loss, validation = (_finite(kept[name]) for name in ("loss", "validation"))
    best = kept["best"]
    if type(best) is not int or len(loss) != len(validation) or best not in range(len(loss)):
        raise ValueError("losses that do not fit together")
    return History(loss, validation, best)


def _schedule(state: State, kept: Mapping[str, Any], history: History) -> dict[str, Any]:
    """Return the schedule's state, which the number of epochs decides but for its rates."""
    now = state.scheduler.state_dict()
    moving = {"last_epoch": history.epochs, "_step_count": history.epochs + 1}
    rates = _rates(state, kept["_last_lr"])
    expected = now | moving | {"_last_lr": rates}
    if dict(kept) != expected:
        raise ValueError("another schedule")
    return expected


def _optimizer_state(
    state: State, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    inner = state.optimizer.state_dict()
    rates = _rates(state, numbers["rates"])
    for group, rate in zip(inner["param_groups"], rates, strict=True):
        group["lr"] = rate
    shapes = [value.shape for group in state.optimizer.param_groups for value in group["params"]]
    found: dict[int, dict[str, Tensor]] = {}
    for path, value in _under("optimizer", tensors).items():
        number, name = path.split(".")
        _expect_moment(name, value, shapes[int(number)])
        found.setdefault(int(number), {})[name] = value
    if any(set(moments) != {"step", "exp_avg", "exp_avg_sq"} for moments in found.values()):
        raise ValueError("moments of another optimizer")
    return {"state": found, "param_groups": inner["param_groups"]}


def _expect_moment(name: str, value: Tensor, shape: Size) -> None:
    sound = value.shape == (() if name == "step" else shape) and bool(value.isfinite().all())
    least = {"step": 1.0, "exp_avg_sq": 0.0}.get(name)
    if not sound or (least is not None and bool((value < least).any())):
        raise ValueError(f"{name} of another optimizer")


def _rates(state: State, kept: Sequence[float]) -> list[float]:
    """Return learning rates, which are never above the one at the start."""
    rates = list(_finite(kept))
    for rate, group in zip(rates, state.optimizer.param_groups, strict=True):
        if not 0.0 <= rate <= group["initial_lr"] * _ROUNDING:
            raise ValueError("rates of another schedule")
    return rates


def _finite(values: Sequence[Any]) -> tuple[float, ...]:
    if not all(isinstance(value, int | float) and isfinite(value) for value in values):
        raise ValueError("numbers that are none")
    return tuple(float(value) for value in values)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}."): value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }


def _expect_same(weights: Mapping[str, Tensor], network: Network) -> None:
    own = {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}
    if own != {name: (value.shape, value.dtype) for name, value in weights.items()}:
        raise ValueError("weights of another network")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("weights that are no numbers")


_SEEDS = 2**62
_WEIGHTS, _MASKS, _EPOCHS = range(3)
"""Streams of random numbers that follow from one seed."""

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training came to.

    Attributes:
        network: with the weights of the epoch that did best on the validation rows.
        masks: 1 where kept, 0 where dropped: those of every forecast.
        seed: all of its randomness follows from.
        history: losses of each epoch.
    """

    network: Network
    masks: Masks
    seed: int
    history: History


def train_network(
    samples: Samples, build: Architecture, options: Options, training: Training, where: str
) -> Fitted:
    """Train a network; where an earlier training of the same kind was stopped, go on from there.

    After each epoch its whole state is kept. An epoch's random numbers follow from the seed and
    its number, so a training that was stopped and resumed gives the same weights as one that
    never was. One that runs out of GPU memory goes on on the CPU from the state kept
    last.

    Raises:
        TrainingError: the loss is no number any more.
        ComponentError: the device asked for is not there, or has too little memory.
    """
    seed = int(training.rng.integers(_SEEDS))

    def run(device: torch.device) -> Fitted:
        with cpu_threads(options.threads):
            return _Run(samples, build, options, training, where, device, seed).finish()

    return on_first_with_room(devices_for(options.device, where), run, where)


class _Run:
    """One training on one device."""

    def __init__(
        self,
        samples: Samples,
        build: Architecture,
        options: Options,
        training: Training,
        where: str,
        device: torch.device,
        seed: int,
    ) -> None:
        self.samples, self.build, self.options = samples, build, options
        self.training, self.where, self.device = training, where, device
        self.noise = NOISES[options.noise]
        self.seed = seed
        self.network = build_network(build, _stream(seed, _WEIGHTS)).to(device)
        generator = torch.Generator().manual_seed(_stream(seed, _MASKS))
        self.masks = draw_masks(build, 1, build.passes, generator)
        self.optimizer = AdamW(
            self.network.parameters(),
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
        )
        self.scheduler = CosineAnnealingLR(self.optimizer, T_max=options.epochs)
        self.state = State(self.network, self.optimizer, self.scheduler)

    def finish(self) -> Fitted:
        """Run the epochs that are left."""
        history = read_state(self.state, self.training.checkpoints.load(), self.seed)
        while not self._is_over(history):
            epoch = history.epochs
            loss = self._learn(epoch, history)
            validation = self._validate(epoch)
            history = history.after(loss, validation)
            if history.best == epoch:
                self.state.keep_best()
            self.scheduler.step()
            self.training.checkpoints.save(write_state(self.state, history, self.seed))
        total = float(self.options.epochs)
        self.training.progress(total, total, **history.figures())
        self.state.use_best()
        return Fitted(self.network.cpu().eval(), self.masks, self.seed, history)

    def _is_over(self, history: History) -> bool:
        waited = history.epochs - 1 - history.best
        return history.epochs >= self.options.epochs or waited >= self.options.patience

    def _learn(self, epoch: int, history: History) -> float:
        """Take one step for each batch of the epoch, and return the mean loss."""
        rng = np.random.default_rng(_stream(self.seed, _EPOCHS, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(_SEEDS)))
        cells = self.samples.of_epoch(rng)
        self.network.train()
        total, done = 0.0, 0
        for inputs, outcome in self._batches(cells, self.options.batch_size):
            masks = draw_masks(self.build, len(inputs), 1, generator)
            said = self.network(inputs, masks.to(self.device, torch.float32))
            loss = -self.noise.log_likelihood(outcome, said).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            steepness = nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
            figure = float(loss.detach())
            self._expect_finite(figure, epoch)
            self._expect_finite(float(steepness), epoch)
            self.optimizer.step()
            total, done = total + figure * len(inputs), done + len(inputs)
            part = epoch + done / len(cells)
            figures = history.figures() | {"loss": total / done}
            self.training.progress(part, float(self.options.epochs), **figures)
        return total / done

    def _validate(self, epoch: int) -> float:
        """Return the loss, on the validation rows, of the forecast as it will be made."""
        masks = self.masks.to(self.device, torch.float32)
        total = 0.0
        self.network.eval()
        with torch.inference_mode():
            for inputs, outcome in self._batches(self.samples.validation, _AT_ONCE):
                likelihood = mixture_log_likelihood(
                    self.noise, outcome, self.network(inputs, masks)
                )
                total -= float(likelihood.mean(dim=1).sum())
        loss = total / len(self.samples.validation)
        self._expect_finite(loss, epoch)
        return loss

    def _batches(self, cells: Cells, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows and the path that followed, on the device."""
        windows = self.samples.windows
        for start in range(0, len(cells), size):
            part = cells.pick(slice(start, start + size))
            inputs, volatility = windows.inputs(part)
            outcome = windows.targets(part, volatility, self.samples.horizon)
            yield self._tensor(inputs), self._tensor(outcome)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)

    def _expect_finite(self, figure: float, epoch: int) -> None:
        if not np.isfinite(figure):
            raise TrainingError(
                f"diverged: the loss or its gradient became {figure} in epoch {epoch + 1}",
                where=self.where,
                hint="Lower learning_rate or clip_norm",
            )


def _stream(seed: int, *path: int) -> int:
    """Return the seed of one stream of random numbers."""
    return int(np.random.default_rng([seed, *path]).integers(_SEEDS))
