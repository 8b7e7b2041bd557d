"""The noise around a path, and the likelihood of outcomes under it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from weft_plugins.models.transformer.network import Outputs


class Noise(ABC):
    """A symmetric distribution with a location and a scale.

    Attributes:
        variance: of it, at scale 1.
        heavy: whether its tails are Student's, for `mixture_chances` and `mixture_quantiles`.
    """

    variance: float
    heavy: bool

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""

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
    heavy = False

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""
        return -0.5 * (z * z + math.log(2.0 * math.pi))

    def quantile(self, level: float) -> float:
        """Return the standardised value that lies above a share of `level`."""
        return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


class Student(Noise):
    """Student's t with 4 degrees of freedom, whose functions are closed: tails as returns have.

    Shaw, Sampling Student's T distribution (2006), section 4.
    """

    variance = 2.0
    heavy = True

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at a standardised value, scale 1."""
        return math.log(0.375) - 2.5 * torch.log1p(0.25 * z * z)

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
