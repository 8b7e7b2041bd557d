"""Candles and trades of every coin at every venue, at any time, from bounded caches."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR, MINUTE
from weft_sandbox.market.bars import MINUTES, Bars, Grid
from weft_sandbox.market.cache import Cache
from weft_sandbox.market.coins import COINS, OPENING, Coin
from weft_sandbox.market.draws import generator, hashed, key_of
from weft_sandbox.market.minutes import finished, make_minutes, trades_before
from weft_sandbox.market.skeleton import Skeleton
from weft_sandbox.market.ticks import Trades, make_trades
from weft_sandbox.market.venues import REFERENCE, Venue, premium

_DAYS_A_BLOCK = 28
_HOURS, _DAYS = Grid(HOUR), Grid(DAY)


@dataclass(frozen=True, slots=True)
class Revision:
    """A change of past prices from now on.

    Attributes:
        coin: coin of the candles; None for all coins.
        since: first opening, microseconds since 1970.
        until: end of the openings, excluded.
        factor: factor on prices.
    """

    coin: str | None
    since: int
    until: int
    factor: float


class Markets:
    """Computes candles and trades of the reference market, and from them those of other venues.

    Args:
        skeleton: hours of the market.
        days: returns other minutes of a coin and a day, such as real ones; None for simulated
            minutes.
    """

    def __init__(
        self, skeleton: Skeleton, days: Callable[[Coin, int], Bars | None] = lambda *_: None
    ) -> None:
        self._skeleton, self._replayed = skeleton, days
        # Clients request coin after coin and return to the first one soon.
        many = -(-len(skeleton.coins) // len(COINS))
        self._base: Cache[Bars] = Cache(192 * many)
        self._minutes: Cache[Bars] = Cache(192 * many)
        self._hours: Cache[Bars] = Cache(512 * many)
        self._days: Cache[Bars] = Cache(4096 * many)
        self._trades: Cache[Trades] = Cache(2048 * many)
        self._revisions: tuple[Revision, ...] = ()

    def revise(self, revision: Revision | None) -> None:
        """Change past prices from now on; None removes all revisions."""
        if revision is None and not self._revisions:
            return
        self._revisions = () if revision is None else (*self._revisions, revision)
        for cache in (self._minutes, self._hours, self._days, self._trades):
            cache.clear()

    def minutes(self, venue: Venue, coin: Coin, day: int) -> Bars:
        """Return the minutes of one day, counted from the opening."""
        return self._minutes.get((venue.name, coin.name, day), lambda: self._day(venue, coin, day))

    def candles(self, venue: Venue, coin: Coin, grid: Grid, first: int, end: int, now: int) -> Bars:
        """Return the candles that open in a span, in their state at `now`.

        The last candle may be unfinished. No candle opens before the coin was listed.

        Args:
            venue: venue of the candles.
            coin: coin of the candles.
            grid: length of a candle.
            first: opening of the first candle, on the grid.
            end: end of the openings, excluded.
            now: current time; later data are left out.
        """
        first = max(first, grid.open_of(coin.listed))
        last = grid.open_of(min(end - 1, now))
        if first > last or now < coin.listed:
            return Bars.none()
        stop = min(grid.shifted(last, 1), now)
        if grid.micros < MINUTE:
            return self._seconds(venue, coin, grid, first, stop, now)
        parts = [self._complete_minutes(venue, coin, grid, max(first, coin.listed), stop)]
        done = MINUTES.open_of(stop)
        if stop == now:
            trades = self.trades(venue, coin, done, now + 1, now)
            if len(trades):
                parts.append(_possible(trades.bar(done)))
        return Bars.joined([part for part in parts if len(part)] or [Bars.none()]).on(grid)

    def _complete_minutes(
        self, venue: Venue, coin: Coin, grid: Grid, first: int, stop: int
    ) -> Bars:
        """Return the complete minutes from `first` to `stop`, joined where the grid allows."""
        parts: list[Bars] = []
        at = first
        for coarse, blocks in ((_DAYS, self._day_block), (_HOURS, self._hour_block)):
            if grid.months or (grid.micros % coarse.micros == 0 and not grid.zone % coarse.micros):
                upper = coarse.open_of(stop)
                if not parts:
                    begin = coarse.ceil(at)
                    parts.append(self._read_minutes(venue, coin, at, min(begin, stop)))
                    at = begin
                while at < upper:
                    block = (at - OPENING) // DAY // _DAYS_A_BLOCK
                    edge = OPENING + (block + 1) * _DAYS_A_BLOCK * DAY
                    parts.append(blocks(venue, coin, block).between(at, min(edge, upper)))
                    at = min(edge, upper)
        parts.append(self._read_minutes(venue, coin, at, MINUTES.open_of(stop)))
        return Bars.joined(parts)

    def _read_minutes(self, venue: Venue, coin: Coin, first: int, end: int) -> Bars:
        days = range((first - OPENING) // DAY, -(-(end - OPENING) // DAY))
        parts = [self.minutes(venue, coin, day).between(first, end) for day in days]
        return Bars.joined(parts) if parts else Bars.none()

    def _day_block(self, venue: Venue, coin: Coin, block: int) -> Bars:
        key = (venue.name, coin.name, block)
        return self._days.get(key, lambda: self._hour_block(venue, coin, block).on(_DAYS))

    def _hour_block(self, venue: Venue, coin: Coin, block: int) -> Bars:
        def make() -> Bars:
            first = OPENING + block * _DAYS_A_BLOCK * DAY
            days = range(block * _DAYS_A_BLOCK, (block + 1) * _DAYS_A_BLOCK)
            # Without the cache of minutes: a long history would evict everything else.
            parts = [self._day(venue, coin, day).on(_HOURS) for day in days]
            joined = Bars.joined(parts)
            return joined.between(max(first, coin.listed), first + _DAYS_A_BLOCK * DAY)

        return self._hours.get((venue.name, coin.name, block), make)

    def _day(self, venue: Venue, coin: Coin, day: int) -> Bars:
        base = self._base.get((coin.name, day), lambda: self._reference(coin, day))
        bars = base if venue == REFERENCE else self._elsewhere(venue, coin, base)
        opens = bars.open_time
        for revision in self._revisions:
            if revision.coin in {None, coin.name} and len(bars):
                hit = (opens >= revision.since) & (opens < revision.until)
                bars = _scaled(bars, np.where(hit, revision.factor, 1.0))
        return bars

    def _reference(self, coin: Coin, day: int) -> Bars:
        if day < 0:
            return Bars.none()
        replayed = self._replayed(coin, day)
        if replayed is not None:
            return replayed
        bars = make_minutes(self._skeleton, self._skeleton.column(coin), day)
        return bars.between(coin.listed, int(bars.open_time[-1]) + 1)

    def _elsewhere(self, venue: Venue, coin: Coin, base: Bars) -> Bars:
        if not len(base):
            return base
        start = self.premium(venue, coin, base.open_time)
        end = self.premium(venue, coin, base.open_time + MINUTE)
        open_, close = (
            np.rint(p * (1 + f)).astype(np.int64)
            for p, f in ((base.open, start), (base.close, end))
        )
        top, bottom = 1 + np.maximum(start, end), 1 + np.minimum(start, end)
        high = np.maximum(np.maximum(open_, close), np.rint(base.high * top).astype(np.int64))
        low = np.minimum(np.minimum(open_, close), np.rint(base.low * bottom).astype(np.int64))
        key = key_of("volume", venue.name, coin.name) ^ self._skeleton.seed
        noise = 0.7 + 0.6 * hashed(key, base.open_time // MINUTE)
        volume = np.rint(base.volume * venue.share * noise).astype(np.int64)
        volume = np.maximum(volume, 4 * base.trades)
        share = base.taker / base.volume + 0.1 * (hashed(key + 1, base.open_time // MINUTE) - 0.5)
        mean = base.quote / base.volume * (1 + (start + end) / 2)
        prices = (open_, np.maximum(high, 1), np.maximum(low, 1), close)
        return finished(base.open_time, prices, volume, mean, share, base.trades)

    def premium(self, venue: Venue, coin: Coin, times: Times) -> Floats:
        """Return the venue's price relative to the reference price, minus 1."""
        hours = self._skeleton.until(int(times.max()) + HOUR)
        column = self._skeleton.column(coin)
        return premium(venue, coin, column, hours, self._skeleton.seed, times)

    def trades(self, venue: Venue, coin: Coin, first: int, end: int, now: int) -> Trades:
        """Return the trades from `first` to before `end` that happened by `now`."""
        end = min(end, now + 1)
        parts = [
            self._minute_trades(venue, coin, opening)
            for opening in range(MINUTES.open_of(max(first, coin.listed)), end, MINUTE)
        ]
        if not parts:
            return _NO_TRADES
        joined = Trades(*(np.concatenate([getattr(p, n) for p in parts]) for n in Trades.__slots__))
        return joined.rows((joined.time >= first) & (joined.time < end))

    def trades_from(self, venue: Venue, coin: Coin, number: int, limit: int, now: int) -> Trades:
        """Return up to `limit` trades from a trade number on that happened by `now`."""
        hours = self._skeleton.until(now)
        column = self._skeleton.column(coin)
        at = int(np.searchsorted(hours.trades[:, column], number, side="right"))
        first = max(OPENING + at * HOUR, MINUTES.open_of(coin.listed))
        parts: list[Trades] = []
        have = 0
        while first <= now and have < limit:
            if not parts:
                # Trade numbers are stored by hour: within the hour, count earlier minutes.
                counts = self._read_minutes(venue, coin, first, first + HOUR).trades
                before = trades_before(self._skeleton, coin, first) + np.cumsum(counts)
                skip = int(np.searchsorted(before, number, side="right"))
                first += min(skip, max(len(before) - 1, 0)) * MINUTE
            part = self.trades(venue, coin, first, first + MINUTE, now)
            part = part.rows(part.number >= number)
            have += len(part)
            parts.append(part)
            first += MINUTE
        if not parts:
            return _NO_TRADES
        names = Trades.__slots__
        joined = Trades(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))
        return joined.rows(slice(0, limit))

    def first_number(self, venue: Venue, coin: Coin, opening: int) -> int:
        """Return the number of the first trade of the minute that opens at an instant."""
        hour = _HOURS.open_of(opening)
        counts = self._read_minutes(venue, coin, hour, opening).trades
        return trades_before(self._skeleton, coin, hour) + int(counts.sum())

    def _minute_trades(self, venue: Venue, coin: Coin, opening: int) -> Trades:
        def make() -> Trades:
            bar = self._read_minutes(venue, coin, opening, opening + MINUTE)
            if not len(bar) or bar.trades[0] < 1:
                return _NO_TRADES
            words = ("trades", venue.name, coin.name)
            rng = generator(self._skeleton.seed, words, opening // MINUTE)
            return make_trades(bar, self.first_number(venue, coin, opening), rng)

        return self._trades.get((venue.name, coin.name, opening), make)

    def _seconds(
        self, venue: Venue, coin: Coin, grid: Grid, first: int, stop: int, now: int
    ) -> Bars:
        """Return one-second candles; a second without trades repeats the last price."""
        start = MINUTES.open_of(first)
        trades = self.trades(venue, coin, start, stop + 1, now)
        if not len(trades):
            return Bars.none()
        slots = np.arange(start, min(stop, grid.open_of(now) + 1), grid.micros)
        begin = np.searchsorted(trades.time, slots)
        end = np.searchsorted(trades.time, slots + grid.micros)
        rows = []
        for slot, a, b in zip(slots.tolist(), begin.tolist(), end.tolist(), strict=True):
            if b > a:
                rows.append(trades.rows(slice(a, b)).bar(slot))
            else:
                last = trades.price[b - 1]
                rows.append(Bars(*(np.array([c]) for c in (slot, *[last] * 4, *[0] * 5))))
        return Bars.joined(rows).between(first, stop) if rows else Bars.none()

    def last_price(self, venue: Venue, coin: Coin, instant: int) -> int:
        """Return the price of the last trade at or before an instant, in ticks."""
        opening = MINUTES.open_of(instant)
        trades = self._minute_trades(venue, coin, opening)
        seen = int(np.searchsorted(trades.time, instant, side="right"))
        if seen:
            return int(trades.price[seen - 1])
        bars = self.candles(venue, coin, MINUTES, opening - DAY, opening, opening)
        return int(bars.close[-1]) if len(bars) else round(coin.price / coin.tick)


def _possible(bar: Bars) -> Bars:
    """Return an unfinished candle with its mean price inside its range.

    The trades of a minute share its value, so the value of a few of them may lie slightly off.
    """
    quote = np.clip(bar.quote, bar.low * bar.volume, bar.high * bar.volume)
    taker = np.clip(bar.taker_quote, bar.low * bar.taker, bar.high * bar.taker)
    return replace(bar, quote=quote, taker_quote=np.minimum(taker, quote))


def _scaled(bars: Bars, factor: Floats) -> Bars:
    prices = tuple(
        np.rint(p * factor).astype(np.int64) for p in (bars.open, bars.high, bars.low, bars.close)
    )
    mean = bars.quote / np.maximum(bars.volume, 1) * factor
    share = bars.taker / np.maximum(bars.volume, 1)
    return finished(bars.open_time, prices, bars.volume, mean, share, bars.trades)


_NONE = np.empty(0, np.int64)
_NO_TRADES = Trades(_NONE, _NONE, _NONE, _NONE, np.empty(0, np.bool_), _NONE)
