"""What a trained network says of windows: the mixture of its passes, as numbers."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from weft.arrays import FloatPanel, Floats
from weft_plugins.models._transformer_device import cpu_threads, devices_for, on_first_with_room
from weft_plugins.models._transformer_network import Architecture, Masks, Network, Outputs
from weft_plugins.models._transformer_noise import NOISES, mixture_quantiles
from weft_plugins.models._transformer_options import Options
from weft_plugins.models._transformer_samples import Samples
from weft_plugins.models._transformer_windows import Windows, cells_where

LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Levels of the quantiles."""

COLUMNS: Final = ("mean", "probability_up", "epistemic", "aleatoric", *LEVELS)
"""What `Forecaster.say` returns of each window, in this order."""

MOST_WINDOWS: Final = 32
"""Windows computed at once: few enough for what lies between two layers to stay in the cache."""

_FEWEST_WINDOWS: Final = 8

_INTERVALS: Final = {"50%": (0.25, 0.75), "90%": (0.05, 0.95)}
_SUREST: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Forecaster:
    """A trained network and its masks, ready for forecasts.

    It computes in double precision, and in batches of a size at which each window's numbers do not
    depend on how many there are: a row asked for by itself gets the answer it has among many.

    Attributes:
        build: what the network is built from.
        network: in double precision, on the device it was made for.
        masks: one for each pass, fixed in the artifact.
        options: of the component.
        where: the component, for error messages.
        neutral: the mean of each input over the training windows (inputs,).
    """

    build: Architecture
    network: Network
    masks: Masks
    options: Options
    where: str
    neutral: Floats

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
        """Make a network ready for forecasts, as a copy.

        Args:
            build: what it is built from.
            network: trained.
            masks: 1 where kept and 0 where dropped, or any multiple of that.
            options: of the component.
            where: the component, for error messages.
            neutral: the mean of each input over the training windows; None for zeros.

        Raises:
            ComponentError: the device asked for is not there.
        """
        device = devices_for(options.device, where)[0]
        kept = Masks(*((mask > 0).double() / (1.0 - build.dropout) for mask in masks))
        ready = copy.deepcopy(network).to(device, torch.float64).eval()
        usual = np.zeros(build.inputs) if neutral is None else neutral
        return cls(build, ready, kept.to(device, torch.float64), options, where, usual)

    def in_precision(self, dtype: torch.dtype) -> "Forecaster":
        """Return a copy that computes in another precision."""
        network = copy.deepcopy(self.network).to(dtype)
        masks = self.masks.to(self.masks.head.device, dtype)
        return replace(self, network=network, masks=masks)

    def panel(
        self, windows: Windows, first: int, tell: Callable[[int, int], None] | None = None
    ) -> FloatPanel:
        """Return `COLUMNS` for every symbol and every row from `first` on (rows, symbol, ...).

        NaN where a candle of the window is missing, and where its market did not move at all.

        Args:
            windows: over a candle panel.
            first: row of the panel to begin with.
            tell: told how many windows are done, and how many there are.
        """
        chosen = windows.complete[first:]
        found = np.full((*chosen.shape, len(COLUMNS)), np.nan)
        cells = cells_where(chosen, first)
        size = self._at_once(chosen.size)
        with cpu_threads(self.options.threads):
            for start in range(0, len(cells), size):
                part = cells.pick(slice(start, start + size))
                inputs, volatility = windows.inputs(part)
                # All batches have one size, whatever comes later: a matrix product may round
                # differently for another number of rows.
                padded = np.zeros((size, *inputs.shape[1:]))
                padded[: len(part)] = inputs
                said = self.say(padded)[: len(part)]
                unit = np.where(volatility > 0.0, volatility, np.nan) * self.build.horizon**0.5
                said = np.where(np.isnan(unit)[:, None], np.nan, said)
                in_returns = [i for i, name in enumerate(COLUMNS) if name != "probability_up"]
                said[:, in_returns] *= unit[:, None]
                found[part.rows - first, part.columns] = said
                if tell is not None:
                    tell(min(start + size, len(cells)), len(cells))
        return found

    def say(self, inputs: FloatPanel) -> FloatPanel:
        """Return `COLUMNS` of some windows (n, window, inputs), in units of their volatility."""
        said = on_first_with_room(
            self._devices(), lambda device: self._say(inputs, device), self.where
        )
        found: FloatPanel = said.cpu().numpy()
        return found

    def log_odds(self, inputs: FloatPanel) -> Floats:
        """Return the log-odds of a rise for some windows (n,), never beyond a chance of 1e-12."""
        said = on_first_with_room(
            self._devices(), lambda device: self._log_odds(inputs, device), self.where
        )
        found: Floats = said.cpu().numpy()
        return found

    def passes(self, inputs: FloatPanel) -> Outputs:
        """Return what every pass says of some windows, each (n, passes, horizon)."""
        device = self.masks.head.device
        with torch.inference_mode():
            return self.network(torch.from_numpy(inputs).to(device), self.masks)  # type: ignore[no-any-return]  # torch does not type calls

    def _devices(self) -> list[torch.device]:
        own = self.masks.head.device
        fallback = own.type != "cpu" and self.options.device == "auto"
        return [own, torch.device("cpu")] if fallback else [own]

    def _say(self, inputs: FloatPanel, device: torch.device) -> torch.Tensor:
        noise = NOISES[self.options.noise]
        with torch.inference_mode():
            said = self._at_the_horizon(inputs, device)
            up = noise.chance_below(said.mean / said.scale).mean(dim=1)
            numbers = (
                said.mean.mean(dim=1),
                up.clamp(0.0, 1.0),
                said.mean.std(dim=1, correction=0),
                (noise.variance * said.scale.square()).mean(dim=1).sqrt(),
            )
            levels = mixture_quantiles(noise, said, LEVELS)
            return torch.cat([torch.stack(numbers, dim=1), levels], dim=1)

    def _log_odds(self, inputs: FloatPanel, device: torch.device) -> torch.Tensor:
        noise = NOISES[self.options.noise]
        with torch.inference_mode():
            said = self._at_the_horizon(inputs, device)
            z = (said.mean / said.scale).double()
            up, down = (noise.chance_below(side).mean(dim=1) for side in (z, -z))
            return torch.log(up.clamp_min(_SUREST)) - torch.log(down.clamp_min(_SUREST))

    def _at_the_horizon(self, inputs: FloatPanel, device: torch.device) -> Outputs:
        network, masks = self.network, self.masks
        if device.type != masks.head.device.type:
            network = copy.deepcopy(network).to(device)
            masks = masks.to(device, masks.head.dtype)
        path: Outputs = network(torch.from_numpy(inputs).to(device), masks)
        return Outputs(path.mean[..., -1], path.scale[..., -1])

    @staticmethod
    def _at_once(cells: int) -> int:
        """Return the size of a batch, from how much was asked for and nothing else.

        Not a small one: a matrix product takes another way there, with other last bits.
        """
        batches = max(1, -(-cells // MOST_WINDOWS))
        return max(_FEWEST_WINDOWS, -(-cells // batches))


def coverage(forecaster: Forecaster, samples: Samples) -> dict[str, float]:
    """Return the share of validation outcomes inside the 50 % and the 90 % interval, each by name.

    A little flattered: the training was stopped by the same windows.
    """
    inside = np.zeros(len(_INTERVALS))
    with cpu_threads(forecaster.options.threads):
        for start in range(0, len(samples.validation), MOST_WINDOWS):
            cells = samples.validation.pick(slice(start, start + MOST_WINDOWS))
            inputs, volatility = samples.windows.inputs(cells)
            outcome = samples.windows.targets(cells, volatility, samples.horizon)[:, -1]
            said = forecaster.say(inputs)
            for number, (low, high) in enumerate(_INTERVALS.values()):
                above = outcome >= said[:, COLUMNS.index(low)]
                inside[number] += np.sum(above & (outcome <= said[:, COLUMNS.index(high)]))
    shares = inside / len(samples.validation)
    return {name: round(float(share), 4) for name, share in zip(_INTERVALS, shares, strict=True)}
