"""Volume: on-balance volume, relative volume and VWAP."""

from math import nan

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step
from weft.foundation.arrays import Floats
from weft_plugins.features.numerics import SUM_CELLS, ring_slot, slide_sum


class Obv(StepFeature):
    """Change of on-balance volume (Granville 1963) over a window.

    On-balance volume adds a candle's volume where the close rose and subtracts it where the close
    fell. Its level depends on where history begins; its change over a window does not.

    Outputs:
        change: on-balance volume now minus `window` candles ago, in base units.
        ratio: `change` over all volume of those candles, -1 (all of it fell) to 1 (all rose);
            NaN where nothing was traded.
    """

    name = "obv"
    outputs = ("change", "ratio")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=20, ge=1, description="Candles the change is measured over")

    config: Config

    @property
    def warmup(self) -> int:
        """The window, and the candle before it."""
        return self.config.window + 1

    @property
    def state_size(self) -> int:
        """Candles seen, last close, two sliding sums with their rings of volumes."""
        return 2 + 2 * (SUM_CELLS + self.config.window)

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        before = state[1]
        # The first candle has no direction: its slot is the one that the second candle overwrites.
        slot = ring_slot(max(seen - 1.0, 0.0), window)
        direction = (1.0 if bar.close > before else 0.0) - (1.0 if bar.close < before else 0.0)
        change = slide_sum(state, 2, slot, direction * bar.volume)
        traded = slide_sum(state, 2 + SUM_CELLS + int(window), slot, bar.volume)
        state[0] = seen + 1.0
        state[1] = bar.close
        ready = seen >= window
        out[0] = change if ready else nan
        out[1] = change / traded if ready and traded > 0.0 else nan


class VolumeRatio(StepFeature):
    """Volume relative to its recent mean (relative volume).

    Outputs:
        ratio: volume over the mean of the last `window` volumes, this candle's included, 0 to
            `window`; NaN where all of them are 0.
    """

    name = "volume_ratio"
    outputs = ("ratio",)

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=20, ge=2, description="Candles in the mean")

    config: Config

    @property
    def warmup(self) -> int:
        """The window."""
        return self.config.window

    @property
    def state_size(self) -> int:
        """Candles seen, the sliding sum with its ring of volumes."""
        return 1 + SUM_CELLS + self.config.window

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        total = slide_sum(state, 1, ring_slot(seen, window), bar.volume)
        state[0] = seen + 1.0
        ready = seen + 1.0 >= window and total > 0.0
        out[0] = bar.volume * window / total if ready else nan


class Vwap(StepFeature):
    """Volume-weighted average price over a sliding window (Berkowitz, Logue and Noser 1988).

    The price of a candle is the typical price, (high + low + close) / 3.

    Outputs:
        vwap: sum of typical price * volume over sum of volume, quote currency; NaN where nothing
            was traded in the window.
        distance: close / vwap - 1, a fraction.
    """

    name = "vwap"
    outputs = ("vwap", "distance")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=24, ge=1, description="Candles in the average")

    config: Config

    @property
    def warmup(self) -> int:
        """The window."""
        return self.config.window

    @property
    def state_size(self) -> int:
        """Candles seen, two sliding sums with their rings of turnover and volume."""
        return 1 + 2 * (SUM_CELLS + self.config.window)

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        slot = ring_slot(seen, window)
        typical = (bar.high + bar.low + bar.close) / 3.0
        turnover = slide_sum(state, 1, slot, typical * bar.volume)
        volume = slide_sum(state, 1 + SUM_CELLS + int(window), slot, bar.volume)
        state[0] = seen + 1.0
        vwap = turnover / volume
        ready = seen + 1.0 >= window and volume > 0.0
        out[0] = vwap if ready else nan
        out[1] = bar.close / vwap - 1.0 if ready else nan
