"""Price structure: zones that earlier moves left behind."""

from math import inf, nan

from numba import njit
from pydantic import Field

from weft.arrays import Floats
from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step

# Fixed, so that the compiler unrolls the search for the extreme of the last candles.
_LONGEST_SWING = 10


@njit(error_model="numpy", forceinline=True)
def _tick(clock: float, limit: float) -> float:
    """Return a clock one candle later; it counts from 1, and 0 means that it does not run."""
    return clock + 1.0 if 0.0 < clock < limit else 0.0


class OrderBlock(StepFeature):
    """Order blocks: the last candle against a move that broke market structure.

    A swing high is a high above the `swing` highs before it and not below the `swing` highs after
    it; it is known, and acts, only once those have closed. The first close above the latest swing
    high breaks structure upwards, and the last falling candle (close below open) before the
    breaking one becomes the bullish block, from its low to its high. It stands until a close
    below it. Swing lows, closes below them and rising candles give bearish blocks likewise.

    Swings, opposite candles and blocks are forgotten `max_age` candles after they arose, and a
    newer one replaces an older of its kind.

    After the inner circle trader's terms: market structure, order block, mitigation. There is no
    published definition; this one is the common core of the public implementations.

    Outputs:
        state: +1 where the close lies in a bullish block or above it by no more than the block's
            own height, -1 where it lies in or as near below a bearish one, 0 for neither or both.
        bullish_distance: (close - top of the bullish block) / close; 0 or less inside it, NaN
            where there is none.
        bearish_distance: (bottom of the bearish block - close) / close likewise.
    """

    name = "order_block"
    outputs = ("state", "bullish_distance", "bearish_distance")

    class Config(ComponentConfig):
        """Options."""

        swing: int = Field(
            5, ge=1, le=_LONGEST_SWING, description="Candles a swing stands out on either side"
        )
        max_age: int = Field(100, ge=1, description="Candles after which a zone is forgotten")

    config: Config

    @property
    def warmup(self) -> int:
        """The longest chain: an opposite candle, a swing that is broken, the block it made."""
        return 2 * self.config.max_age + 2 * self.config.swing + 2

    @property
    def state_size(self) -> int:
        """Candles seen, twenty cells as `advance` reads them, rings of highs and lows."""
        return 21 + 2 * _LONGEST_SWING

    @property
    def params(self) -> tuple[float, ...]:
        """Candles on either side of a swing, and the greatest age."""
        return (self.config.swing, self.config.max_age)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        swing = params[0]
        limit = params[1]
        seen = state[0]
        high, low, close = bar.high, bar.low, bar.close

        highest = -inf
        lowest = inf
        for k in range(_LONGEST_SWING):
            used = k < swing
            highest = max(highest, state[21 + k] if used else -inf)
            lowest = min(lowest, state[21 + _LONGEST_SWING + k] if used else inf)
        full = seen >= swing
        slot = int(seen - swing * (seen // swing))
        state[21 + slot] = high
        state[21 + _LONGEST_SWING + slot] = low
        state[0] = seen + 1.0

        # A candidate that lasted `swing` candles is a swing; one that is beaten is none, and
        # whatever beats it stands out on its left.
        peak_clock = state[2] + 1.0 if state[2] > 0.0 and high <= state[1] else 0.0
        peak_holds = peak_clock > swing
        swing_high = state[1] if peak_holds else state[5]
        high_clock = peak_clock if peak_holds else _tick(state[6], limit)
        rises = full and high > highest
        state[1] = high if rises else state[1]
        state[2] = 1.0 if rises else (0.0 if peak_holds else peak_clock)
        dip_clock = state[4] + 1.0 if state[4] > 0.0 and low >= state[3] else 0.0
        dip_holds = dip_clock > swing
        swing_low = state[3] if dip_holds else state[7]
        low_clock = dip_clock if dip_holds else _tick(state[8], limit)
        falls = full and low < lowest
        state[3] = low if falls else state[3]
        state[4] = 1.0 if falls else (0.0 if dip_holds else dip_clock)

        breaks_up = high_clock > 0.0 and close > swing_high
        breaks_down = low_clock > 0.0 and close < swing_low
        state[5] = swing_high
        state[6] = 0.0 if breaks_up else high_clock
        state[7] = swing_low
        state[8] = 0.0 if breaks_down else low_clock

        falling_clock = _tick(state[11], limit)
        new_bull = breaks_up and falling_clock > 0.0
        bull_top = state[9] if new_bull else state[15]
        bull_bottom = state[10] if new_bull else state[16]
        bull_clock = 1.0 if new_bull else _tick(state[17], limit)
        bull_clock = 0.0 if close < bull_bottom else bull_clock
        rising_clock = _tick(state[14], limit)
        new_bear = breaks_down and rising_clock > 0.0
        bear_top = state[12] if new_bear else state[18]
        bear_bottom = state[13] if new_bear else state[19]
        bear_clock = 1.0 if new_bear else _tick(state[20], limit)
        bear_clock = 0.0 if close > bear_top else bear_clock
        state[15] = bull_top
        state[16] = bull_bottom
        state[17] = bull_clock
        state[18] = bear_top
        state[19] = bear_bottom
        state[20] = bear_clock

        is_falling = close < bar.open
        is_rising = close > bar.open
        state[9] = high if is_falling else state[9]
        state[10] = low if is_falling else state[10]
        state[11] = 1.0 if is_falling else falling_clock
        state[12] = high if is_rising else state[12]
        state[13] = low if is_rising else state[13]
        state[14] = 1.0 if is_rising else rising_clock

        at_bull = bull_clock > 0.0 and close - bull_top <= bull_top - bull_bottom
        at_bear = bear_clock > 0.0 and bear_bottom - close <= bear_top - bear_bottom
        ready = seen >= 2.0 * swing
        out[0] = ((1.0 if at_bull else 0.0) - (1.0 if at_bear else 0.0)) if ready else nan
        out[1] = (close - bull_top) / close if ready and bull_clock > 0.0 else nan
        out[2] = (bear_bottom - close) / close if ready and bear_clock > 0.0 else nan


class FairValueGap(StepFeature):
    """Fair value gaps: prices that a fast move of three candles skipped.

    A bullish gap arises on candle t where low[t] > high[t - 2] and reaches from the one to the
    other; a bearish one where high[t] < low[t - 2]. It is filled once a later candle trades
    through all of it, forgotten `max_age` candles after it arose, and replaced by a newer one.

    Outputs:
        gap: size of a gap that arises on this candle over the close, positive for a bullish one
            and negative for a bearish one; 0 on other candles.
        distance: from the close back to where the open gap would be filled, over the close:
            positive above a bullish gap's lower edge, negative below a bearish gap's upper edge,
            0 where no gap is open.
    """

    name = "fair_value_gap"
    outputs = ("gap", "distance")

    class Config(ComponentConfig):
        """Options."""

        max_age: int = Field(100, ge=1, description="Candles after which a gap is forgotten")

    config: Config

    @property
    def warmup(self) -> int:
        """The greatest age, and the two candles before a gap."""
        return self.config.max_age + 3

    @property
    def state_size(self) -> int:
        """Candles seen; last and last but one high, low; the open gap's side, edge and clock."""
        return 8

    @property
    def params(self) -> tuple[float, ...]:
        """The greatest age."""
        return (self.config.max_age,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:
        """Take one candle."""
        seen = state[0]
        high, low, close = bar.high, bar.low, bar.close
        ready = seen >= 2.0
        bullish = ready and low > state[3]
        bearish = ready and high < state[4]

        side = state[5]
        edge = state[6]
        clock = _tick(state[7], params[0])
        filled = low <= edge if side > 0.0 else high >= edge
        clock = 0.0 if filled else clock
        edge = state[3] if bullish else (state[4] if bearish else edge)
        side = 1.0 if bullish else (-1.0 if bearish else side)
        clock = 1.0 if bullish or bearish else clock
        size = low - state[3] if bullish else (high - state[4] if bearish else 0.0)

        state[0] = min(seen + 1.0, 2.0)
        state[3] = state[1]
        state[4] = state[2]
        state[1] = high
        state[2] = low
        state[5] = side
        state[6] = edge
        state[7] = clock
        out[0] = size / close if ready else nan
        out[1] = ((close - edge) / close if clock > 0.0 else 0.0) if ready else nan
