"""The network: an LSTM, encoder layers, and a last layer answered under many dropout masks.

Dropout stands in the last layer and before the head alone, with one mask for all candles of a
window (Gal and Ghahramani 2016, arXiv 1512.05287). All that lies below is the same for every pass
and is computed once. In the last layer only the last candle's output is read, so attention is
asked from there alone, and a mask on what is attended to moves onto the question and the answer:

    q . W (m * h) = (m * W'q) . h    and    sum_t a_t V (m * h_t) = V (m * sum_t a_t h_t)

so that all passes and heads are questions to the same unmasked candles, in one fused attention.
This is exact: passes one by one give the same up to rounding.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST_SCALE = 1e-3
_FIRST_SCALE = 0.2
"""Input of softplus that gives about 0.8, the scale of a standardised outcome's noise."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a network is built from; two with the same numbers can exchange weights.

    Attributes:
        inputs: numbers per candle.
        window: candles.
        horizon: candles ahead.
        width: of the embedding; a multiple of `heads`.
        heads: of attention.
        layers: encoder layers, the last one with dropout.
        hidden: width of the feed-forward part.
        passes: dropout masks of a forecast.
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
        """Return the numbers by name."""
        return asdict(self)


class Masks(NamedTuple):
    """Dropout masks of the last layer: 0, or 1 / (1 - dropout), each (1 or n, passes, ...)."""

    attention: Tensor
    feed_forward: Tensor
    hidden: Tensor
    head: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> "Masks":
        """Return them on a device."""
        return Masks(*(mask.to(device, dtype) for mask in self))


class Outputs(NamedTuple):
    """Location and scale of the noise around the path ahead, each (n, passes, horizon)."""

    mean: Tensor
    scale: Tensor


def draw_masks(build: Architecture, windows: int, passes: int, generator: torch.Generator) -> Masks:
    """Draw masks for each of some windows and passes."""
    keep = 1.0 - build.dropout
    widths = (build.width, build.width, build.hidden, build.width)
    kept = (torch.rand((windows, passes, width), generator=generator) < keep for width in widths)
    return Masks(*(mask / keep for mask in kept))


class EncoderLayer(nn.Module):
    """A layer of self-attention and feed-forward, each normalised first (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        # A bias here would add the same to every score of a question, and vanish in the softmax.
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.merge = nn.Linear(width, width)
        self.before_feed_forward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for every candle (n, window, width)."""
        calm = self.before_attention(x)
        found = functional.scaled_dot_product_attention(
            self._by_head(self.query(calm)),
            self._by_head(self.key(calm)),
            self._by_head(self.value(calm)),
        )
        x = x + self.merge(found.transpose(1, 2).flatten(2))
        wide = functional.gelu(self.widen(self.before_feed_forward(x)))
        moved: Tensor = x + self.narrow(wide)
        return moved

    def last(self, x: Tensor, masks: Masks) -> Tensor:
        """Return its output for the last candle under each mask (n, passes, width)."""
        calm = self.before_attention(x)
        windows, width = len(x), x.shape[-1]
        mask = masks.attention[:, :, None]
        key = self.key.weight.view(self.heads, -1, width)
        value = self.value.weight.view(self.heads, -1, width)
        asked = self.query(calm[:, -1:] * masks.attention)
        asked = asked.view(windows, -1, self.heads, key.shape[1])
        questions = torch.einsum("nphk,hkw->nphw", asked, key) * mask
        candles = calm[:, None]
        answers = functional.scaled_dot_product_attention(
            questions.flatten(1, 2)[:, None], candles, candles, scale=key.shape[1] ** -0.5
        )
        seen = answers.view(windows, -1, self.heads, width) * mask
        found = torch.einsum("nphw,hkw->nphk", seen, value).flatten(2) + self.value.bias
        y = x[:, -1:] + self.merge(found)
        wide = functional.gelu(self.widen(self.before_feed_forward(y) * masks.feed_forward))
        moved: Tensor = y + self.narrow(wide * masks.hidden)
        return moved

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Network(nn.Module):
    """Reads windows of candles and says how the path ahead is distributed.

    The stream that the layers add to is never normalised before the head, and the LSTM, whose
    outputs saturate, is passed by in a straight line. What lies far from everything that was
    trained on therefore reaches the head as large as it is, and the masks disagree about it.
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
            self.head.bias[build.horizon :] = _FIRST_SCALE

    def forward(self, x: Tensor, masks: Masks) -> Outputs:
        """Return what is said of each window (n, window, inputs) under each mask."""
        return self.answer(self.encode(x), masks)

    def encode(self, x: Tensor) -> Tensor:
        """Return what all passes share: candles as the last layer meets them."""
        return self.through_layers(self.lstm(x)[0] + self.straight(x))

    def through_layers(self, embedded: Tensor) -> Tensor:
        """Return embedded candles as the last layer meets them."""
        for layer in self.layers[:-1]:
            embedded = layer(embedded)
        return embedded

    def answer(self, encoded: Tensor, masks: Masks) -> Outputs:
        """Return what each pass makes of the encoded windows."""
        last = self.layers[-1]
        if not isinstance(last, EncoderLayer):
            raise TypeError(f"the last layer is a {type(last).__name__}")
        raw = self.head(last.last(encoded, masks) * masks.head)
        mean, wide = raw.chunk(2, dim=-1)
        return Outputs(mean, functional.softplus(wide) + _LEAST_SCALE)


def build_network(build: Architecture, seed: int) -> Network:
    """Return a network with fresh weights, leaving the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(build)


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
