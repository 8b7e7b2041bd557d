"""The layer `momentum`."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from pydantic import Field
from weft import Layer, Scores, View, candles, feature
from weft.components.needs import Need

VOLATILITY_CANDLES = 48


class Momentum(Layer):
    """Scores a symbol by its recent return, in units of its volatility.

    A rise of two standard deviations scores +100, a fall of two scores -100; in between the
    score is linear. A symbol without a return or a volatility has no opinion.
    """

    name = "momentum"

    class Config(Layer.Config):
        """Options of the layer."""

        window: int = Field(default=12, ge=1, description="candles the return is measured over")

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The candles the return is measured over, and the volatility of one candle."""
        return (
            candles(warmup=self.config.window),
            feature("volatility", window=VOLATILITY_CANDLES),
        )

    def score(self, view: View) -> Scores:
        """Return a score from -100 to 100 for each decision row and symbol."""
        window = self.config.window
        close = view.candles().close
        change = close[window:] / close[:-window] - 1.0
        spread = sqrt(window) * view.feature("volatility", window=VOLATILITY_CANDLES)
        # A price that stands still has no volatility, and no opinion follows from it.
        deviations = np.divide(
            change, spread, out=np.full(change.shape, np.nan), where=spread > 0.0
        )
        score = np.clip(50.0 * deviations, -100.0, 100.0)
        return view.scores(score, evidence={"change": change, "deviations": deviations})
