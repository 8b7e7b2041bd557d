"""Measures of mood and attention, each brought to the range from -1 to +1."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from weft.foundation.arrays import FloatPanel

MEASURED: Final = ("social_volume", "social_dominance", "alt_rank")
"""Metrics without a fixed scale, compared with their history."""

METRICS: Final = (
    "social_sentiment",
    "news_sentiment",
    "galaxy_score",
    "fear_greed",
    *MEASURED,
)
"""Every metric that is a part of the score."""

OF_POSTS: Final = ("social_sentiment", "galaxy_score", *MEASURED)
"""Metrics made from posts: a high share of spam lowers their weight."""

SAMPLES: Final = 24
"""Evenly spaced rows of the history that a value is compared with."""

_LEAST: Final = 8
"""Known rows among these without which there is no history."""

_FLOOR: Final = 0.1
"""Added to the standard deviation of logarithms: a tenth is a small move, however calm it was."""

_CALM: Final = 25.0
"""Points around 50 within which fear and greed are ignored."""


def parts(values: Mapping[str, FloatPanel], steps: int, spacing: int) -> dict[str, FloatPanel]:
    """Return each metric as an opinion, -1 to +1, on the last `steps` rows; NaN where unknown.

    - `social_sentiment` and `news_sentiment` are that already, `galaxy_score` is one around 50.
    - `fear_greed` is contrarian, and only at extremes: +1 at 0, nothing between 25 and
      75, -1 at 100. In between it repeats the returns and the volatility it is made from, which
      other layers see better. Bitcoin's days from 2018 to 2025 bear out the side of fear (an index
      of 20 or less was followed by +3.2 % in 30 days, 20 to 40 by -0.9 %), not that of greed (80 or
      more by +15.6 %, in few episodes): lower or invert its weight on better evidence.
    - `social_volume` and `social_dominance` favour a coin that gets more attention than before:
      private investors buy what catches their eye, and rarely sell it (Barber & Odean 2008,
      https://doi.org/10.1093/rfs/hhm079; Da, Engelberg & Gao 2011,
      https://doi.org/10.1111/j.1540-6261.2011.01679.x, also on how that reverses later).
    - `alt_rank` favours a coin that has moved up. These three are logarithms, less the mean of
      24 earlier rows, over their standard deviation, which tanh brings into range.

    Args:
        values: by metric, on the decision rows and those before them (time, symbol).
        steps: decision rows.
        spacing: rows between the samples of the history.
    """
    panels = {name: values[name][-steps:] for name in values if name not in MEASURED}
    scales = {
        "social_sentiment": lambda x: np.clip(x, -1.0, 1.0),
        "news_sentiment": lambda x: np.clip(x, -1.0, 1.0),
        "galaxy_score": lambda x: np.clip((x - 50.0) / 50.0, -1.0, 1.0),
        "fear_greed": _against_the_crowd,
    }
    opinions = {name: scales[name](panel) for name, panel in panels.items()}
    for name in MEASURED:
        if name in values:
            sign = -1.0 if name == "alt_rank" else 1.0
            opinions[name] = sign * np.tanh(
                _unusual(_logarithm(name, values[name]), steps, spacing) / 2
            )
    return {name: opinions[name] for name in METRICS if name in opinions}


def _against_the_crowd(index: FloatPanel) -> FloatPanel:
    beyond = np.clip((np.abs(index - 50.0) - _CALM) / (50.0 - _CALM), 0.0, 1.0)
    opinion: FloatPanel = -np.sign(index - 50.0) * beyond
    return opinion


def _logarithm(name: str, values: FloatPanel) -> FloatPanel:
    # A volume of 0 is possible; a rank or a share of 0 is an error of the source.
    usable = values >= 0.0 if name == "social_volume" else values > 0.0
    known = np.where(usable, values, np.nan)
    logarithm: FloatPanel = np.log1p(known) if name == "social_volume" else np.log(known)
    return logarithm


def _unusual(values: FloatPanel, steps: int, spacing: int) -> FloatPanel:
    """Return how many standard deviations values lie above their history."""
    from weft_plugins.layers.sentiment.text.kernels import unusual  # noqa: PLC0415  # numba takes long to import

    out = np.full((steps, values.shape[1]), np.nan)
    unusual(np.ascontiguousarray(values), (spacing, SAMPLES, _LEAST), _FLOOR, out)
    return out
