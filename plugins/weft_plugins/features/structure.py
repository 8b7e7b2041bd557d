"""Price structure: order blocks and fair value gaps."""

from math import inf, nan

from numba import njit
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step
from weft.foundation.arrays import Floats

# Fixed, so that the compiler unrolls the search for the extreme of the last candles.
_LONGEST_SWING = 10


@njit(error_model="numpy", forceinline=True)
def _tick(clock: float, limit: float) -> float:
    """Return a clock one candle later; it counts from 1 to `limit`, and 0 means stopped."""
    return clock + 1.0 if 0.0 < clock < limit else 0.0


@njit(error_model="numpy", forceinline=True)
def _block_above(  # noqa: PLR0913, PLR0917  # numba passes no keywords
    state: Floats,
    at: int,
    seen: float,
    open: float,  # noqa: A002  # the field's standard name
    high: float,
    low: float,
    close: float,
    swing: float,
    limit: float,
) -> tuple[float, float, float]:
    """Follow bullish order blocks in the cells at `state[at:]`; see `OrderBlock`.

    Returns:
        The latest block's top, its bottom, and its clock: 0 where there is none.
    """
    peak, peak_clock, swing_high, high_clock = (
        state[at],
        state[at + 1],
        state[at + 2],
        state[at + 3],
    )
    falling_top, falling_bottom, falling_clock = state[at + 4], state[at + 5], state[at + 6]
    top, bottom, clock = state[at + 7], state[at + 8], state[at + 9]

    highest = -inf
    newest = high
    for k in range(_LONGEST_SWING):
        past = state[at + 10 + k]
        highest = max(highest, min(past, inf if k < swing else -inf))
        state[at + 10 + k] = newest
        newest = past

    # A candidate that lasts `swing` candles is a swing. A higher high replaces a candidate, and
    # exceeds all highs on its left, because the candidate did.
    peak_clock = peak_clock + 1.0 if peak_clock > 0.0 and high <= peak else 0.0
    confirmed = peak_clock > swing
    swing_high = peak if confirmed else swing_high
    high_clock = peak_clock if confirmed else _tick(high_clock, limit)
    peak_clock = 0.0 if confirmed else peak_clock
    stands_out = seen >= swing and high > highest
    peak = high if stands_out else peak
    peak_clock = 1.0 if stands_out else peak_clock

    breaks = high_clock > 0.0 and close > swing_high
    high_clock = 0.0 if breaks else high_clock
    falling_clock = _tick(falling_clock, limit)
    arises = breaks and falling_clock > 0.0
    top = falling_top if arises else top
    bottom = falling_bottom if arises else bottom
    clock = 1.0 if arises else _tick(clock, limit)
    clock = 0.0 if close < bottom else clock

    falls = close < open
    state[at], state[at + 1], state[at + 2], state[at + 3] = (
        peak,
        peak_clock,
        swing_high,
        high_clock,
    )
    state[at + 4] = high if falls else falling_top
    state[at + 5] = low if falls else falling_bottom
    state[at + 6] = 1.0 if falls else falling_clock
    state[at + 7], state[at + 8], state[at + 9] = top, bottom, clock
    return top, bottom, clock


_SIDE_CELLS = 10 + _LONGEST_SWING


class OrderBlock(StepFeature):
    """Order blocks: the last candle against a move that broke market structure.

    A swing high is a high above the `swing` highs before it and not below the `swing` highs after
    it; it is known, and counts, only once those candles have closed. The first close above the
    latest swing high breaks structure upwards, and the last falling candle (close below open)
    before the breaking one becomes the bullish block, from its low to its high. It stands until a
    close below it. Swing lows, closes below them and rising candles give bearish blocks likewise.

    Swings, opposite candles and blocks are forgotten `max_age` candles after they arose, and a
    newer one replaces an older of its kind.

    The terms (market structure, order block, mitigation) come from the trading courses known as
    "inner circle trader". There is no published definition; this one is the common core of the
    public implementations.

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
            default=100, ge=2, description="Candles after which a swing or a block is forgotten"
        )

        @model_validator(mode="after")
        def _swings_are_known_in_time(self) -> "OrderBlock.Config":
            if self.max_age <= self.swing:
                raise ValueError(
                    f"max_age ({self.max_age}) must be more than swing ({self.swing}): a swing is "
                    "known only that many candles after it"
                )
            return self

    config: Config

    @property
    def warmup(self) -> int:
        """The longest chain: a swing, its break, and the block from that break."""
        return 2 * self.config.max_age + 2 * self.config.swing + 2

    @property
    def state_size(self) -> int:
        """Candles seen, and the cells of either side."""
        return 1 + 2 * _SIDE_CELLS

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
        close = bar.close
        top, bottom, clock = _block_above(
            state, 1, seen, bar.open, bar.high, bar.low, close, swing, limit
        )
        # With prices negated, a bearish block is a bullish one.
        low_end, high_end, bear_clock = _block_above(
            state, 1 + _SIDE_CELLS, seen, -bar.open, -bar.low, -bar.high, -close, swing, limit
        )
        state[0] = min(seen + 1.0, 2.0 * swing)
        ready = seen >= 2.0 * swing
        above = close - top
        below = -close - low_end
        near_bull = 1.0 if clock > 0.0 and above <= top - bottom else 0.0
        near_bear = 1.0 if bear_clock > 0.0 and below <= low_end - high_end else 0.0
        above = above / close
        below = below / close
        out[0] = near_bull - near_bear if ready else nan
        out[1] = above if ready and clock > 0.0 else nan
        out[2] = below if ready and bear_clock > 0.0 else nan


class FairValueGap(StepFeature):
    """Fair value gaps: prices that a fast move of three candles skipped.

    The term comes from the same courses as `OrderBlock`; the definition is that of the public
    implementations.

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
