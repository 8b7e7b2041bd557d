"""Compiled parts of a forecast, where torch would spend its time on calls: LSTM and mixture.

Each sum has one order on every processor, and the numbers of a window follow from that window
only.
"""

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats

_HALVINGS = 42


@njit(cache=True, nogil=True, error_model="numpy")
def run_lstm(
    inputs: FloatPanel, entering: FloatPanel, returning: FloatPanel, bias: Floats
) -> FloatPanel:
    """Return the output of an LSTM after each candle of one window (window, width).

    Args:
        inputs: inputs of the window (window, inputs).
        entering: input weights (inputs, 4 * width) of the input, forget, cell and output gates.
        returning: recurrent weights (width, 4 * width).
        bias: sum of both biases of the gates (4 * width,).
    """
    width = len(returning)
    outputs = np.empty((len(inputs), width))
    output, cell, gates = np.zeros(width), np.zeros(width), np.empty(4 * width)
    for row in range(len(inputs)):
        gates[:] = bias
        _add_products(gates, inputs[row], entering)
        _add_products(gates, output, returning)
        for i in range(width):
            remembered = cell[i] / (1.0 + math.exp(-gates[width + i]))
            added = math.tanh(gates[2 * width + i]) / (1.0 + math.exp(-gates[i]))
            cell[i] = remembered + added
            output[i] = math.tanh(cell[i]) / (1.0 + math.exp(-gates[3 * width + i]))
            outputs[row, i] = output[i]
    return outputs


@njit(cache=True, nogil=True, error_model="numpy")
def _add_products(sums: Floats, values: Floats, weights: FloatPanel) -> None:
    """Add values (n,) times weights (n, sums) to the sums, in the order of the values.

    Four values at a time spare loads and stores; the order of addition is the same.
    """
    fours = len(values) - len(values) % 4
    for k in range(0, fours, 4):
        a, b, c, d = values[k], values[k + 1], values[k + 2], values[k + 3]
        for j in range(len(sums)):
            total = sums[j] + a * weights[k, j]
            total += b * weights[k + 1, j]
            total += c * weights[k + 2, j]
            total += d * weights[k + 3, j]
            sums[j] = total
    for k in range(fours, len(values)):
        for j in range(len(sums)):
            sums[j] += values[k] * weights[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _probability_below(z: float, heavy: bool) -> float:  # noqa: FBT001  # numba takes no keywords
    """Return the distribution function of Student's t with 4 degrees of freedom, or of the normal.

    Student's: Shaw (2006), section 4.
    """
    if heavy:
        # sin of the angle whose tangent is z / 2
        sine = 0.5 * z / math.sqrt(1.0 + 0.25 * z * z)
        return 0.5 + 0.25 * sine * (3.0 - sine * sine)
    return 0.5 * math.erfc(-z * math.sqrt(0.5))


@njit(cache=True, nogil=True, error_model="numpy")
def _probabilities_below(z: FloatPanel, heavy: bool) -> Floats:  # noqa: FBT001  # numba takes no keywords
    rows, passes = z.shape
    means = np.empty(rows)
    for row in range(rows):
        total = 0.0
        for i in range(passes):
            total += _probability_below(z[row, i], heavy)
        means[row] = total / passes
    return means


def mixture_probabilities(z: FloatPanel, *, heavy: bool) -> Floats:
    """Return the distribution function of mixtures of passes (n,).

    Args:
        z: value standardised by each pass (n, passes).
        heavy: whether the noise is Student's t with 4 degrees of freedom; otherwise it is normal.
    """
    probabilities: Floats = _probabilities_below(z, heavy)
    return probabilities


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(mean: FloatPanel, scale: FloatPanel, variance: float) -> FloatPanel:
    """Return mean, deviation between the passes and deviation within them (n, 3)."""
    rows, passes = mean.shape
    figures = np.empty((rows, 3))
    for row in range(rows):
        total = noise = apart = 0.0
        for i in range(passes):
            total += mean[row, i]
            noise += variance * scale[row, i] * scale[row, i]
        center = total / passes
        for i in range(passes):
            apart += (mean[row, i] - center) * (mean[row, i] - center)
        figures[row] = center, math.sqrt(apart / passes), math.sqrt(noise / passes)
    return figures


def mixture_spread(mean: FloatPanel, scale: FloatPanel, variance: float) -> FloatPanel:
    """Return mean, epistemic and aleatoric standard deviation of mixtures of passes (n, 3).

    Args:
        mean: location of each pass (n, passes).
        scale: scale of each pass (n, passes).
        variance: variance of the noise at scale 1.
    """
    figures: FloatPanel = _spread(mean, scale, variance)
    return figures


@njit(cache=True, nogil=True, error_model="numpy")
def _quantiles(
    mean: FloatPanel,
    scale: FloatPanel,
    levels: Floats,
    standard: Floats,
    heavy: bool,  # noqa: FBT001  # numba takes no keywords
) -> FloatPanel:
    rows, passes = mean.shape
    quantiles = np.empty((rows, len(levels)))
    for row in range(rows):
        for level in range(len(levels)):
            low, high = np.inf, -np.inf
            for i in range(passes):
                part = mean[row, i] + scale[row, i] * standard[level]
                low, high = min(low, part), max(high, part)
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                total = 0.0
                for i in range(passes):
                    total += _probability_below((middle - mean[row, i]) / scale[row, i], heavy)
                if total / passes < levels[level]:
                    low = middle
                else:
                    high = middle
            quantiles[row, level] = 0.5 * (low + high)
    return quantiles


def mixture_quantiles(
    mean: FloatPanel,
    scale: FloatPanel,
    levels: Sequence[float],
    standard: Sequence[float],
    *,
    heavy: bool,
) -> FloatPanel:
    """Return quantiles of mixtures of passes (n, levels).

    The quantile of a mixture lies between the smallest and the largest quantile of its parts.
    Bisection starts there and takes a fixed number of steps, down to rounding.

    Args:
        mean: location of each pass (n, passes).
        scale: scale of each pass (n, passes).
        levels: levels between 0 and 1.
        standard: quantile of the noise at each level, scale 1.
        heavy: as in `mixture_probabilities`.
    """
    quantiles: FloatPanel = _quantiles(mean, scale, np.array(levels), np.array(standard), heavy)
    return quantiles
