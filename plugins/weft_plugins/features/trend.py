"""Trend: moving averages, their crossings, MACD and ADX."""

from math import nan

from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, ema_memory, step, wilder_memory
from weft.foundation.arrays import Floats
from weft_plugins.features.averages import ema, true_range, wilder
from weft_plugins.features.numerics import SUM_CELLS, ring_slot, slide_sum

_LONGEST_MEMORY = 500.0  # candles a crossing is remembered
_EQUAL = 1e-12  # averages nearer to each other than this differ by rounding only


class _FastAndSlow(ComponentConfig):
    """Options of a feature that compares two averages."""

    fast: int = Field(ge=2, description="Candles in the fast average")
    slow: int = Field(ge=3, description="Candles in the slow average")

    @model_validator(mode="after")
    def _fast_is_faster(self) -> "_FastAndSlow":
        if self.fast >= self.slow:
            raise ValueError(f"fast ({self.fast}) must be less than slow ({self.slow})")
        return self


class Ema(StepFeature):
    """Exponential moving average of the close, in quote currency.

    ema += 2 / (window + 1) * (close - ema), seeded with the mean of the first `window` closes, as
    TA-Lib does.

    Outputs:
        ema: the average.
    """

    name = "ema"
    outputs = ("ema",)

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(
            default=21, ge=2, description="Candles; the weight of a close is 2 / (n + 1)"
        )

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until the average has forgotten its seed."""
        return self.config.window + ema_memory(self.config.window)

    @property
    def state_size(self) -> int:
        """Candles seen, average."""
        return 2

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        taken = state[0] + 1.0
        average = ema(state[1], bar.close, taken, window)
        state[0] = min(taken, window + 1.0)
        state[1] = average
        out[0] = average if taken >= window else nan


class EmaCross(StepFeature):
    """Spread of a fast over a slow exponential average (seeded as in TA-Lib), and its crossings.

    Outputs:
        spread: fast / slow - 1, a fraction of the price.
        crossed: +1 on the candle where fast comes to lie above slow, -1 where it comes to lie
            below, 0 otherwise. Averages within 1e-12 of each other count as equal.
        candles_since: candles since the last crossing, 0 on it and at most 500; NaN while none
            is known and fewer than 500 candles could have shown one.
    """

    name = "ema_cross"
    outputs = ("spread", "crossed", "candles_since")

    class Config(_FastAndSlow):
        """Options."""

        fast: int = Field(default=9, ge=2, description="Candles in the fast average")
        slow: int = Field(default=21, ge=3, description="Candles in the slow average")

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until the slow average has forgotten its seed and every crossing is forgotten."""
        return self.config.slow + ema_memory(self.config.slow) + int(_LONGEST_MEMORY)

    @property
    def state_size(self) -> int:
        """Candles seen, fast average, slow average, side, candles since a crossing plus one."""
        return 5

    @property
    def params(self) -> tuple[float, ...]:
        """The fast and the slow window."""
        return (self.config.fast, self.config.slow)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        slow_window = params[1]
        taken = state[0] + 1.0
        fast = ema(state[1], bar.close, taken, params[0])
        slow = ema(state[2], bar.close, taken, slow_window)
        spread = fast / slow - 1.0
        side = (1.0 if spread > _EQUAL else 0.0) - (1.0 if spread < -_EQUAL else 0.0)
        before = state[3]
        ready = taken >= slow_window
        comparable = taken > slow_window
        up = 1.0 if comparable and side > 0.0 and before <= 0.0 else 0.0
        down = 1.0 if comparable and side < 0.0 and before >= 0.0 else 0.0
        crossed = up - down
        # One more than the count, so that 0 stands for no crossing seen.
        since = state[4] + (1.0 if state[4] > 0.0 else 0.0)
        since = 1.0 if crossed != 0.0 else min(since, _LONGEST_MEMORY + 1.0)
        full = taken >= slow_window + _LONGEST_MEMORY
        state[0] = min(taken, slow_window + _LONGEST_MEMORY)
        state[1] = fast
        state[2] = slow
        state[3] = side if ready else 0.0
        state[4] = since
        unseen = _LONGEST_MEMORY if full else nan
        out[0] = spread if ready else nan
        out[1] = crossed if comparable else nan
        out[2] = since - 1.0 if since > 0.0 else unseen


class Macd(StepFeature):
    """Moving average convergence/divergence (Appel 1979), in quote currency.

    Seeded as TA-Lib does: the fast average starts so late that both seeds end on one candle.

    Outputs:
        macd: fast minus slow exponential average of the close.
        signal: exponential average of `macd`.
        histogram: `macd` minus `signal`.
    """

    name = "macd"
    outputs = ("macd", "signal", "histogram")

    class Config(_FastAndSlow):
        """Options."""

        fast: int = Field(default=12, ge=2, description="Candles in the fast average")
        slow: int = Field(default=26, ge=3, description="Candles in the slow average")
        signal: int = Field(default=9, ge=1, description="Candles in the average of the difference")

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until the slow average and the signal average have forgotten their seeds."""
        slow, signal = self.config.slow, self.config.signal
        return slow + ema_memory(slow) + signal + ema_memory(signal)

    @property
    def state_size(self) -> int:
        """Candles seen, fast, slow and signal average."""
        return 4

    @property
    def params(self) -> tuple[float, ...]:
        """The three windows."""
        return (self.config.fast, self.config.slow, self.config.signal)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        fast_window = params[0]
        slow_window = params[1]
        signal_window = params[2]
        taken = state[0] + 1.0
        fast = ema(state[1], bar.close, taken - (slow_window - fast_window), fast_window)
        slow = ema(state[2], bar.close, taken, slow_window)
        macd = fast - slow
        signal = ema(state[3], macd, taken - (slow_window - 1.0), signal_window)
        state[0] = min(taken, slow_window + signal_window)
        state[1] = fast
        state[2] = slow
        state[3] = signal
        ready = taken >= slow_window + signal_window - 1.0
        out[0] = macd if ready else nan
        out[1] = signal if ready else nan
        out[2] = macd - signal if ready else nan


class Sma(StepFeature):
    """Simple moving average of the close, in quote currency, as SMA in TA-Lib.

    Outputs:
        sma: mean of the last `window` closes.
    """

    name = "sma"
    outputs = ("sma",)

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=50, ge=2, description="Candles in the mean")

    config: Config

    @property
    def warmup(self) -> int:
        """The window."""
        return self.config.window

    @property
    def state_size(self) -> int:
        """Candles seen, the sliding sum with its ring of closes."""
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
        total = slide_sum(state, 1, ring_slot(seen, window), bar.close)
        state[0] = seen + 1.0
        out[0] = total / window if seen + 1.0 >= window else nan


class Adx(StepFeature):
    """Average directional index (Wilder 1978), each output 0 to 100.

    Averages are seeded and smoothed as TA-Lib does.

    Outputs:
        adx: strength of the trend whatever its direction: Wilder's average of
            100 * abs(plus_di - minus_di) / (plus_di + minus_di).
        plus_di: upward moves of the high as a share of the true range, in percent.
        minus_di: downward moves of the low as a share of the true range, in percent.
    """

    name = "adx"
    outputs = ("adx", "plus_di", "minus_di")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=14, ge=2, description="Candles in each of Wilder's averages")

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until an average of an average has forgotten its seed.

        Two averages in a row remember n / window * (1 - 1 / window) ** n of it, which takes a
        quarter longer to fade than one.
        """
        return 2 * self.config.window + wilder_memory(1.25 * self.config.window)

    @property
    def state_size(self) -> int:
        """Candles seen; last high, low, close; sums of up, down and range; adx."""
        return 8

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        moves = state[0]
        rise = bar.high - state[1]
        fall = state[2] - bar.low
        # The first candle has no move; the seed is one move short, as in Wilder (1978).
        counts = 1.0 if moves >= 1.0 else 0.0
        decay = 1.0 - 1.0 / window if moves >= window else 1.0
        plus = state[4] * decay + (rise if rise > 0.0 and rise > fall else 0.0) * counts
        minus = state[5] * decay + (fall if fall > 0.0 and fall > rise else 0.0) * counts
        span = state[6] * decay + true_range(bar.high, bar.low, state[3]) * counts
        percent = 100.0 / span if span > 0.0 else 0.0
        plus_di = plus * percent
        minus_di = minus * percent
        directed = plus_di + minus_di
        balance = 100.0 * abs(plus_di - minus_di) / directed
        # Without any move the average keeps its value; while seeding, it adds 0.
        seeded = moves >= 2.0 * window
        balance = balance if directed > 0.0 else (state[7] if seeded else 0.0)
        adx = wilder(state[7], balance, moves - (window - 1.0), window)
        state[0] = min(moves + 1.0, 2.0 * window)
        state[1] = bar.high
        state[2] = bar.low
        state[3] = bar.close
        state[4] = plus
        state[5] = minus
        state[6] = span
        state[7] = adx
        out[0] = adx if moves >= 2.0 * window - 1.0 else nan
        out[1] = plus_di if moves >= window else nan
        out[2] = minus_di if moves >= window else nan
