"""A layer in full: a class and one entry-point line."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from weft import Layer, Scores, View, candles


class Momentum(Layer):
    """Half a day's return, in units of its own volatility."""

    name = "momentum"
    needs = [candles(warmup=200)]

    class Config(Layer.Config):
        """Options."""

        window: int = 12

    def score(self, view: View) -> Scores:
        """Return the standardised return, squeezed into the range of a score."""
        window, steps = self.config.window, view.steps
        path = np.log(view.candles().close)
        change = path[window:] - path[:-window]
        spread = sliding_window_view(change, 150, axis=0)[-steps:].std(axis=-1)
        units = np.divide(
            change[-steps:], spread, out=np.full_like(spread, np.nan), where=spread > 0
        )
        return view.scores(100 * np.tanh(units / 2), evidence={"change": change})
