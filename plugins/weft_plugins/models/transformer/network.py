"""The network (an LSTM, encoder layers and a head under dropout masks), and its noise.

Dropout acts in the last layer and before the head only, with one mask for all candles of a window
(Gal and Ghahramani 2016, arXiv 1512.05287). Everything below is the same for every pass and is
computed once. The head uses the last layer's output for the last candle only, so only that candle
attends, and a mask on the attended candles moves onto the query and the output:

    q . W (m * h) = (m * W'q) . h    and    sum_t a_t V (m * h_t) = V (m * sum_t a_t h_t)

All passes and heads are thus queries to the same unmasked candles, in one fused attention. The
result equals that of separate passes up to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_SMALLEST_SCALE = 1e-3
_INITIAL_SCALE = 0.2
"""Input of softplus that gives about 0.8, the noise scale of a standardised outcome."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of a network; networks of equal sizes can exchange weights.

    Attributes:
        inputs: inputs of each candle.
        window: candles of a window.
        horizon: candles ahead.
        width: width of the embedding; a multiple of `heads`.
        heads: attention heads.
        layers: encoder layers, the last one with dropout.
        hidden: width of the feed-forward part.
        passes: dropout passes of a forecast.
        dropout: share of each mask that is 0.
    """

    inputs: int
    window: int
    horizon: int
    width: int
    heads: int
    layers: int
    hidden: int
    passes: int
    dropout: float

    def numbers(self) -> dict[str, float]:
        """Return the sizes by name."""
        return asdict(self)


class Masks(NamedTuple):
    """Dropout masks of the last layer: 0, or 1 / (1 - dropout), each (1 or n, passes, ...)."""

    attention: Tensor
    feed_forward: Tensor
    hidden: Tensor
    head: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "Masks":
        """Return the masks on a device."""
        return Masks(*(mask.to(device, dtype) for mask in self))


class Outputs(NamedTuple):
    """Location and scale of the path ahead, each (n, passes, horizon)."""

    mean: Tensor
    scale: Tensor


def draw_masks(build: Architecture, windows: int, passes: int, generator: torch.Generator) -> Masks:
    """Draw dropout masks for each window and pass."""
    keep = 1.0 - build.dropout
    widths = (build.width, build.width, build.hidden, build.width)
    kept = (torch.rand((windows, passes, width), generator=generator) < keep for width in widths)
    return Masks(*(mask / keep for mask in kept))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, normalised first (Xiong et al. 2020, arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        # A bias would add the same to every score of a query, and cancel in the softmax.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(width, width)
        self.before_feed_forward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for every candle (n, window, width)."""
        normal = self.before_attention(x)
        attended = functional.scaled_dot_product_attention(
            self._by_head(self.query(normal)),
            self._by_head(self.key(normal)),
            self._by_head(self.value(normal)),
        )
        x = x + self.merge(attended.transpose(1, 2).flatten(2))
        wide = functional.gelu(self.widen(self.before_feed_forward(x)))
        output: Tensor = x + self.narrow(wide)
        return output

    def last(self, x: Tensor, masks: Masks) -> Tensor:
        """Return the layer's output for the last candle under each mask (n, passes, width)."""
        normal = self.before_attention(x)
        windows, width = len(x), x.shape[-1]
        mask = masks.attention[:, :, None]
        key = self.key.weight.view(self.heads, -1, width)
        value = self.value.weight.view(self.heads, -1, width)
        query = self.query(normal[:, -1:] * masks.attention)
        query = query.view(windows, -1, self.heads, key.shape[1])
        queries = torch.einsum("nphk,hkw->nphw", query, key) * mask
        candles = normal[:, None]
        weighted = functional.scaled_dot_product_attention(
            queries.flatten(1, 2)[:, None], candles, candles, scale=key.shape[1] ** -0.5
        )
        weighted = weighted.view(windows, -1, self.heads, width) * mask
        attended = torch.einsum("nphw,hkw->nphk", weighted, value).flatten(2) + self.value.bias
        y = x[:, -1:] + self.merge(attended)
        wide = functional.gelu(self.widen(self.before_feed_forward(y) * masks.feed_forward))
        output: Tensor = y + self.narrow(wide * masks.hidden)
        return output

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Network(nn.Module):
    """Network from windows of candles to the distribution of the path ahead.

    The residual stream is not normalised before the head, and a linear layer bypasses the LSTM,
    whose outputs saturate. Inputs far from the training data therefore reach the head at full
    size, and the passes disagree about them.
    """

    def __init__(self, build: Architecture) -> None:
        super().__init__()
        self.lstm = nn.LSTM(build.inputs, build.width, batch_first=True)
        self.straight = nn.Linear(build.inputs, build.width)
        self.layers = nn.ModuleList(
            EncoderLayer(build.width, build.heads, build.hidden) for _ in range(build.layers)
        )
        self.head = nn.Linear(build.width, 2 * build.horizon)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.bias[build.horizon :] = _INITIAL_SCALE

    def forward(self, x: Tensor, masks: Masks) -> Outputs:
        """Return location and scale for each window (n, window, inputs) under each mask."""
        return self.decode(self.encode(x), masks)

    def encode(self, x: Tensor) -> Tensor:
        """Return the input of the last layer, which all passes share."""
        return self.through_layers(self.lstm(x)[0] + self.straight(x))

    def through_layers(self, embedded: Tensor) -> Tensor:
        """Return the input of the last layer for embedded candles."""
        for layer in self.layers[:-1]:
            embedded = layer(embedded)
        return embedded

    def decode(self, encoded: Tensor, masks: Masks) -> Outputs:
        """Return location and scale of each pass for encoded windows."""
        last = self.layers[-1]
        if not isinstance(last, EncoderLayer):
            raise TypeError(f"the last layer is a {type(last).__name__}, not an EncoderLayer")
        raw = self.head(last.last(encoded, masks) * masks.head)
        mean, wide = raw.chunk(2, dim=-1)
        return Outputs(mean, functional.softplus(wide) + _SMALLEST_SCALE)


def build_network(build: Architecture, seed: int) -> Network:
    """Return a network with random weights; the global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(build)


class Noise(ABC):
    """A symmetric distribution with a location and a scale.

    Attributes:
        variance: variance at scale 1.
        heavy: whether it is Student's t, for `mixture_probabilities` and `mixture_quantiles`.
    """

    variance: float
    heavy: bool

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at scale 1."""

    @abstractmethod
    def quantile(self, level: float) -> float:
        """Return the quantile at a level, scale 1."""

    def log_likelihood(self, outcome: Tensor, path: Outputs) -> Tensor:
        """Return the log density of outcomes (n, horizon) under each pass."""
        z = (outcome[:, None] - path.mean) / path.scale
        return self.log_density(z) - torch.log(path.scale)


class Gaussian(Noise):
    """Normal noise."""

    variance = 1.0
    heavy = False

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at scale 1."""
        return -0.5 * (z * z + math.log(2.0 * math.pi))

    def quantile(self, level: float) -> float:
        """Return the quantile at a level, scale 1."""
        return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


class Student(Noise):
    """Student's t noise with 4 degrees of freedom: heavy tails, in closed form.

    Quantiles: Shaw, Sampling Student's T distribution (2006), section 4.
    """

    variance = 2.0
    heavy = True

    def log_density(self, z: Tensor) -> Tensor:
        """Return the log density at scale 1."""
        return math.log(0.375) - 2.5 * torch.log1p(0.25 * z * z)

    def quantile(self, level: float) -> float:
        """Return the quantile at a level, scale 1."""
        both = 2.0 * math.sqrt(level * (1.0 - level))
        away = 2.0 * math.sqrt(max(0.0, math.cos(math.acos(both) / 3.0) / both - 1.0))
        return math.copysign(away, level - 0.5)


NOISES: Mapping[str, Noise] = {"student": Student(), "gaussian": Gaussian()}
"""Noise by name in the options."""


def mixture_log_likelihood(noise: Noise, outcome: Tensor, path: Outputs) -> Tensor:
    """Return the log density of outcomes (n, horizon) under the mean over all passes."""
    passes = path.mean.shape[1]
    return torch.logsumexp(noise.log_likelihood(outcome, path), dim=1) - math.log(passes)
