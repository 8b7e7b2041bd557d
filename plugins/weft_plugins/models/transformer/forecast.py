"""Forecasts of a trained network: the mixture of its passes for each window."""

import copy
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch

from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.models.transformer.kernels import (
    mixture_probabilities,
    mixture_quantiles,
    mixture_spread,
    run_lstm,
)
from weft_plugins.models.transformer.network import NOISES, Architecture, Masks, Network, Outputs
from weft_plugins.models.transformer.options import Options
from weft_plugins.models.transformer.samples import Samples
from weft_plugins.models.transformer.windows import Windows, cells_where
from weft_plugins.torch_runtime import (
    cpu_threads,
    devices_for,
    each_apart,
    on_first_with_room,
)

LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels of the quantiles of a forecast."""

COLUMNS: Final = ("mean", "probability_up", "epistemic", "aleatoric", *LEVELS)
"""Columns of `Forecaster.forecast`, in this order."""

BATCH: Final = 32
"""Windows of a batch."""

_CPU: Final = torch.device("cpu")
_INTERVALS: Final = {"50%": (0.25, 0.75), "90%": (0.05, 0.95)}
_LEAST: Final = 1e-12


class LstmWeights(NamedTuple):
    """Weights of the LSTM in the layout of `run_lstm`."""

    entering: FloatPanel
    returning: FloatPanel
    bias: Floats

    @classmethod
    def of(cls, lstm: torch.nn.LSTM) -> "LstmWeights":
        """Return the weights of a layer in double precision."""
        entering, returning, *biases = (
            parameter.detach().cpu().double().numpy() for parameter in lstm.parameters()
        )
        return cls(
            np.ascontiguousarray(entering.T),
            np.ascontiguousarray(returning.T),
            biases[0] + biases[1],
        )


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A trained network and its masks, ready for forecasts.

    Each window is computed separately, in double precision on one CPU thread: matrices of one
    shape, in memory aligned to 64 bytes. So its numbers depend on the window only (see
    `each_apart`).

    Attributes:
        build: architecture of the network.
        network: network in double precision.
        lstm: weights of its LSTM, for separate windows.
        masks: dropout mask of each pass, fixed in the artifact.
        options: options of the component.
        where: component, for error messages.
        means: mean of each input over the training windows (inputs,).
        separate: whether `forecast` computes each window separately.
    """

    build: Architecture
    network: Network
    lstm: LstmWeights
    masks: Masks
    options: Options
    where: str
    means: Floats
    separate: bool = True

    @classmethod
    def of(
        cls,
        build: Architecture,
        network: Network,
        masks: Masks,
        options: Options,
        where: str,
        means: Floats | None = None,
    ) -> "Forecaster":
        """Return a forecaster on the CPU with a copy of a network.

        Args:
            build: architecture of the network.
            network: trained network.
            masks: above 0 where an input is kept, 0 where it is dropped.
            options: options of the component.
            where: component, for error messages.
            means: mean of each input over the training windows; None for zeros.
        """
        scaled = Masks(*((mask > 0).double() / (1.0 - build.dropout) for mask in masks))
        ready = copy.deepcopy(network).to(_CPU, torch.float64).eval()
        means = np.zeros(build.inputs) if means is None else means
        lstm, masks = LstmWeights.of(ready.lstm), scaled.to(_CPU, torch.float64)
        return cls(build, ready, lstm, masks, options, where, means)

    def in_precision(self, dtype: torch.dtype) -> "Forecaster":
        """Return a copy that computes in another precision."""
        network = copy.deepcopy(self.network).to(dtype)
        return replace(self, network=network, masks=self.masks.to(self._device, dtype))

    def for_judging(self) -> "Forecaster":
        """Return a copy that computes windows in batches, on the device of the options.

        Batches are faster, but the last bits of a window depend on its batch: precise enough for
        a loss, not for a forecast.

        Raises:
            ComponentError: the device of the options is absent.
        """
        device = devices_for(self.options.device, self.where)[0]
        network = copy.deepcopy(self.network).to(device)
        masks = self.masks.to(device, torch.float64)
        return replace(self, network=network, masks=masks, separate=False)

    def panel(self, windows: Windows, first: int) -> FloatPanel:
        """Return `COLUMNS` for every symbol and every row from `first` on (rows, symbol, column).

        NaN where a candle of the window is missing, and where no close of the window changed.

        Args:
            windows: windows over a candle panel.
            first: first row of the panel to forecast.
        """
        chosen = windows.complete[first:]
        panel = np.full((*chosen.shape, len(COLUMNS)), np.nan)
        cells = cells_where(chosen, first)
        for start in range(0, len(cells), BATCH):
            part = cells.pick(slice(start, start + BATCH))
            inputs, volatility = windows.inputs(part)
            columns = self.forecast(inputs)
            unit = np.where(volatility > 0.0, volatility, np.nan) * self.build.horizon**0.5
            columns = np.where(np.isnan(unit)[:, None], np.nan, columns)
            in_returns = [i for i, name in enumerate(COLUMNS) if name != "probability_up"]
            columns[:, in_returns] *= unit[:, None]
            panel[part.rows - first, part.columns] = columns
        return panel

    def forecast(self, inputs: FloatPanel) -> FloatPanel:
        """Return `COLUMNS` of windows (n, column), in units of their volatility.

        Args:
            inputs: inputs of each candle (n, window, inputs).
        """
        if self.separate:
            mean, scale = self._windows_separately(inputs)
        else:
            with cpu_threads(self.options.threads):
                mean, scale = self._batch(inputs)
        noise = NOISES[self.options.noise]
        up = mixture_probabilities(mean / scale, heavy=noise.heavy)
        standard = [noise.quantile(level) for level in LEVELS]
        levels = mixture_quantiles(mean, scale, LEVELS, standard, heavy=noise.heavy)
        spread = mixture_spread(mean, scale, noise.variance)
        return np.column_stack([spread[:, 0], np.clip(up, 0.0, 1.0), spread[:, 1:], levels])

    def log_odds(self, inputs: FloatPanel) -> Floats:
        """Return the log-odds of a rise (n,), cut off at a probability of 1e-12.

        Windows are computed as a batch, so their last bits depend on each other.
        """
        mean, scale = self._batch(inputs)
        heavy = NOISES[self.options.noise].heavy
        up, down = (mixture_probabilities(side * mean / scale, heavy=heavy) for side in (1.0, -1.0))
        odds: Floats = np.log(np.maximum(up, _LEAST)) - np.log(np.maximum(down, _LEAST))
        return odds

    def passes(self, inputs: FloatPanel) -> Outputs:
        """Return location and scale of every pass for windows, each (n, passes, horizon)."""
        with torch.inference_mode():
            return self.network(torch.tensor(inputs, device=self._device), self.masks)  # type: ignore[no-any-return]  # torch does not type calls

    @property
    def _device(self) -> torch.device:
        return self.masks.head.device

    def _windows_separately(self, inputs: FloatPanel) -> tuple[FloatPanel, FloatPanel]:
        """Return location and scale at the horizon (n, passes), each window separately."""
        windows = list(np.ascontiguousarray(inputs, dtype=np.float64))
        pairs = each_apart(self._window, windows, self.options.threads)
        mean, scale = np.stack(pairs, axis=1)
        return mean, scale

    def _window(self, window: FloatPanel) -> tuple[Floats, Floats]:
        """Return location and scale of each pass at the horizon, for one window."""
        network = self.network
        with torch.inference_mode():
            # Copies, so that torch aligns the memory.
            candles = torch.tensor(window)[None]
            embedded = torch.tensor(run_lstm(window, *self.lstm))[None] + network.straight(candles)
            path = network.decode(network.through_layers(embedded), self.masks)
            return path.mean[0, :, -1].numpy(), path.scale[0, :, -1].numpy()

    def _batch(self, inputs: FloatPanel) -> tuple[FloatPanel, FloatPanel]:
        """Return location and scale at the horizon (n, passes), in double precision."""
        fallback = self._device != _CPU and self.options.device == "auto"
        devices = [self._device, _CPU] if fallback else [self._device]
        path = on_first_with_room(devices, lambda device: self._on(device, inputs), self.where)
        mean, scale = (part[..., -1].double().cpu().numpy() for part in path)
        return mean, scale

    def _on(self, device: torch.device, inputs: FloatPanel) -> Outputs:
        network, masks = self.network, self.masks
        if device != self._device:
            network = copy.deepcopy(network).to(device)
            masks = masks.to(device, masks.head.dtype)
        with torch.inference_mode():
            # A copy, so that torch aligns the memory.
            path: Outputs = network(torch.tensor(inputs, device=device), masks)
            return path


def coverage(forecaster: Forecaster, samples: Samples) -> dict[str, float]:
    """Return the share of validation outcomes inside the 50 % and 90 % intervals, by name.

    The shares are slightly optimistic: the same windows decided when to stop.
    """
    inside = np.zeros(len(_INTERVALS))
    judged = forecaster.for_judging()
    for start in range(0, len(samples.validation), BATCH):
        cells = samples.validation.pick(slice(start, start + BATCH))
        inputs, volatility = samples.windows.inputs(cells)
        outcome = samples.windows.targets(cells, volatility, samples.horizon)[:, -1]
        columns = judged.forecast(inputs)
        for number, (low, high) in enumerate(_INTERVALS.values()):
            above = outcome >= columns[:, COLUMNS.index(low)]
            inside[number] += np.sum(above & (outcome <= columns[:, COLUMNS.index(high)]))
    shares = inside / len(samples.validation)
    return {name: round(float(share), 4) for name, share in zip(_INTERVALS, shares, strict=True)}
