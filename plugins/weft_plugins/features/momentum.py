"""Momentum oscillators."""

from math import ceil, floor, nan

from numba import njit
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step, wilder_memory
from weft.foundation.arrays import Floats
from weft.foundation.times import DAY, WEEK
from weft_plugins.features.averages import relative_strength, wilder

_WEEK = float(WEEK)
_MONDAY = float(4 * DAY)  # 1970-01-01 was a Thursday; weekly candles open on Monday


class Rsi(StepFeature):
    """Relative strength index, 0 to 100 (Wilder 1978, New Concepts in Technical Trading Systems).

    Outputs:
        rsi: 100 times average gain over average gain plus average loss, both smoothed by Wilder;
            0 where the price has not moved, as in TA-Lib.
    """

    name = "rsi"
    outputs = ("rsi",)

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
        """Candles seen, last close, average gain, average loss."""
        return 4

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        change = bar.close - state[1]
        gain = wilder(state[2], max(change, 0.0), seen, window)
        loss = wilder(state[3], max(-change, 0.0), seen, window)
        state[0] = min(seen + 1.0, window + 1.0)
        state[1] = bar.close
        state[2] = gain
        state[3] = loss
        out[0] = relative_strength(gain, loss) if seen >= window else nan


@njit(error_model="numpy", forceinline=True)
def _slow_close(state: Floats, at: int, close: float, window: float, counts: bool) -> None:  # noqa: FBT001  # numba passes no keywords
    """Add a slow candle's close to the RSI at `state[at:]`, if it counts."""
    taken, last, gain, loss = state[at], state[at + 1], state[at + 2], state[at + 3]
    change = close - last
    new_gain = wilder(gain, max(change, 0.0), taken, window)
    new_loss = wilder(loss, max(-change, 0.0), taken, window)
    state[at] = taken + 1.0 if counts else taken
    state[at + 1] = close if counts else last
    state[at + 2] = new_gain if counts else gain
    state[at + 3] = new_loss if counts else loss


@njit(error_model="numpy", forceinline=True)
def _end_of_slow(time: float, length: float) -> float:
    """Return the end of the slow candle that contains the candle closing at `time`."""
    origin = _MONDAY if length == _WEEK * floor(length / _WEEK) else 0.0
    return ceil((time - origin) / length) * length + origin


class RsiDivergence(StepFeature):
    """RSI (Wilder 1978) of the candles minus RSI of candles several times as long, -100 to 100.

    A slow candle joins `slow_candles` candles and closes where its close time is a multiple of
    its length, so that slow candles are the same wherever history begins. The slow RSI changes
    only when one closes. A slow candle whose beginning lies before the first candle known, or
    before a hole, is left out.

    In a market with sessions a slow candle joins the candles that traded; a slow candle that ends
    while the market is closed counts from the next candle on.

    Outputs:
        spread: fast minus slow; positive where the short run is stronger than the long run.
        fast: RSI of the candles themselves, 0 to 100.
        slow: RSI of the slow candles closed by then, 0 to 100.
    """

    name = "rsi_divergence"
    outputs = ("spread", "fast", "slow")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(
            default=14, ge=2, description="Candles in Wilder's average, fast and slow"
        )
        slow_candles: int = Field(default=4, ge=2, description="Candles that make up a slow one")

    config: Config

    @property
    def warmup(self) -> int:
        """Candles until the slow average has forgotten its seed."""
        slow = self.config.window + wilder_memory(self.config.window)
        return self.config.slow_candles * (slow + 1)

    @property
    def state_size(self) -> int:
        """The fast RSI's four cells; last time, candle length, complete; the slow RSI's four."""
        return 11

    @property
    def params(self) -> tuple[float, ...]:
        """The window, and candles in a slow one."""
        return (self.config.window, self.config.slow_candles)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        window = params[0]
        seen = state[0]
        before = state[1]
        change = bar.close - before
        gain = wilder(state[2], max(change, 0.0), seen, window)
        loss = wilder(state[3], max(-change, 0.0), seen, window)
        state[0] = min(seen + 1.0, window + 1.0)
        state[1] = bar.close
        state[2] = gain
        state[3] = loss

        # A step does not know the interval: it takes the shortest time between two candles so
        # far, so that slow candles are unknown until the second candle.
        now = float(bar.time)
        last = state[4]
        known = state[5]
        was_complete = state[6] > 0.0
        passed = now - last
        length = passed if seen >= 1.0 and (known == 0.0 or passed < known) else known
        measured = length != known
        slow_length = max(length, 1.0) * params[1]
        last_end = _end_of_slow(last, slow_length)
        end = _end_of_slow(now, slow_length)
        moved = seen >= 1.0 and end != last_end
        complete = last - length == last_end - slow_length if measured else was_complete
        late = moved and complete and last != last_end
        complete = complete or moved
        state[4] = now
        state[5] = length
        state[6] = 1.0 if complete else 0.0
        for k in range(7, 11):
            cell = state[k]
            state[k] = 0.0 if measured else cell
        _slow_close(state, 7, before, window, late)
        _slow_close(state, 7, bar.close, window, seen >= 1.0 and complete and now == end)

        fast = relative_strength(gain, loss) if seen >= window else nan
        slow = relative_strength(state[9], state[10]) if state[7] > window else nan
        out[0] = fast - slow
        out[1] = fast
        out[2] = slow
