"""Training of the network: AdamW, cosine annealing, early stopping and checkpoints."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import OutOfMemoryError, Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from weft.components.trained import Training
from weft.foundation.errors import TrainingError
from weft_plugins.checkpoints import Checkpoint, load_checkpoint, pack_tensors, unpack_tensors
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
from weft_plugins.torch_runtime import (
    cpu_threads,
    devices_for,
    on_first_with_room,
    to_arrays,
    to_tensors,
)

VERSION: Final = 2
"""Version of the state in a checkpoint."""

_TENSORS: Final = "training.safetensors"
_SEEDS: Final = 2**62
_WEIGHTS, _MASKS, _EPOCHS = range(3)
"""Streams of random numbers derived from one seed."""

_VALIDATION_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class History:
    """Losses of the finished epochs.

    Attributes:
        loss: mean training loss of each epoch.
        validation: validation loss after each epoch.
        best: number of the epoch with the smallest validation loss; -1 before the first.
    """

    loss: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best: int = -1

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
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
        """Return the latest losses, for the progress bar."""
        if not self.epochs:
            return {}
        return {
            "loss": self.loss[-1],
            "validation": self.validation[-1],
            "best": self.validation[self.best],
        }


class TrainingState:
    """Network, optimizer and schedule of one training, and the best weights so far."""

    def __init__(self, network: Network, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.best: dict[str, Tensor] = {}
        self.copy_to_best()

    def copy_to_best(self) -> None:
        """Copy the current weights to `best`."""
        self.best = {name: value.clone() for name, value in self.network.state_dict().items()}

    def restore_best(self) -> None:
        """Set the network to the best weights."""
        self.network.load_state_dict(self.best)

    def checkpoint(self, history: History, seed: int) -> Checkpoint:
        """Return the state as a checkpoint."""
        optimizer = self.optimizer.state_dict()
        moments = {
            f"optimizer.{number}.{name}": value
            for number, values in optimizer["state"].items()
            for name, value in values.items()
        }
        arrays = to_arrays(self.network.state_dict(), "weights.")
        arrays |= to_arrays(self.best, "best.") | to_arrays(moments)
        state = {
            **_made_with(seed),
            "history": asdict(history),
            "rates": [group["lr"] for group in optimizer["param_groups"]],
            "scheduler": self.scheduler.state_dict(),
        }
        return Checkpoint(state, {_TENSORS: pack_tensors(arrays)})

    def resume(self, checkpoint: Checkpoint | None, seed: int, where: str) -> History:
        """Load a checkpoint, and return the history of its epochs.

        Without a checkpoint of this version, torch, seed and architecture, the state does not
        change and the history is empty.
        """
        if checkpoint is None or not _made_with(seed).items() <= checkpoint.state.items():
            return History()
        arrays = unpack_tensors(checkpoint.files[_TENSORS], _TENSORS, where)
        initial = self._parts()
        try:
            self._use(
                to_tensors(arrays, "weights."),
                _optimizer_state(self.optimizer, checkpoint, to_tensors(arrays, "optimizer.")),
                dict(checkpoint.state["scheduler"]),
            )
        except OutOfMemoryError:
            # The checkpoint is sound: another device may have room for it.
            raise
        except (LookupError, TypeError, ValueError, RuntimeError):
            self._use(*initial)
            return History()
        device = next(self.network.parameters()).device
        best = to_tensors(arrays, "best.")
        self.best = {name: value.to(device) for name, value in best.items()}
        losses = checkpoint.state["history"]
        return History(tuple(losses["loss"]), tuple(losses["validation"]), losses["best"])

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        parts = (self.network, self.optimizer, self.scheduler)
        network, optimizer, scheduler = (deepcopy(part.state_dict()) for part in parts)
        return network, optimizer, scheduler

    def _use(
        self, network: dict[str, Any], optimizer: dict[str, Any], scheduler: dict[str, Any]
    ) -> None:
        self.network.load_state_dict(network)
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(scheduler)


def _made_with(seed: int) -> dict[str, Any]:
    """Return the values that must agree for a checkpoint to be loaded."""
    return {"version": VERSION, "torch": str(torch.__version__), "seed": seed}


def _optimizer_state(
    optimizer: Optimizer, checkpoint: Checkpoint, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """Return the state of an optimizer from a checkpoint's moments and learning rates."""
    groups = optimizer.state_dict()["param_groups"]
    for group, rate in zip(groups, checkpoint.state["rates"], strict=True):
        group["lr"] = rate
    moments: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        number, name = path.split(".")
        moments.setdefault(int(number), {})[name] = value
    return {"state": moments, "param_groups": groups}


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network.

    Attributes:
        network: network with the weights of the best epoch on the validation rows.
        masks: dropout masks of every forecast: 1 keeps, 0 drops.
        seed: seed of all random numbers of the training.
        history: losses of each epoch.
    """

    network: Network
    masks: Masks
    seed: int
    history: History


def train_network(
    samples: Samples, build: Architecture, options: Options, training: Training, where: str
) -> Fitted:
    """Train a network, continuing a stopped training of the same kind.

    A checkpoint is saved after each epoch. The random numbers of an epoch follow from the seed and
    the number of the epoch, so a resumed training gives the same weights as one that was never
    stopped. A training that runs out of GPU memory continues on the CPU from its last checkpoint.

    Raises:
        TrainingError: the loss is no longer finite.
        ComponentError: the device is absent, or has too little memory.
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
        self.state = TrainingState(self.network, self.optimizer, self.scheduler)

    def finish(self) -> Fitted:
        """Run the remaining epochs."""
        checkpoint = load_checkpoint(self.training.checkpoints, self.where)
        history = self.state.resume(checkpoint, self.seed, self.where)
        while not self._is_over(history):
            epoch = history.epochs
            loss = self._learn(epoch, history)
            validation = self._validate(epoch)
            history = history.after(loss, validation)
            if history.best == epoch:
                self.state.copy_to_best()
            self.scheduler.step()
            checkpoint = self.state.checkpoint(history, self.seed)
            self.training.checkpoints.save(checkpoint.to_files())
        total = float(self.options.epochs)
        self.training.progress(total, total, **history.figures())
        self.state.restore_best()
        return Fitted(self.network.cpu().eval(), self.masks, self.seed, history)

    def _is_over(self, history: History) -> bool:
        waited = history.epochs - 1 - history.best
        return history.epochs >= self.options.epochs or waited >= self.options.patience

    def _learn(self, epoch: int, history: History) -> float:
        """Take one optimizer step for each batch of the epoch, and return the mean loss."""
        rng = np.random.default_rng(_stream(self.seed, _EPOCHS, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(_SEEDS)))
        cells = self.samples.of_epoch(rng)
        self.network.train()
        total, done = 0.0, 0
        for inputs, outcome in self._batches(cells, self.options.batch_size):
            masks = draw_masks(self.build, len(inputs), 1, generator)
            path = self.network(inputs, masks.to(self.device, torch.float32))
            loss = -self.noise.log_likelihood(outcome, path).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)
            figure = float(loss.detach())
            self._expect_finite(figure, epoch)
            self._expect_finite(float(norm), epoch)
            self.optimizer.step()
            total, done = total + figure * len(inputs), done + len(inputs)
            figures = history.figures() | {"loss": total / done}
            progress = epoch + done / len(cells)
            self.training.progress(progress, float(self.options.epochs), **figures)
        return total / done

    def _validate(self, epoch: int) -> float:
        """Return the validation loss of the mixture of all passes, as forecasts use it."""
        masks = self.masks.to(self.device, torch.float32)
        total = 0.0
        self.network.eval()
        with torch.inference_mode():
            for inputs, outcome in self._batches(self.samples.validation, _VALIDATION_BATCH):
                likelihood = mixture_log_likelihood(
                    self.noise, outcome, self.network(inputs, masks)
                )
                total -= float(likelihood.mean(dim=1).sum())
        loss = total / len(self.samples.validation)
        self._expect_finite(loss, epoch)
        return loss

    def _batches(self, cells: Cells, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield windows and the paths after them, on the device."""
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
