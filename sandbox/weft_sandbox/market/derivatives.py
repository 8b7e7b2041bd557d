"""Data of perpetuals: funding, open interest, long-short ratios and liquidations."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR, MINUTE
from weft_sandbox.market.bars import MINUTES, Bars, Grid
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import generator
from weft_sandbox.market.markets import Markets
from weft_sandbox.market.series import Series
from weft_sandbox.market.skeleton import Skeleton
from weft_sandbox.market.venues import REFERENCE, Venue

FUNDING_HOURS = 8
_INTEREST, _DAMPER, _CAP = 1.0e-4, 0.5e-4, 7.5e-3
_CALM = 2.2
"""Move of a minute, in multiples of its usual size, that liquidates positions."""


@dataclass(frozen=True, slots=True)
class Liquidation:
    """A forced closing of a position.

    Attributes:
        time: microseconds since 1970, whole milliseconds.
        sells: whether a long position was sold.
        price: price in ticks.
        size: size in steps.
    """

    time: int
    sells: bool
    price: int
    size: int


class Derivatives:
    """Computes the data of perpetual markets."""

    def __init__(self, skeleton: Skeleton, markets: Markets, series: Series) -> None:
        self._skeleton, self._markets, self._series = skeleton, markets, series

    def funding_times(self, coin: Coin, first: int, end: int) -> Times:
        """Return the settlements in a span, `end` excluded: 0, 8 and 16 h UTC."""
        step = FUNDING_HOURS * HOUR
        begin = max(-(-first // step), -(-coin.listed // step) + 1)
        return np.arange(begin, -(-end // step), dtype=np.int64) * step

    def funding_rates(self, venue: Venue, coin: Coin, times: Times) -> Floats:
        """Return the rate of each settlement: the damped mean premium of its eight hours.

        The rate has the sign of the premium, except for small premiums, where the interest decides.
        """
        if not len(times):
            return np.empty(0)
        hours = times[:, None] - np.arange(FUNDING_HOURS)[None, :] * HOUR
        mean = self._markets.premium(venue, coin, hours.ravel()).reshape(hours.shape).mean(axis=1)
        rate = mean + np.clip(_INTEREST - mean, -_DAMPER, _DAMPER)
        return np.asarray(np.round(np.clip(rate, -_CAP, _CAP), 8))

    def next_funding(self, instant: int) -> int:
        """Return the first settlement after an instant."""
        step = FUNDING_HOURS * HOUR
        return (instant // step + 1) * step

    def open_interest(self, venue: Venue, coin: Coin, times: Times) -> Floats:
        """Return the open interest in coins, as known at each instant."""
        # Venues differ in level, not in information.
        return self._series.values("open_interest", coin, times) * venue.share / 3

    def ratio(self, name: str, coin: Coin, times: Times) -> Floats:
        """Return the ratio of longs to shorts: `long_short_ratio`, or a `top_*_ratio`."""
        return np.round(self._series.values(name, coin, times), 4)

    def mark_price(self, venue: Venue, coin: Coin, instant: int) -> float:
        """Return the mark price in dollars: the index price with the premium of the hour."""
        index = self.index_price(coin, instant)
        return float(index * (1 + self._markets.premium(venue, coin, np.array([instant]))[0]))

    def settlement_prices(self, venue: Venue, coin: Coin, times: Times) -> Floats:
        """Return the price at full hours, in dollars."""
        if not len(times):
            return np.empty(0)
        grid, end = Grid(HOUR), int(times[-1])
        bars = self._markets.candles(venue, coin, grid, int(times[0]) - HOUR, end, end)
        at = np.searchsorted(bars.open_time, times - HOUR)
        return np.asarray(bars.close[np.minimum(at, len(bars) - 1)] * coin.tick)

    def index_price(self, coin: Coin, instant: int) -> float:
        """Return the spot price that the contract follows, in dollars."""
        hours = self._skeleton.until(instant)
        row = (instant - OPENING) // HOUR - 1
        fallback = float(np.exp(hours.close[max(row, 0), self._skeleton.column(coin)]))
        opening = MINUTES.open_of(instant)
        bars = self._markets.candles(
            REFERENCE, coin, MINUTES, opening - 2 * MINUTE, opening, opening
        )
        return float(bars.close[-1]) * coin.tick if len(bars) else fallback

    def liquidations(self, venue: Venue, coin: Coin, first: int, end: int) -> list[Liquidation]:
        """Return the liquidations of a span in order of time; they follow sharp moves."""
        opening = MINUTES.open_of(first)
        bars = self._markets.candles(venue, coin, MINUTES, opening, end, end + MINUTE)
        forced: list[Liquidation] = []
        for row in range(len(bars)):
            forced += self._of_minute(venue, coin, bars.rows(slice(row, row + 1)))
        return [item for item in forced if first <= item.time < end]

    def _of_minute(self, venue: Venue, coin: Coin, bar: Bars) -> list[Liquidation]:
        opening = int(bar.open_time[0])
        hours = self._skeleton.until(opening)
        row = (opening - OPENING) // HOUR
        usual = float(hours.deviation[row, self._skeleton.column(coin)]) / np.sqrt(60)
        down, up = (float(np.log(p[0] / bar.open[0])) / usual for p in (bar.low, bar.high))
        force = max(-down, up) - _CALM
        if force <= 0:
            return []
        rng = generator(self._skeleton.seed, ("liquidations", venue.name, coin.name), opening)
        count = int(min(rng.poisson(1.5 * force), 40))
        sells = -down > up
        worst = int(bar.low[0] if sells else bar.high[0])
        times = np.sort(rng.integers(0, MINUTE // 1_000, count)) * 1_000 + opening
        prices = np.rint(rng.uniform(0.3, 1.0, count) * (worst - bar.open[0]) + bar.open[0])
        dollars = coin.turnover * 0.002 * rng.pareto(1.5, count)
        sizes = np.maximum(np.rint(dollars / (worst * coin.tick * coin.step)), 1)
        rows = zip(times.tolist(), prices.tolist(), sizes.tolist(), strict=True)
        return [Liquidation(int(t), sells, int(p), int(s)) for t, p, s in rows]
