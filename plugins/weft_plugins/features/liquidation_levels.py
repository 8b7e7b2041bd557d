"""Liquidation levels: prices at which leveraged positions would be closed by force."""

from collections.abc import Mapping, Sequence
from typing import Final, Self, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.feature import PanelFeature
from weft.components.needs import Need, candles, metric
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import SECOND
from weft.market.metrics import MetricPanel
from weft.market.view import View

OUTPUTS: Final = ("balance", "above", "below", "nearest_above", "nearest_below", "tracked")
"""Outputs, in the order of their panels."""

_BALANCE, _ABOVE, _BELOW, _NEAREST_ABOVE, _NEAREST_BELOW, _TRACKED = range(6)
_FAINT: Final = 1e-100  # a factor below this is multiplied into the masses before it underflows

_Book: TypeAlias = tuple[FloatPanel, FloatPanel, NDArray[np.int64], Floats]
"""Levels and masses (queue, position), their number (queue,), and the closest levels (queue,).

Queues are by leverage, each with longs first, then shorts. Levels of longs are kept with a minus,
so that on both sides the smallest is touched first. The closest is inf where there is none.
"""

_LEVERAGES: Final = (5, 10, 25, 50, 100)
_METRICS: Final = ("open_interest", "open_interest_usd", "long_short_ratio")


class LiquidationLevels(PanelFeature):
    """Levels at which open positions would be liquidated, from open interest and prices.

    No venue publishes the leverage or the entry price of its users' positions. This is the usual
    estimate, as drawn in public "liquidation maps". It assumes:

    - A rise of open interest opens positions at the candle's typical price,
      (high + low + close) / 3: half of them long, or r / (1 + r) of them long where the
      `long_short_ratio` r of accounts is known. Positions from before the first known row are
      ignored.
    - Positions are opened at leverages of 5, 10, 25, 50 and 100, in the proportions of `share_5x`
      to `share_100x`. These proportions are a guess.
    - A long opened at p with leverage L is liquidated at p * (1 - 1 / L + m), a short at
      p * (1 + 1 / L - m), where m is the maintenance margin: to first order in 1 / L and m, the
      price at which the loss leaves only m of the isolated margin. Cross margin is liquidated
      later.
    - A position whose level a later candle's low or high reaches is closed by force. A fall of open
      interest beyond these closes shrinks all positions alike; a smaller fall means that new
      positions were opened.
    - Positions fade with a half-life: closes and openings that cancel out leave no trace in the
      open interest.

    Open interest is taken in coins, from `open_interest`, or else `open_interest_usd` over the
    close at the time of its measurement: in USD, a rising price would look like opened positions.
    Where one measure replaces the other, all positions are scaled alike.

    Time is cut into calendar blocks of a quarter of the window, and each block is stepped through
    from `window` rows before it, so that a row depends on the same rows in every view.

    Outputs:
        balance: (above - below) / (above + below), -1 to 1; NaN where both are 0.
        above: short positions liquidated within `reach` above the close, each times
            1 - distance / reach, as a share of the open interest; 0 to 1.
        below: long positions liquidated within `reach` below it, likewise.
        nearest_above: distance from the close, a share of it, of the heaviest cluster of levels
            above: the mean of those in it. Clusters are `cluster` wide. NaN where there is none.
        nearest_below: of the heaviest below, likewise, positive.
        tracked: share of the open interest whose entry is known; 0 to 1.

    All are NaN where open interest is unknown, not above 0 or older than `stale_rows`, and where
    there is no candle.
    """

    name = "liquidation_levels"
    outputs = OUTPUTS

    class Config(ComponentConfig):
        """Options. Of the shares only the ratios matter."""

        share_5x: float = Field(default=0.20, ge=0, description="share opened at leverage 5")
        share_10x: float = Field(default=0.30, ge=0, description="share opened at leverage 10")
        share_25x: float = Field(default=0.25, ge=0, description="share opened at leverage 25")
        share_50x: float = Field(default=0.15, ge=0, description="share opened at leverage 50")
        share_100x: float = Field(default=0.10, ge=0, description="share opened at leverage 100")
        maintenance_margin: float = Field(
            default=0.005, ge=0, lt=0.01, description="share of a position that must stay covered"
        )
        half_life: float = Field(
            default=168.0, gt=0, description="candles in which half of the positions are renewed"
        )
        window: int = Field(default=840, ge=4, description="rows looked back over, at least")
        reach: float = Field(
            default=0.10, gt=0, lt=1, description="distance within which levels count"
        )
        cluster: float = Field(default=0.005, gt=0, description="width of a cluster of levels")
        stale_rows: int = Field(
            default=24, ge=0, description="rows after which open interest is too old"
        )

        @model_validator(mode="after")
        def _options_fit(self) -> Self:
            if self.cluster > self.reach:
                raise ValueError(
                    f"cluster ({self.cluster}) must not be wider than reach ({self.reach})"
                )
            if not any(self.shares):
                raise ValueError("at least one of share_5x to share_100x must be above 0")
            return self

        @property
        def shares(self) -> tuple[float, ...]:
            """The shares as given, by ascending leverage."""
            return (
                self.share_5x, self.share_10x, self.share_25x, self.share_50x, self.share_100x,
            )  # fmt: skip

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """A block and a window before it, and the prices at which its facts were measured."""
        rows = self.config.window + self._block - 1 + self.config.stale_rows
        return [candles(warmup=rows), *(metric(name, warmup=rows) for name in _METRICS)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the liquidation levels above and below each close."""
        config = self.config
        panels = {name: view.metric(name) for name in _METRICS}
        prices = view.candles()
        rows = min(len(prices), *(len(panel.times) for panel in panels.values()))
        bars = np.stack([panel[-rows:] for panel in (prices.high, prices.low, prices.close)])
        coins, usd, ratio = (self._fresh(view, panel, rows) for panel in panels.values())
        usd /= self._close_then(view, panels["open_interest_usd"], bars[2])
        unit = np.where(coins > 0.0, 1.0, 2.0)
        interest = np.where(coins > 0.0, coins, np.where(usd > 0.0, usd, np.nan))
        longs = np.where(ratio > 0.0, ratio / (1.0 + ratio), 0.5)
        shares = np.array(config.shares) / sum(config.shares)
        distances = 1.0 / np.array(_LEVERAGES) - config.maintenance_margin
        out = np.empty((len(OUTPUTS), view.steps, len(view.symbols)))
        # Calendar index of the panel's first row.
        origin = view.interval.index(int(prices.times[-rows]))
        row = rows - view.steps
        while row < rows:
            begins = (origin + row) // self._block * self._block - origin
            start, end = max(0, begins - config.window), min(rows, begins + self._block)
            done = row - (rows - view.steps)
            follow(
                bars[:, start:end], interest[start:end], unit[start:end], longs[start:end],
                distances, shares, 0.5 ** (1.0 / config.half_life), config.reach, config.cluster,
                row - start, out[:, done : done + end - row],
            )  # fmt: skip
            row = end
        # Levels from before a split or a redenomination are prices of another unit.
        out[:, prices.leapt_within(config.window + self._block)[-view.steps :]] = np.nan
        return dict(zip(OUTPUTS, out, strict=True))

    @property
    def _block(self) -> int:
        return self.config.window // 4

    def _rows_ago(self, view: View, panel: MetricPanel, rows: int) -> FloatPanel:
        return np.rint(panel.age_seconds[-rows:] * SECOND / view.interval.micros)

    def _fresh(self, view: View, panel: MetricPanel, rows: int) -> FloatPanel:
        ago = self._rows_ago(view, panel, rows)
        values = panel.values[-rows:]
        usable = (ago <= self.config.stale_rows) & np.isfinite(values)
        return np.where(usable, values, np.nan)

    def _close_then(self, view: View, panel: MetricPanel, close: FloatPanel) -> FloatPanel:
        """Return the close of the row in which each value of a metric was measured."""
        rows = len(close)
        ago = np.nan_to_num(self._rows_ago(view, panel, rows), nan=rows)
        at = np.arange(rows)[:, None] - np.clip(ago, 0, rows).astype(np.int64)
        then = np.take_along_axis(close, np.maximum(at, 0), axis=0)
        return np.where(at >= 0, then, np.nan)


@njit(cache=True, nogil=True, error_model="numpy")
def follow(  # noqa: PLR0913, PLR0917  # numba passes no structures
    candles: NDArray[np.float64],
    interest: FloatPanel,
    unit: FloatPanel,
    longs: FloatPanel,
    distances: Floats,
    shares: Floats,
    fade: float,
    reach: float,
    width: float,
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Open, fade and close assumed positions, and measure them from row `first` on.

    Each leverage and side has a queue, so that one comparison with its closest level shows whether
    a candle can have touched any position of it. A common factor holds what shrinks all positions
    alike; stored masses are multiplied by it when they are read.

    Args:
        candles: high, low and close (3, time, symbol); NaN where there is none.
        interest: open interest, above 0 (time, symbol); NaN where unknown.
        unit: number of the measure of open interest, 1 or more (time, symbol). Where it changes,
            all positions are scaled alike.
        longs: long share of the positions opened, 0 to 1 (time, symbol).
        distances: of a level from the price of opening, a share of it, by leverage.
        shares: of the positions opened, by leverage; they sum to 1.
        fade: share of a position that is left a candle later, above 0.
        reach: distance from the close within which levels count, a share of it.
        width: of a cluster, likewise.
        first: row of the first output.
        out: filled (6, time - first, symbol), in the order of `OUTPUTS`; NaN where the candle or
            the open interest is unknown.
    """
    rows, columns = interest.shape
    leverages = len(distances)
    queues = 2 * leverages
    signed, masses = np.empty((queues, rows)), np.empty((queues, rows))
    counts, closest = np.zeros(queues, dtype=np.int64), np.empty(queues)
    book = (signed, masses, counts, closest)
    clusters = np.zeros((2, 2, int(np.ceil(reach / width))))
    for k in range(columns):
        counts[:] = 0
        closest[:] = np.inf
        scale, expected, measure = 1.0, np.nan, 0.0
        for row in range(rows):
            high, low, close = candles[0, row, k], candles[1, row, k], candles[2, row, k]
            now = interest[row, k]
            if row >= first:
                out[:, row - first, k] = np.nan
            if np.isnan(close):
                continue
            # An empty book has no scale, wherever the panel begins.
            scale = scale * fade if counts.any() else 1.0
            if scale < _FAINT:
                masses *= scale
                scale = 1.0
            expected -= scale * _close_touched(book, high, low)
            if np.isnan(now):
                continue
            if measure == unit[row, k] and now > expected:
                opened = (now - expected) / scale
                price = (high + low + close) / 3.0
                _open(book, opened, price, longs[row, k], distances, shares)
            elif measure > 0.0 and expected > 0.0:
                scale *= now / expected
            expected, measure = now, unit[row, k]
            if row >= first:
                _measure(book, scale / now, close, reach, width, clusters, out[:, row - first, k])


@njit(cache=True, nogil=True, error_model="numpy")
def _open(
    book: _Book, opened: float, price: float, long: float, distances: Floats, shares: Floats
) -> None:
    signed, masses, counts, closest = book
    for queue in range(len(counts)):
        side, leverage = queue % 2, queue // 2
        mass = opened * shares[leverage] * (1.0 - long if side else long)
        if mass > 0.0:
            sign = 1.0 if side else -1.0
            level = sign * price * (1.0 + sign * distances[leverage])
            signed[queue, counts[queue]], masses[queue, counts[queue]] = level, mass
            counts[queue] += 1
            closest[queue] = min(closest[queue], level)


@njit(cache=True, nogil=True, error_model="numpy")
def _close_touched(book: _Book, high: float, low: float) -> float:
    """Remove the positions whose level a candle reached, and return their stored mass."""
    signed, masses, counts, closest = book
    closed = 0.0
    for queue in range(len(counts)):
        edge = high if queue % 2 else -low
        if closest[queue] > edge:
            continue
        remaining, smallest = 0, np.inf
        for i in range(counts[queue]):
            level, mass = signed[queue, i], masses[queue, i]
            if level <= edge:
                closed += mass
                continue
            signed[queue, remaining], masses[queue, remaining] = level, mass
            smallest = min(smallest, level)
            remaining += 1
        counts[queue], closest[queue] = remaining, smallest
    return closed


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(
    book: _Book,
    scale: float,
    close: float,
    reach: float,
    width: float,
    clusters: NDArray[np.float64],
    out: Floats,
) -> None:
    signed, masses, counts, closest = book
    clusters[:] = 0.0
    near, tracked = np.zeros(2), 0.0
    for queue in range(len(counts)):
        side = queue % 2
        for i in range(counts[queue]):
            tracked += masses[queue, i]
        sign = 1.0 if side else -1.0
        if closest[queue] / close - sign >= reach:
            continue
        for i in range(counts[queue]):
            distance = signed[queue, i] / close - sign
            if 0.0 < distance < reach:
                mass = masses[queue, i]
                near[side] += mass * (1.0 - distance / reach)
                place = min(int(distance / width), clusters.shape[2] - 1)
                clusters[side, 0, place] += mass
                clusters[side, 1, place] += mass * distance
    out[_BELOW], out[_ABOVE] = scale * near[0], scale * near[1]
    both = near[0] + near[1]
    out[_BALANCE] = (near[1] - near[0]) / both if both > 0.0 else np.nan
    out[_NEAREST_BELOW] = _heaviest(clusters[0])
    out[_NEAREST_ABOVE] = _heaviest(clusters[1])
    out[_TRACKED] = scale * tracked


@njit(cache=True, nogil=True, error_model="numpy")
def _heaviest(clusters: FloatPanel) -> float:
    """Return the mean distance in the cluster of most mass; of equals in the closest."""
    heaviest = np.argmax(clusters[0])
    mass = clusters[0, heaviest]
    return float(clusters[1, heaviest] / mass) if mass > 0.0 else np.nan
