"""What a trained network says of windows: the mixture of its passes, as numbers."""

import copy
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import torch

from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.models.transformer.kernels import (
    mixture_chances,
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
"""Levels of the quantiles."""

COLUMNS: Final = ("mean", "probability_up", "epistemic", "aleatoric", *LEVELS)
"""What `Forecaster.say` returns of each window, in this order."""

MOST_WINDOWS: Final = 32
"""Windows prepared at once, and computed at once on a GPU."""

_CPU: Final = torch.device("cpu")
_INTERVALS: Final = {"50%": (0.25, 0.75), "90%": (0.05, 0.95)}
_SUREST: Final = 1e-12


class LstmWeights(NamedTuple):
    """Weights of the LSTM as `run_lstm` reads them."""

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

    Each window is computed by itself, in double precision on one thread of the CPU: matrices of
    one shape, in memory that begins at a multiple of 64 bytes. Its numbers therefore depend on
    nothing but the window (`each_apart`).

    Attributes:
        build: what the network is built from.
        network: in double precision.
        lstm: its LSTM, for windows by themselves.
        masks: one for each pass, fixed in the artifact.
        options: of the component.
        where: the component, for error messages.
        neutral: the mean of each input over the training windows (inputs,).
        apart: whether `say` computes each window by itself.
    """

    build: Architecture
    network: Network
    lstm: LstmWeights
    masks: Masks
    options: Options
    where: str
    neutral: Floats
    apart: bool = True

    @classmethod
    def of(
        cls,
        build: Architecture,
        network: Network,
        masks: Masks,
        options: Options,
        where: str,
        neutral: Floats | None = None,
    ) -> "Forecaster":
        """Make a network ready for forecasts on the CPU, as a copy.

        Args:
            build: what it is built from.
            network: trained.
            masks: 1 where kept and 0 where dropped, or any multiple of that.
            options: of the component.
            where: the component, for error messages.
            neutral: the mean of each input over the training windows; None for zeros.
        """
        kept = Masks(*((mask > 0).double() / (1.0 - build.dropout) for mask in masks))
        ready = copy.deepcopy(network).to(_CPU, torch.float64).eval()
        usual = np.zeros(build.inputs) if neutral is None else neutral
        lstm, masks = LstmWeights.of(ready.lstm), kept.to(_CPU, torch.float64)
        return cls(build, ready, lstm, masks, options, where, usual)

    def in_precision(self, dtype: torch.dtype) -> "Forecaster":
        """Return a copy that computes in another precision."""
        network = copy.deepcopy(self.network).to(dtype)
        return replace(self, network=network, masks=self.masks.to(self._device, dtype))

    def for_judging(self) -> "Forecaster":
        """Return a copy that computes windows together, on the device of the options.

        Many windows take less time so. The last bits of each depend on the others of its batch,
        which is good enough for a loss, and not for a forecast.

        Raises:
            ComponentError: the device asked for is not there.
        """
        device = devices_for(self.options.device, self.where)[0]
        network = copy.deepcopy(self.network).to(device)
        masks = self.masks.to(device, torch.float64)
        return replace(self, network=network, masks=masks, apart=False)

    def panel(self, windows: Windows, first: int) -> FloatPanel:
        """Return `COLUMNS` for every symbol and every row from `first` on (rows, symbol, ...).

        NaN where a candle of the window is missing, and where its market did not move at all.

        Args:
            windows: over a candle panel.
            first: row of the panel to begin with.
        """
        chosen = windows.complete[first:]
        found = np.full((*chosen.shape, len(COLUMNS)), np.nan)
        cells = cells_where(chosen, first)
        for start in range(0, len(cells), MOST_WINDOWS):
            part = cells.pick(slice(start, start + MOST_WINDOWS))
            inputs, volatility = windows.inputs(part)
            said = self.say(inputs)
            unit = np.where(volatility > 0.0, volatility, np.nan) * self.build.horizon**0.5
            said = np.where(np.isnan(unit)[:, None], np.nan, said)
            in_returns = [i for i, name in enumerate(COLUMNS) if name != "probability_up"]
            said[:, in_returns] *= unit[:, None]
            found[part.rows - first, part.columns] = said
        return found

    def say(self, inputs: FloatPanel) -> FloatPanel:
        """Return `COLUMNS` of some windows (n, window, inputs), in units of their volatility."""
        if self.apart:
            mean, scale = self._windows_apart(inputs)
        else:
            with cpu_threads(self.options.threads):
                mean, scale = self._together(inputs)
        noise = NOISES[self.options.noise]
        up = mixture_chances(mean / scale, heavy=noise.heavy)
        standard = [noise.quantile(level) for level in LEVELS]
        levels = mixture_quantiles(mean, scale, LEVELS, standard, heavy=noise.heavy)
        spread = mixture_spread(mean, scale, noise.variance)
        return np.column_stack([spread[:, 0], np.clip(up, 0.0, 1.0), spread[:, 1:], levels])

    def log_odds(self, inputs: FloatPanel) -> Floats:
        """Return the log-odds of a rise for some windows (n,), never beyond a chance of 1e-12.

        The windows are computed together, so that their last bits depend on each other.
        """
        mean, scale = self._together(inputs)
        heavy = NOISES[self.options.noise].heavy
        up, down = (mixture_chances(side * mean / scale, heavy=heavy) for side in (1.0, -1.0))
        odds: Floats = np.log(np.maximum(up, _SUREST)) - np.log(np.maximum(down, _SUREST))
        return odds

    def passes(self, inputs: FloatPanel) -> Outputs:
        """Return what every pass says of some windows, each (n, passes, horizon)."""
        with torch.inference_mode():
            return self.network(torch.tensor(inputs, device=self._device), self.masks)  # type: ignore[no-any-return]  # torch does not type calls

    @property
    def _device(self) -> torch.device:
        return self.masks.head.device

    def _windows_apart(self, inputs: FloatPanel) -> tuple[FloatPanel, FloatPanel]:
        """Return location and scale at the horizon (n, passes), each window by itself."""
        windows = list(np.ascontiguousarray(inputs, dtype=np.float64))
        pairs = each_apart(self._alone, windows, self.options.threads)
        mean, scale = np.stack(pairs, axis=1)
        return mean, scale

    def _alone(self, window: FloatPanel) -> tuple[Floats, Floats]:
        """Return location and scale of each pass at the horizon, for one window."""
        network = self.network
        with torch.inference_mode():
            # Copies, for memory that torch has aligned.
            candles = torch.tensor(window)[None]
            embedded = torch.tensor(run_lstm(window, *self.lstm))[None] + network.straight(candles)
            path = network.answer(network.through_layers(embedded), self.masks)
            return path.mean[0, :, -1].numpy(), path.scale[0, :, -1].numpy()

    def _together(self, inputs: FloatPanel) -> tuple[FloatPanel, FloatPanel]:
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
            # A copy, for memory that torch has aligned.
            path: Outputs = network(torch.tensor(inputs, device=device), masks)
            return path


def coverage(forecaster: Forecaster, samples: Samples) -> dict[str, float]:
    """Return the share of validation outcomes inside the 50 % and the 90 % interval, each by name.

    A little flattered: the training was stopped by the same windows.
    """
    inside = np.zeros(len(_INTERVALS))
    judged = forecaster.for_judging()
    for start in range(0, len(samples.validation), MOST_WINDOWS):
        cells = samples.validation.pick(slice(start, start + MOST_WINDOWS))
        inputs, volatility = samples.windows.inputs(cells)
        outcome = samples.windows.targets(cells, volatility, samples.horizon)[:, -1]
        said = judged.say(inputs)
        for number, (low, high) in enumerate(_INTERVALS.values()):
            above = outcome >= said[:, COLUMNS.index(low)]
            inside[number] += np.sum(above & (outcome <= said[:, COLUMNS.index(high)]))
    shares = inside / len(samples.validation)
    return {name: round(float(share), 4) for name, share in zip(_INTERVALS, shares, strict=True)}
