"""The noise around a path: its likelihood, and the mixture of many passes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from weft_plugins.models._transformer_network import Outputs

_HALVINGS = 42


class Noise(ABC):
    """A symmetric distribution with a location and a scale.

    Attributes:
        variance: of it, at scale 1.
    """

    variance: float

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""

    @abstractmethod
    def chance_below(self, z: Tensor) -> Tensor:
        """Return the distribution function at a standardised value."""

    @abstractmethod
    def quantile(self, level: float) -> float:
        """Return the standardised value that lies above a share of `level`."""

    def log_likelihood(self, outcome: Tensor, said: Outputs) -> Tensor:
        """Return the log density of outcomes (n, horizon) under each pass."""
        z = (outcome[:, None] - said.mean) / said.scale
        return self.log_density(z) - torch.log(said.scale)


class Gaussian(Noise):
    """The normal distribution."""

    variance = 1.0

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""
        return -0.5 * (z * z + math.log(2.0 * math.pi))

    def chance_below(self, z: Tensor) -> Tensor:
        """Return the distribution function at a standardised value."""
        chance: Tensor = torch.special.ndtr(z)
        return chance

    def quantile(self, level: float) -> float:
        """Return the standardised value that lies above a share of `level`."""
        return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


class Student(Noise):
    """Student's t with 4 degrees of freedom, whose functions are closed: tails as returns have.

    Shaw, Sampling Student's T distribution (2006), section 4.
    """

    variance = 2.0

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""
        return math.log(0.375) - 2.5 * torch.log1p(0.25 * z * z)

    def chance_below(self, z: Tensor) -> Tensor:
        """Return the distribution function at a standardised value."""
        # sin of the angle whose tangent is z / 2
        sine = 0.5 * z * torch.rsqrt(1.0 + 0.25 * z * z)
        return 0.5 + 0.25 * sine * (3.0 - sine * sine)

    def quantile(self, level: float) -> float:
        """Return the standardised value that lies above a share of `level`."""
        both = 2.0 * math.sqrt(level * (1.0 - level))
        away = 2.0 * math.sqrt(max(0.0, math.cos(math.acos(both) / 3.0) / both - 1.0))
        return math.copysign(away, level - 0.5)


NOISES: Mapping[str, Noise] = {"student": Student(), "gaussian": Gaussian()}
"""Noise by its name in the options."""


def mixture_log_likelihood(noise: Noise, outcome: Tensor, said: Outputs) -> Tensor:
    """Return the log density of outcomes (n, horizon) under the mean over all passes."""
    passes = said.mean.shape[1]
    return torch.logsumexp(noise.log_likelihood(outcome, said), dim=1) - math.log(passes)


def mixture_quantiles(noise: Noise, said: Outputs, levels: Sequence[float]) -> Tensor:
    """Return quantiles of the mean over all passes (n, levels), for one candle ahead.

    A mixture's quantile lies between the smallest and the largest of its parts' quantiles; from
    there it is halved down to rounding, always by the same number of steps.

    Args:
        noise: around each pass.
        said: location and scale of each pass, each (n, passes).
        levels: each between 0 and 1.
    """
    wanted = torch.tensor(levels, dtype=said.mean.dtype, device=said.mean.device)
    standard = wanted.new_tensor([noise.quantile(level) for level in levels])
    mean, scale = said.mean[:, None], said.scale[:, None]
    parts = mean + scale * standard[:, None]
    low, high = parts.amin(dim=-1), parts.amax(dim=-1)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        below = noise.chance_below((middle[..., None] - mean) / scale).mean(dim=-1) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)
