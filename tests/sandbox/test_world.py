"""The simulated market: a function of seed and time with consistent candles."""

import numpy as np
import pytest

from tests.sandbox.conftest import NOW
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, parse_time
from weft_sandbox.market.bars import MINUTES, Bars, Grid
from weft_sandbox.market.coins import COINS
from weft_sandbox.market.venues import PERPETUAL, REFERENCE, VENUES, Venue
from weft_sandbox.market.world import World

COLUMNS = Bars.__slots__


def equal(single: Bars, other: Bars) -> bool:
    return all(np.array_equal(getattr(single, n), getattr(other, n)) for n in COLUMNS)


def test_the_market_depends_only_on_the_seed(world: World) -> None:
    coin, grid = world.coin["SOL"], Grid.of("5m")
    late, early = parse_time("2024-03-05T00:00:00Z"), parse_time("2021-01-05T00:00:00Z")
    end = late + 300 * DAY
    other = World(seed=7)
    # The other world has not computed the years between.
    for first in (late, early):
        single = world.candles(PERPETUAL, coin, grid, first, first + DAY, end)
        assert equal(single, other.candles(PERPETUAL, coin, grid, first, first + DAY, end))
    times = early + np.arange(500) * HOUR
    assert np.array_equal(
        world.series("mvrv", "SOL", times)[100:], other.series("mvrv", "SOL", times[100:])
    )
    assert world.news(late, late + DAY) == other.news(late, late + DAY)


def test_another_seed_gives_another_market(world: World) -> None:
    other = World(seed=8)
    grid, first = Grid.of("1h"), parse_time("2021-01-05T00:00:00Z")
    single, two = (w.candles(REFERENCE, w.coins[0], grid, first, NOW, NOW) for w in (world, other))
    assert not equal(single, two)


def test_later_requests_change_no_earlier_data(world: World) -> None:
    young = World(seed=7)
    coin, grid = young.coin["ETH"], Grid.of("1h")
    before = young.candles(REFERENCE, coin, grid, NOW - DAY, NOW, NOW)
    young.candles(REFERENCE, coin, grid, NOW, NOW + 300 * DAY, NOW + 300 * DAY)
    assert equal(before, young.candles(REFERENCE, coin, grid, NOW - DAY, NOW, NOW))


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_candles_are_consistent(world: World, venue: Venue) -> None:
    for coin in COINS[:3] + COINS[-1:]:
        now = parse_time("2024-08-01T10:20:30.400Z")
        bars = world.candles(venue, coin, MINUTES, now - 3 * DAY, now + 1, now)
        assert len(bars) == 3 * 1440
        assert np.all(np.diff(bars.open_time) == MINUTE)
        assert np.all(bars.high >= np.maximum(bars.open, bars.close))
        assert np.all(bars.low <= np.minimum(bars.open, bars.close))
        assert np.all(bars.low > 0)
        assert np.all(bars.quote >= bars.low * bars.volume)
        assert np.all(bars.quote <= bars.high * bars.volume)
        long_bars = bars.rows(slice(0, -1))
        assert np.all(
            (long_bars.taker > 0) & (long_bars.taker < long_bars.volume) & (long_bars.trades >= 5)
        )
        assert np.array_equal(bars.open[1:], bars.close[:-1])


@pytest.mark.parametrize("interval", ["3m", "5m", "1h", "4h", "8h", "12h", "1d", "3d", "1w", "1M"])
@pytest.mark.parametrize("venue", [REFERENCE, PERPETUAL], ids=lambda venue: venue.name)
def test_long_candles_aggregate_their_minutes(world: World, venue: Venue, interval: str) -> None:
    coin, grid = world.coin["BTC"], Grid.of(interval)
    first = grid.ceil(NOW - 70 * DAY) if grid.months else grid.ceil(NOW - 20 * DAY)
    minutes = world.candles(venue, coin, MINUTES, first, NOW + 1, NOW)
    assert equal(minutes.on(grid), world.candles(venue, coin, grid, first, NOW + 1, NOW))


def test_minutes_aggregate_their_seconds_and_trades(world: World) -> None:
    coin = world.coin["ETH"]
    first = MINUTES.ceil(NOW - 30 * MINUTE)
    minutes = world.candles(REFERENCE, coin, MINUTES, first, NOW + 1, NOW)
    seconds = world.candles(REFERENCE, coin, Grid.of("1s"), first, NOW + 1, NOW)
    assert len(seconds) == (NOW - first) // SECOND + 1
    joined = seconds.on(MINUTES)
    assert equal(joined.rows(slice(0, -1)), minutes.rows(slice(0, -1)))
    assert joined.volume[-1] == minutes.volume[-1]
    trades = world.trades(REFERENCE, coin, first, NOW + 1, NOW)
    assert np.all(np.diff(trades.number) == 1)
    assert np.all(np.diff(trades.time) >= 0)
    assert trades.size.sum() == minutes.volume.sum()
    assert trades.size[trades.taker_buys].sum() == minutes.taker.sum()
    again = world.markets.trades_from(REFERENCE, coin, int(trades.number[7]), 50, NOW)
    assert np.array_equal(again.time, trades.time[7:57])
    assert world.price(REFERENCE, coin, NOW) == trades.price[-1] == minutes.close[-1]


def test_no_data_after_now_is_returned(world: World) -> None:
    coin, now = world.coin["BTC"], NOW - 30 * SECOND
    for grid in (MINUTES, Grid.of("1d"), Grid.of("1w")):
        bars = world.candles(REFERENCE, coin, grid, grid.open_of(now), now + DAY, now)
        later = world.candles(REFERENCE, coin, grid, grid.open_of(now), now + DAY, now + DAY)
        assert len(bars) == 1
        assert bars.volume[0] < later.volume[0]
    trades = world.trades(REFERENCE, coin, NOW - MINUTE, NOW + DAY, NOW)
    assert trades.time[-1] <= NOW


def test_a_coin_does_not_trade_before_it_is_listed(world: World) -> None:
    coin = world.coin["ARB"]
    bars = world.candles(
        REFERENCE, coin, Grid.of("1h"), coin.listed - DAY, NOW + 9999 * DAY, coin.listed + DAY
    )
    assert bars.open_time[0] == coin.listed
    assert not len(world.candles(REFERENCE, coin, MINUTES, NOW, NOW + HOUR, NOW))


def test_coins_move_together_with_fat_tails_and_clusters(world: World) -> None:
    grid, first = Grid.of("1h"), parse_time("2021-01-01T00:00:00Z")
    end = first + 400 * DAY
    names = ("BTC", "ETH", "SOL", "DOGE")
    closes = [
        world.candles(REFERENCE, world.coin[name], grid, first, end, end).close for name in names
    ]
    returns = np.diff(np.log(np.stack(closes)), axis=1)
    correlation = np.corrcoef(returns)
    assert np.all(correlation[np.triu_indices(4, 1)] > 0.5)
    assert np.all(correlation[np.triu_indices(4, 1)] < 0.97)
    scaled = (returns - returns.mean(axis=1)[:, None]) / returns.std(axis=1)[:, None]
    assert np.all((scaled**4).mean(axis=1) > 5)
    size = np.abs(returns[0])
    assert np.corrcoef(size[:-24], size[24:])[0, 1] > 0.1
    yearly = returns.std(axis=1) * np.sqrt(24 * 365)
    assert np.all((yearly > 0.35) & (yearly < 1.6))


def test_funding_follows_the_premium_and_the_crowd(world: World) -> None:
    coin, deals = world.coin["BTC"], world.derivatives
    times = deals.funding_times(coin, NOW - 400 * DAY, NOW)
    rates = deals.funding_rates(PERPETUAL, coin, times)
    spot, perpetual = (
        world.candles(v, coin, Grid.of("8h"), int(times[0]) - 8 * HOUR, int(times[-1]), NOW)
        for v in (REFERENCE, PERPETUAL)
    )
    premium = perpetual.close / spot.close - 1
    assert np.corrcoef(premium, rates[: len(premium)])[0, 1] > 0.6
    assert np.mean(rates > 0) > 0.55
    assert np.mean(rates < 0) > 0.05


def test_liquidations_follow_large_moves(world: World) -> None:
    coin, deals = world.coin["BTC"], world.derivatives
    published = deals.liquidations(PERPETUAL, coin, NOW - DAY, NOW)
    assert published == sorted(published, key=lambda single: single.time)
    bars = world.candles(PERPETUAL, coin, MINUTES, NOW - DAY, NOW, NOW)
    width = (bars.high - bars.low) / bars.open
    minutes = {single.time // MINUTE for single in published}
    struck = np.array([t // MINUTE in minutes for t in bars.open_time.tolist()])
    assert 10 < struck.sum() < 700
    assert width[struck].mean() > 1.5 * width[~struck].mean()


def test_memory_is_bounded(world: World) -> None:
    markets = world.markets
    for name in ("BTC", "ETH", "BNB"):
        world.candles(REFERENCE, world.coin[name], Grid.of("1h"), 0, NOW, NOW)
    assert len(markets._base) <= 192
    assert len(markets._minutes) <= 192
