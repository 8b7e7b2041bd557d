"""Real candles from Parquet files instead of simulated ones, cut into minutes."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from weft.foundation.arrays import Floats, Times
from weft.foundation.errors import NoDataError
from weft.foundation.times import DAY, HOUR, MINUTE, Interval
from weft_sandbox.market.bars import Bars
from weft_sandbox.market.coins import COINS, OPENING, Coin
from weft_sandbox.market.draws import Integers, generator, split
from weft_sandbox.market.minutes import FEWEST_TRADES, finished
from weft_sandbox.market.skeleton import Skeleton

_QUOTES = ("USDT", "USDC", "USD")
_MOST = 2.0**61
"""Limit of sums of ticks times steps."""


@dataclass(frozen=True, slots=True)
class _File:
    """The candles of one symbol, times already moved; prices in ticks, volume in steps."""

    length: int
    open_time: Times
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers


class Replay:
    """Candles from a folder of Parquet files.

    Each file has one symbol, or many in its column ``symbol``. Columns: ``interval``,
    ``open_time``, ``open``, ``high``, ``low``, ``close`` and ``volume``. Holes of the files are
    holes of the sandbox.

    Args:
        folder: folder of the files.
        end: instant to which the last candle is moved, microseconds since 1970; None keeps all
            dates.

    Raises:
        NoDataError: the folder has no candles.
    """

    def __init__(self, folder: Path, end: int | None = None) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._skeleton: Skeleton | None = None
        frames = _frames(folder)
        latest = max(int(times[-1]) + length for times, length, _ in frames.values())
        self.coins = tuple(
            self._load(name, *frame, 0 if end is None else end - latest)
            for name, frame in frames.items()
        )

    def attach(self, skeleton: Skeleton) -> None:
        """Use the trading activity of a skeleton of the same coins."""
        self._skeleton = skeleton

    def minutes(self, coin: Coin, day: int) -> Bars | None:
        """Return the minutes of a day, without those in a hole of the files."""
        file, skeleton = self._files[coin.name], self._skeleton
        if skeleton is None:
            return None
        start = OPENING + day * DAY
        first = int(np.searchsorted(file.open_time, start - file.length + 1))
        end = int(np.searchsorted(file.open_time, start + DAY))
        parts = [_cut(skeleton, coin, file, row) for row in range(first, end)]
        return Bars.joined(parts).between(start, start + DAY) if parts else Bars.none()

    def _load(self, name: str, times: Times, length: int, table: Floats, shift: int) -> Coin:
        shift = shift // length * length
        price_digits = _digits(table[:, :4])
        volume = table[:, 4]
        # Small steps, so that an hour with little volume can be cut into trades.
        size_digits = 8
        # 64-bit integers must hold the volume of the longest candle, a month.
        months = max(len(times) * length / (30 * DAY), 1.0)
        traded = 20 * float((volume * table[:, 3]).sum()) / months
        while size_digits and traded * 10.0 ** (price_digits + size_digits) > _MOST:
            size_digits -= 1
        ticks = np.rint(table[:, :4] * 10.0**price_digits).astype(np.int64)
        steps = np.rint(volume * 10.0**size_digits).astype(np.int64)
        self._files[name] = _File(
            length, times + shift, ticks[:, 0], ticks[:, 1], ticks[:, 2], ticks[:, 3], steps
        )
        known = {coin.name: coin for coin in COINS}.get(name)
        price = float(np.median(table[:, 3]))
        # Turnover a minute, which scales books and liquidations.
        turnover = float(np.median(volume * table[:, 3])) * MINUTE / length
        default = Coin(name, name.title(), price, 1.2, 0.5, max(turnover, 1.0), 10, 2, 2, 1e9)
        return replace(
            known or default,
            price=price,
            turnover=max(turnover, 1.0),
            price_digits=price_digits,
            size_digits=size_digits,
            listed=int(times[0]) + shift,
        )


def _frames(folder: Path) -> dict[str, tuple[Times, int, Floats]]:
    tables: dict[str, tuple[Times, int, Floats]] = {}
    columns = ["open", "high", "low", "close", "volume"]
    for path in sorted(folder.glob("*.parquet")):
        frame = pl.read_parquet(path, columns=["symbol", "interval", "open_time", *columns])
        for (symbol,), part in frame.group_by("symbol", maintain_order=True):
            rows = part.sort("open_time").with_columns(pl.col("open_time").dt.cast_time_unit("us"))
            rows = rows.filter(pl.col("open_time").to_physical() >= OPENING)
            text = str(symbol)
            name = next((text[: -len(q)] for q in _QUOTES if text.endswith(q)), text)
            if len(rows):
                length = Interval.parse(rows["interval"][0]).micros
                times = rows["open_time"].to_physical().to_numpy().astype(np.int64)
                tables[name] = (times, length, rows.select(columns).to_numpy())
    if not tables:
        raise NoDataError(
            f"{folder} has no candles to replay",
            where="sandbox",
            hint="Point --replay at a folder of Parquet files with symbol, interval, open_time, "
            "open, high, low, close and volume",
        )
    order = {coin.name: index for index, coin in enumerate(COINS)}
    return dict(sorted(tables.items(), key=lambda item: (order.get(item[0], 99), item[0])))


def _digits(values: Floats) -> int:
    """Return the decimals needed to write the values exactly, at most 8."""
    sample = values.ravel()[:: max(values.size // 2_000, 1)]
    for digits in range(9):
        scaled = sample * 10.0**digits
        if np.all(np.abs(scaled - np.rint(scaled)) < 1e-6 * np.maximum(np.abs(scaled), 1)):
            return digits
    return 8


def _cut(skeleton: Skeleton, coin: Coin, file: _File, row: int) -> Bars:
    """Return one candle cut into minutes that add up to it."""
    count, opening = file.length // MINUTE, int(file.open_time[row])
    rng = generator(skeleton.seed, ("replay", coin.name), opening // MINUTE)
    open_, high, low, close = (int(c[row]) for c in (file.open, file.high, file.low, file.close))
    # Corners of the path between minutes: start, both extremes, end.
    first, second = np.sort(rng.choice(np.arange(1, max(count, 4)), 2, replace=False))
    turns = (high, low) if rng.random() < 0.5 else (low, high)
    corners = np.interp(np.arange(count + 1), [0, first, second, count], [open_, *turns, close])
    noise = rng.normal(0.0, 0.05 * (high - low), count + 1)
    path = np.clip(np.rint(corners + noise), low, high).astype(np.int64)
    path[[0, -1]] = open_, close
    if count > second:
        path[[first, second]] = turns
    opens, closes = path[:-1], path[1:]
    wick = np.rint(rng.standard_exponential((2, count)) * 0.03 * (high - low)).astype(np.int64)
    highs = np.minimum(np.maximum(opens, closes) + wick[0], high)
    lows = np.maximum(np.minimum(opens, closes) - wick[1], low)
    if count <= second:
        highs[0], lows[-1] = high, low
    bustle = rng.standard_exponential(count) + 0.3
    trades = _trades(skeleton, coin, opening, bustle)
    spare = max(int(file.volume[row]) - int(4 * trades.sum()), 0)
    volume = split(spare, bustle) + 4 * trades
    mean = (opens + closes + highs + lows) / 4
    share = 0.5 + 0.2 * np.sign(closes - opens) * rng.random(count)
    times = opening + np.arange(count, dtype=np.int64) * MINUTE
    return finished(times, (opens, highs, lows, closes), volume, mean, share, trades)


def _trades(skeleton: Skeleton, coin: Coin, opening: int, bustle: Floats) -> Integers:
    """Return the number of trades of each minute, with the skeleton's number in each hour."""
    minutes = opening + np.arange(len(bustle), dtype=np.int64) * MINUTE
    totals = skeleton.until(int(minutes[-1]) + HOUR).trades[:, skeleton.column(coin)]
    counts = np.full(len(bustle), FEWEST_TRADES, np.int64)
    hours = (minutes - OPENING) // HOUR
    for hour in np.unique(hours):
        row = int(hour)
        inside = hours == hour
        total = int(totals[row] - (totals[row - 1] if row else 0))
        # A candle shorter than an hour has a part of the hour's trades.
        part = (total - 60 * FEWEST_TRADES) * int(inside.sum()) // 60
        counts[inside] += split(part, bustle[inside])
    return counts
