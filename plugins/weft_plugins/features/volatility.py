"""How far prices move."""

from math import nan, sqrt

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step, wilder_memory
from weft.foundation.arrays import Floats
from weft_plugins.features.averages import true_range, wilder
from weft_plugins.features.numerics import MOMENT_CELLS, log_ratio, ring_slot, slide_moments


class Atr(StepFeature):
    """Average true range (Wilder 1978), in quote currency.

    The true range is the largest of high - low, abs(high - last close), abs(low - last close).

    Outputs:
        atr: Wilder's average of the true range, seeded with the mean of the first `window`.
    """

    name = "atr"
    outputs = ("atr",)

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=14, ge=2, description="Candles in Wilder's average")

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until Wilder's average has forgotten its seed."""
        return self.config.window + wilder_memory(self.config.window)

    @property
    def state_size(self) -> int:
        """Candles seen, last close, average."""
        return 3

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        average = wilder(state[2], true_range(bar.high, bar.low, state[1]), seen, window)
        state[0] = min(seen + 1.0, window + 1.0)
        state[1] = bar.close
        state[2] = average
        out[0] = average if seen >= window else nan


class Bollinger(StepFeature):
    """Bollinger bands of the close (Bollinger 2001, Bollinger on Bollinger Bands).

    middle = mean of the last `window` closes, upper and lower = middle plus and minus
    `deviations` population standard deviations of them, as in TA-Lib.

    Outputs:
        upper: upper band, quote currency.
        middle: middle band, quote currency.
        lower: lower band, quote currency.
        position: where the close lies: 0 at the lower band, 1 at the upper, beyond them outside;
            0.5 where all closes are the same and the band has no width.
    """

    name = "bollinger"
    outputs = ("upper", "middle", "lower", "position")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=20, ge=2, description="Candles in the mean and the deviation")
        deviations: float = Field(default=2.0, gt=0, description="Standard deviations to each band")

    config: Config

    @property
    def warmup(self) -> int:
        """The window."""
        return self.config.window

    @property
    def state_size(self) -> int:
        """Candles seen, the sliding moments with their ring of closes."""
        return 1 + MOMENT_CELLS + self.config.window

    @property
    def params(self) -> tuple[float, ...]:
        """The window, and deviations to each band."""
        return (self.config.window, self.config.deviations)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        total, spread = slide_moments(state, 1, ring_slot(seen, window), bar.close, window)
        state[0] = seen + 1.0
        middle = total / window
        reach = params[1] / window * sqrt(spread)
        position = 0.5 + (bar.close - middle) / (2.0 * reach) if reach > 0.0 else 0.5
        ready = seen + 1.0 >= window
        out[0] = middle + reach if ready else nan
        out[1] = middle if ready else nan
        out[2] = middle - reach if ready else nan
        out[3] = position if ready else nan


class Volatility(StepFeature):
    """Close-to-close volatility: the standard deviation of log returns, per candle.

    Outputs:
        volatility: sample standard deviation (ddof=1) of the last `window` log returns, per
            candle and not annualised; a fraction, so 0.01 is about one percent.
    """

    name = "volatility"
    outputs = ("volatility",)

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=48, ge=2, description="Returns in the deviation")

    config: Config

    @property
    def warmup(self) -> int:
        """The window, and the candle before its first return."""
        return self.config.window + 1

    @property
    def state_size(self) -> int:
        """Candles seen, last close, the sliding moments with their ring of returns."""
        return 2 + MOMENT_CELLS + self.config.window

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        # The first candle has no return: its slot is the one that the second candle overwrites.
        change = log_ratio(bar.close, state[1])
        slot = ring_slot(max(seen - 1.0, 0.0), window)
        _, spread = slide_moments(state, 2, slot, change, window)
        state[0] = seen + 1.0
        state[1] = bar.close
        deviation = sqrt(spread) * (1.0 / sqrt(window * (window - 1.0)))
        out[0] = deviation if seen >= window else nan
