"""A hundred coins: the first twenty unchanged, and eighty plausible ones."""

import numpy as np
import pytest

from tests.sandbox.conftest import NOW
from weft.foundation.times import DAY, HOUR
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.coins import COINS
from weft_sandbox.market.more_coins import MORE_COINS
from weft_sandbox.market.venues import BYBIT_LINEAR, PERPETUAL, REFERENCE
from weft_sandbox.market.world import World


@pytest.fixture(scope="module")
def many() -> World:
    return World(seed=7, coins=100)


def test_the_hundred_coins_differ(many: World) -> None:
    assert len(many.coins) == 100
    assert many.coins[:20] == COINS
    assert len({coin.name for coin in many.coins}) == len({c.title for c in many.coins}) == 100
    for coins in (19, 101):
        with pytest.raises(ValueError, match="20 to 100 coins"):
            World(coins=coins)


def test_the_first_coins_do_not_depend_on_the_number(world: World, many: World) -> None:
    hours, grid = NOW + np.arange(48) * HOUR, Grid.of("1h")
    for coin in COINS:
        for venue in (REFERENCE, PERPETUAL):
            one, other = (
                w.candles(venue, coin, grid, NOW - DAY, NOW, NOW + 99 * DAY) for w in (world, many)
            )
            for name in Bars.__slots__:
                assert np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("mvrv", "open_interest"):
            one_, other_ = (w.series(name, coin.name, hours) for w in (world, many))
            assert np.array_equal(one_, other_)


def test_the_further_coins_have_trades(many: World) -> None:
    now = NOW + 1000 * DAY
    for coin in MORE_COINS:
        bars = many.candles(BYBIT_LINEAR, coin, Grid.of("1m"), now - DAY, now, now)
        assert len(bars) == 1440
        assert np.all((bars.low > 0) & (bars.low <= bars.high))
        assert np.all(bars.volume >= 5)
        # Ticks are small enough for prices to move each minute.
        assert len(np.unique(bars.close)) > 20
        book = many.book(REFERENCE, coin, now, 50)
        assert len(book.bids)
        assert book.bids[0, 0] < book.asks[0, 0]


def test_healing_without_revisions_keeps_the_caches(many: World) -> None:
    made = many.markets.minutes(REFERENCE, COINS[0], 400)
    many.revise(None)
    assert many.markets.minutes(REFERENCE, COINS[0], 400) is made
