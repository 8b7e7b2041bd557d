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
        max_age: int = Field(
            default=100, ge=1, description="Candles after which a zone is forgotten"
        )

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
        peak, peak_clock, dip, dip_clock = state[1], state[2], state[3], state[4]
        swing_high, high_clock, swing_low, low_clock = state[5], state[6], state[7], state[8]
        falling_top, falling_bottom, falling_clock = state[9], state[10], state[11]
        rising_top, rising_bottom, rising_clock = state[12], state[13], state[14]
        bull_top, bull_bottom, bull_clock = state[15], state[16], state[17]
        bear_top, bear_bottom, bear_clock = state[18], state[19], state[20]
        high, low, close = bar.high, bar.low, bar.close

        highest = -inf
        lowest = inf
        newest_high = high
        newest_low = low
        for k in range(_LONGEST_SWING):
            past_high = state[21 + k]
            past_low = state[21 + _LONGEST_SWING + k]
            bound = inf if k < swing else -inf
            highest = max(highest, min(past_high, bound))
            lowest = min(lowest, max(past_low, -bound))
            state[21 + k] = newest_high
            state[21 + _LONGEST_SWING + k] = newest_low
            newest_high = past_high
            newest_low = past_low

        # A candidate that lasted `swing` candles is a swing. One that is beaten is none, and
        # what beats it stands out on its left, because the candidate did.
        peak_clock = peak_clock + 1.0 if peak_clock > 0.0 and high <= peak else 0.0
        is_swing = peak_clock > swing
        swing_high = peak if is_swing else swing_high
        high_clock = peak_clock if is_swing else _tick(high_clock, limit)
        peak_clock = 0.0 if is_swing else peak_clock
        stands_out = seen >= swing and high > highest
        peak = high if stands_out else peak
        peak_clock = 1.0 if stands_out else peak_clock
        dip_clock = dip_clock + 1.0 if dip_clock > 0.0 and low >= dip else 0.0
        is_swing = dip_clock > swing
        swing_low = dip if is_swing else swing_low
        low_clock = dip_clock if is_swing else _tick(low_clock, limit)
        dip_clock = 0.0 if is_swing else dip_clock
        stands_out = seen >= swing and low < lowest
        dip = low if stands_out else dip
        dip_clock = 1.0 if stands_out else dip_clock

        breaks_up = high_clock > 0.0 and close > swing_high
        high_clock = 0.0 if breaks_up else high_clock
        falling_clock = _tick(falling_clock, limit)
        arises = breaks_up and falling_clock > 0.0
        bull_top = falling_top if arises else bull_top
        bull_bottom = falling_bottom if arises else bull_bottom
        bull_clock = 1.0 if arises else _tick(bull_clock, limit)
        bull_clock = 0.0 if close < bull_bottom else bull_clock
        breaks_down = low_clock > 0.0 and close < swing_low
        low_clock = 0.0 if breaks_down else low_clock
        rising_clock = _tick(rising_clock, limit)
        arises = breaks_down and rising_clock > 0.0
        bear_top = rising_top if arises else bear_top
        bear_bottom = rising_bottom if arises else bear_bottom
        bear_clock = 1.0 if arises else _tick(bear_clock, limit)
        bear_clock = 0.0 if close > bear_top else bear_clock

        falls = close < bar.open
        rises = close > bar.open
        state[0] = min(seen + 1.0, 2.0 * swing)
        state[1], state[2], state[3], state[4] = peak, peak_clock, dip, dip_clock
        state[5], state[6], state[7], state[8] = swing_high, high_clock, swing_low, low_clock
        state[9] = high if falls else falling_top
        state[10] = low if falls else falling_bottom
        state[11] = 1.0 if falls else falling_clock
        state[12] = high if rises else rising_top
        state[13] = low if rises else rising_bottom
        state[14] = 1.0 if rises else rising_clock
        state[15], state[16], state[17] = bull_top, bull_bottom, bull_clock
        state[18], state[19], state[20] = bear_top, bear_bottom, bear_clock

        ready = seen >= 2.0 * swing
        bullish = bull_clock > 0.0
        bearish = bear_clock > 0.0
        at_bull = 1.0 if bullish and close - bull_top <= bull_top - bull_bottom else 0.0
        at_bear = 1.0 if bearish and bear_bottom - close <= bear_top - bear_bottom else 0.0
        above = (close - bull_top) / close
        below = (bear_bottom - close) / close
        out[0] = at_bull - at_bear if ready else nan
        out[1] = above if ready and bullish else nan
        out[2] = below if ready and bearish else nan


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

        max_age: int = Field(
            default=100, ge=1, description="Candles after which a gap is forgotten"
        )

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
        last_high, last_low, first_high, first_low = state[1], state[2], state[3], state[4]
        side, edge, clock = state[5], state[6], state[7]
        high, low, close = bar.high, bar.low, bar.close
        ready = seen >= 2.0
        bullish = ready and low > first_high
        bearish = ready and high < first_low

        filled = (side > 0.0 and low <= edge) or (side < 0.0 and high >= edge)
        clock = 0.0 if filled else _tick(clock, params[0])
        edge = first_high if bullish else edge
        edge = first_low if bearish else edge
        side = 1.0 if bullish else side
        side = -1.0 if bearish else side
        clock = 1.0 if bullish or bearish else clock
        size = low - first_high if bullish else 0.0
        size = high - first_low if bearish else size
        distance = (close - edge) / close

        state[0] = min(seen + 1.0, 2.0)
        state[1], state[2], state[3], state[4] = high, low, last_high, last_low
        state[5], state[6], state[7] = side, edge, clock
        distance = distance if clock > 0.0 else 0.0
        out[0] = size / close if ready else nan
        out[1] = distance if ready else nan
