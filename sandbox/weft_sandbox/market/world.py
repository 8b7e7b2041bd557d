"""The simulated market: all data of the protocols, at any time, from one seed."""

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.book import Book, bucket_of, make_book
from weft_sandbox.market.coins import COINS, OPENING, Coin
from weft_sandbox.market.derivatives import Derivatives
from weft_sandbox.market.markets import Markets, Revision
from weft_sandbox.market.more_coins import MORE_COINS
from weft_sandbox.market.news import News, NewsItem
from weft_sandbox.market.replay import Replay
from weft_sandbox.market.series import Series
from weft_sandbox.market.skeleton import REGIMES, Skeleton
from weft_sandbox.market.ticks import Trades
from weft_sandbox.market.venues import REFERENCE, Venue

_FROM_CAPITALISATION = frozenset({"market_cap_usd", "realized_cap_usd", "stablecoin_supply_ratio"})


@dataclass(frozen=True, slots=True)
class Day:
    """The 24 hours up to an instant, as ticker endpoints report them; prices in ticks."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: int
    trades: int
    first_time: int


class World:
    """A market that is a function of seed, coin and time.

    Data may be computed in any order: a minute of 2021 costs as much as the current one. Caches are
    bounded, so memory does not grow with use.

    Args:
        seed: seed of the market.
        replay: folder of real candles to serve instead of simulated prices.
        replay_end: instant to which the last real candle is moved, microseconds since 1970; None
            keeps the dates of the files.
        coins: number of coins, 20 to 100; prices and series of the first do not depend on it. A
            folder of real candles has a fixed number.

    Raises:
        ValueError: the number of coins is out of range.
    """

    def __init__(
        self,
        seed: int = 7,
        replay: Path | None = None,
        replay_end: int | None = None,
        coins: int = len(COINS),
    ) -> None:
        everything = COINS + MORE_COINS
        if not len(COINS) <= coins <= len(everything):
            raise ValueError(f"there are {len(COINS)} to {len(everything)} coins, not {coins}")
        self.seed = seed
        self.made_up = replay is None
        files = None if replay is None else Replay(replay, replay_end)
        self.coins: tuple[Coin, ...] = everything[:coins] if files is None else files.coins
        self.coin = MappingProxyType({coin.name: coin for coin in self.coins})
        """Coins by name, for instance ``BTC``."""
        self._skeleton = Skeleton(seed, self.coins)
        if files is None:
            self.markets = Markets(self._skeleton)
        else:
            files.attach(self._skeleton)
            self.markets = Markets(self._skeleton, files.minutes)
        self.series_maker = Series(self._skeleton)
        self.derivatives = Derivatives(self._skeleton, self.markets, self.series_maker)
        self._news = News(self._skeleton, self.series_maker)

    def candles(self, venue: Venue, coin: Coin, grid: Grid, first: int, end: int, now: int) -> Bars:
        """Return the candles that open in [first, end); the last one may be unfinished at `now`."""
        return self.markets.candles(venue, coin, grid, first, end, now)

    def trades(self, venue: Venue, coin: Coin, first: int, end: int, now: int) -> Trades:
        """Return the trades in [first, end) that happened by `now`."""
        return self.markets.trades(venue, coin, first, end, now)

    def price(self, venue: Venue, coin: Coin, instant: int) -> int:
        """Return the last price at an instant, in ticks."""
        return self.markets.last_price(venue, coin, instant)

    def book(self, venue: Venue, coin: Coin, instant: int, levels: int = 100) -> Book:
        """Return the order book at an instant."""
        return make_book(self.markets, venue, coin, bucket_of(instant), levels)

    def day(self, venue: Venue, coin: Coin, now: int) -> Day | None:
        """Return the 24 hours up to now; None before the listing."""
        grid = Grid.of("1m")
        bars = self.candles(venue, coin, grid, grid.shifted(grid.open_of(now), -1439), now + 1, now)
        if not len(bars):
            return None
        return Day(
            int(bars.open[0]),
            int(bars.high.max()),
            int(bars.low.min()),
            int(bars.close[-1]),
            int(bars.volume.sum()),
            int(bars.quote.sum()),
            int(bars.trades.sum()),
            int(bars.open_time[0]),
        )

    def series(self, name: str, asset: str | None, times: Times) -> Floats:
        """Return an on-chain, sentiment or macro series; `recipes` states its lead or lag.

        Args:
            name: name of the series; a name without a recipe gives noise.
            asset: name of the coin; None for the market.
            times: instants, microseconds since 1970; a value is known at the start of its hour. A
                row that a source stamps with the start of a day has the value of the end of that
                day.
        """
        coin = None if asset is None else self.coin[asset]
        if coin is None or name not in _FROM_CAPITALISATION:
            return self.series_maker.values(name, coin, times)
        cap = self._caps(coin, times)
        match name:
            case "realized_cap_usd":
                return cap / self.series_maker.values("mvrv", coin, times)
            case "stablecoin_supply_ratio":
                return cap / self.series_maker.values("stablecoin_supply", None, times)
            case _:
                return cap

    def _caps(self, coin: Coin, times: Times) -> Floats:
        """Return the market capitalisation at the start of the hour of each instant."""
        hours = np.maximum(np.asarray(times) // HOUR * HOUR, coin.listed).tolist()
        prices = [self.price(REFERENCE, coin, hour) for hour in hours]
        return np.array(prices) * coin.tick * coin.supply

    def news(self, first: int, end: int, asset: str | None = None) -> list[NewsItem]:
        """Return the texts published in [first, end), oldest first."""
        return self._news.items(first, end, None if asset is None else self.coin[asset])

    def regime(self, instant: int) -> str:
        """Return the regime of the market: calm, bull, bear or turbulent."""
        hours = self._skeleton.until(instant)
        return REGIMES[int(hours.regime[(instant - OPENING) // HOUR])]

    def revise(self, revision: Revision | None) -> None:
        """Change past prices from now on; None removes all revisions."""
        self.markets.revise(revision)
