"""The loop that runs a feature's step over a panel; it is compiled once for each step.

Its shape lets the compiler vectorise a step over symbols, which is three to ten times faster. The
memory layout (see `lanes`) serves that, and adjacent symbols that traded, and whose first state
cell is equal, are stepped together, with that cell as one number for all: a step that keeps its
count of candles there then has one weight, and one position in a ring of past values, for all of
them. No bit of the result changes, because the same operations run on the same numbers.
"""

from math import nan

from weft.components.feature import Bar
from weft.features.addresses import cells
from weft.features.lanes import LANES, STRIDE, differ, fill, run_end, write
from weft.foundation.arrays import Floats, IntPanel, Times

_MORE_THAN_CACHE = 1 << 17  # cells of one output

_OUTPUTS = 1
"""Outputs of the step; each copy of the loop has its own number."""


def _step(_state: Floats, _bar: Bar, _params: Floats, _out: Floats) -> None:
    """Stand for the feature's step, which takes this name in each copy of the loop."""


def loop(  # noqa: PLR0913, PLR0917  # a kernel takes its arrays one by one
    presence: IntPanel,
    time: Times,
    open: Floats,  # noqa: A002  # the field's standard name
    high: Floats,
    low: Floats,
    close: Floats,
    volume: Floats,
    params: Floats,
    state: Floats,
    scratch: Floats,
    out: Floats,
    size: int,
    columns: int,
    out_rows: int,
    first: int,
    last: int,
    kept: int,
    base: int,
    left: int,
    right: int,
) -> None:
    """Step symbols `left` to `right` through rows `first` to `last`.

    Outputs are written from row `kept` on; row `base` is the first of `out`. They pass through
    `scratch`, a tile of outputs that stays in the cache.
    """
    options = cells(params, 0, params.shape[0], 1)
    past_the_cache = (last - kept) * columns > _MORE_THAN_CACHE
    for row in range(first, last):
        instant = time[row]
        begin = left
        while begin < right:
            corner = begin // LANES * size * STRIDE + begin % LANES
            width = min(LANES - begin % LANES, right - begin)
            source = row * columns + begin
            kinds = cells(presence, source, width, 1)
            leading = cells(state, corner, width, 1)
            uneven = differ(kinds, leading, width)
            start = 0
            while start < width:
                stop = run_end(kinds, leading, start, width) if uneven else width
                count = stop - start
                if kinds[start] == 0:
                    common = leading[start]
                    opens = cells(open, source + start, count, 1)
                    highs = cells(high, source + start, count, 1)
                    lows = cells(low, source + start, count, 1)
                    closes = cells(close, source + start, count, 1)
                    volumes = cells(volume, source + start, count, 1)
                    for lane in range(count):
                        bar = Bar(
                            instant,
                            opens[lane],
                            highs[lane],
                            lows[lane],
                            closes[lane],
                            volumes[lane],
                        )
                        own = cells(state, corner + start + lane, size, STRIDE)
                        # A no-op that shows the compiler the common value.
                        own[0] = common
                        filled = cells(scratch, start + lane, _OUTPUTS, STRIDE)
                        _step(own, bar, options, filled)
                else:
                    fill(scratch, start, count, _OUTPUTS, nan)
                    if kinds[start] == 2:  # Presence.HOLE
                        fill(state, corner + start, count, size, 0.0)
                start = stop
            if row >= kept:
                target = (row - base) * columns + begin
                for output in range(_OUTPUTS):
                    panel = output * out_rows * columns
                    write(out, target + panel, scratch, output * STRIDE, width, past_the_cache)
            begin += width
