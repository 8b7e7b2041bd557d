"""Training the network: AdamW, cosine annealing, early stopping, and going on where it stopped."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from weft.components.trained import Training
from weft.foundation.errors import TrainingError
from weft_plugins.models.transformer.device import cpu_threads, devices_for, on_first_with_room
from weft_plugins.models.transformer.network import (
    Architecture,
    Masks,
    Network,
    build_network,
    draw_masks,
)
from weft_plugins.models.transformer.noise import NOISES, mixture_log_likelihood
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import Samples
from weft_plugins.models.transformer.state import History, State, read_state, write_state
from weft_plugins.models.transformer.windows import Cells

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
