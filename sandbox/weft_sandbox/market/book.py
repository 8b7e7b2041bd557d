"""The order book around the last price, as a function of time."""

from dataclasses import dataclass

import numpy as np

from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import Integers, hashed, key_of
from weft_sandbox.market.markets import Markets
from weft_sandbox.market.venues import Venue

BUCKET = 100_000
"""Microseconds between two changes of the book."""
UPDATES_A_BUCKET = 7
"""Update numbers in one bucket."""
_LEVEL_BPS = 0.4
_LIFE_BUCKETS = 40
_DEPTH_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Book:
    """Both sides of a book, best price first, in ticks and steps.

    Attributes:
        bucket: number of tenths of a second since the opening.
        bids: price and size of each level (levels, 2).
        asks: price and size of each level (levels, 2).
    """

    bucket: int
    bids: Integers
    asks: Integers

    @property
    def update(self) -> int:
        """Number of the last update in the book."""
        return self.bucket * UPDATES_A_BUCKET

    @property
    def time(self) -> int:
        """Instant of the book, microseconds since 1970."""
        return OPENING + self.bucket * BUCKET


def bucket_of(instant: int) -> int:
    """Return the tenth of a second of an instant, counted from the opening."""
    return (instant - OPENING) // BUCKET


def make_book(markets: Markets, venue: Venue, coin: Coin, bucket: int, levels: int) -> Book:
    """Return the book at the start of a bucket.

    A level keeps its size for some seconds. Levels change at different times, so only a few change
    from one bucket to the next.
    """
    last = markets.last_price(venue, coin, OPENING + bucket * BUCKET)
    stride = max(round(coin.price * _LEVEL_BPS * 1e-4 / coin.tick), 1)
    best = last // stride
    key = key_of("book", venue.name, coin.name) & (2**62 - 1)
    rungs = np.arange(levels, dtype=np.int64)
    bids, asks = (best - rungs) * stride, (best + 1 + rungs) * stride
    sides = []
    for side, prices in enumerate((bids[bids > 0], asks)):
        phase = (hashed(key + side, prices) * _LIFE_BUCKETS).astype(np.int64)
        life = (bucket + phase) // _LIFE_BUCKETS
        draw = hashed(key + 2 + side, prices * 1_000_003 + life)
        # With the last price, instead of the long-run one, each trade would change every size.
        size = coin.turnover * venue.share * _DEPTH_SHARE / (coin.price * coin.step)
        sizes = np.maximum(np.rint(size * (0.15 - 1.2 * np.log(1 - draw))), 1).astype(np.int64)
        sides.append(np.stack([prices, sizes], axis=1))
    return Book(bucket, sides[0], sides[1])


def changes(before: Book, after: Book) -> tuple[Integers, Integers]:
    """Return the levels of each side that differ; size 0 means a removed level."""
    return _changed(before.bids, after.bids), _changed(before.asks, after.asks)


def _changed(before: Integers, after: Integers) -> Integers:
    old, new = dict(before.tolist()), dict(after.tolist())
    rows = [[price, size] for price, size in new.items() if old.get(price) != size]
    rows += [[price, 0] for price in old if price not in new]
    return np.array(rows, np.int64).reshape(-1, 2)
