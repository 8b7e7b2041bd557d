"""A made-up market, to try Weft without any data."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from weft.components.base import ComponentConfig
from weft.components.provider import Batch, Provider, Request, SourceKind
from weft.domain.instruments import ALWAYS_OPEN, describe
from weft.foundation.arrays import Floats
from weft.foundation.clock import Clock
from weft.foundation.errors import NoDataError
from weft.foundation.times import HOUR, MINUTE, WEEK, YEAR, Interval, iso, parse_time
from weft.sources.http import Http

_STEP = 5 * MINUTE
_STEPS_AN_HOUR = HOUR // _STEP
_STEPS_A_YEAR = YEAR / _STEP
_HOURS_A_BLOCK = WEEK // HOUR
_STEPS_A_BLOCK = WEEK // _STEP
_START_PRICES = {
    "BTCUSDT": 90_000.0,
    "ETHUSDT": 3_000.0,
    "BNBUSDT": 850.0,
    "SOLUSDT": 130.0,
    "DOGEUSDT": 0.14,
    "LINKUSDT": 13.0,
    "AVAXUSDT": 14.0,
    "PEPEUSDT": 4.5e-6,
}
_PERSISTENCE = 0.5 ** (1 / 36)
"""Autocorrelation of log volatility from hour to hour: a shock halves in a day and a half."""
_UNREST = 0.5
"""Standard deviation of log volatility."""
_MARKET_VOLATILITY = 0.45
"""Annual volatility of the market factor."""


class Synthetic(Provider):
    """A seeded market of correlated coins, made of five-minute steps.

    Each coin's return is a share of one market factor plus an independent part, both normal with a
    stochastic volatility (Taylor 1986, Modelling Financial Time Series: log volatility follows an
    autoregression), which gives fat tails and volatility clusters. Volume rises with the size of
    the return.

    The market has no edge, on purpose: prices are martingales. A rule can profit only by chance; a
    rule that profits steadily looks ahead.

    A candle depends only on seed, symbol and time: a later fetch adds candles and changes none, and
    a long candle is the sum of its short ones.
    """

    name = "synthetic"
    source_kind = SourceKind.SYNTHETIC
    fallback = True

    class Config(ComponentConfig):
        """Options."""

        seed: int = Field(default=7, ge=0, description="each seed makes another market")
        symbols: tuple[str, ...] = Field(
            default=tuple(_START_PRICES),
            description="coins to make unless a request names others",
        )
        start: str = Field(default="2026-01-01T00:00:00Z", description="when the market opens")

        @field_validator("start")
        @classmethod
        def _is_time(cls, text: str) -> str:
            parse_time(text)
            return text

    config: Config

    @property
    def source(self) -> str:
        """Return the name of the stored source, which differs by every option."""
        text = self.config.model_dump_json()
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield one batch with all closed candles that are not stored yet.

        Raises:
            NoDataError: the interval is no multiple of five minutes, or the market opens after
                now.
        """
        now, interval = clock.now(), request.interval
        opens = Interval(_STEP, "5m").ceil(parse_time(self.config.start))
        first = interval.ceil(opens)
        if interval.micros % _STEP:
            raise NoDataError(
                f"there are no {interval} candles",
                where=self.name,
                hint="Ask for a multiple of five minutes",
            )
        if first + interval.micros > now:
            raise NoDataError(
                f"the first candle opens at {iso(first)} and is not closed at {iso(now)}",
                where=self.name,
                hint="Set providers.synthetic.start to an earlier time",
            )
        symbols = request.symbols or self.config.symbols
        wanted = {s: request.known.get(s, request.since - 1) for s in symbols}
        frame = await asyncio.to_thread(self._candles, wanted, interval, opens, now)
        if len(frame):
            coins = (describe(symbol, venue=self.name) for symbol in symbols)
            yield Batch(
                candles=frame,
                instruments=tuple(replace(coin, calendar=ALWAYS_OPEN) for coin in coins),
            )

    def _candles(
        self, wanted: dict[str, int], interval: Interval, opens: int, now: int
    ) -> pl.DataFrame:
        """Return the closed candles of each symbol that open after the symbol's instant."""
        first, last = interval.ceil(opens), interval.floor(now)
        open_time = np.arange(first, last, interval.micros)
        ratio = interval.micros // _STEP
        steps = slice((first - opens) // _STEP, (last - opens) // _STEP)
        blocks = -(-steps.stop // _STEPS_A_BLOCK)
        market = _Factor.drawn(self.config.seed, "the market", blocks)
        frames = []
        for symbol, after in wanted.items():
            parts = [c[steps].reshape(-1, ratio) for c in _steps(self.config.seed, symbol, market)]
            new = open_time > after
            open_, high, low, close, volume = (part[new] for part in parts)
            frames.append(
                pl.DataFrame(
                    {
                        "open_time": open_time[new],
                        "open": open_[:, 0],
                        "high": high.max(axis=1),
                        "low": low.min(axis=1),
                        "close": close[:, -1],
                        "volume": volume.sum(axis=1),
                    }
                ).with_columns(
                    pl.col("open_time").cast(pl.Datetime("us", "UTC")),
                    symbol=pl.lit(symbol),
                    interval=pl.lit(interval.name),
                )
            )
        return pl.concat(frames)


def _generator(seed: int, name: str, block: int) -> np.random.Generator:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return np.random.default_rng([seed, key, block])


@dataclass(frozen=True, slots=True)
class _Factor:
    """A factor of returns: the market, or the independent part of one coin.

    Attributes:
        shock: standard normal returns, one for each step (steps,).
        unrest: multiplier of the usual volatility, with a mean square of 1 (steps,).
    """

    shock: Floats
    unrest: Floats

    @staticmethod
    def drawn(seed: int, name: str, blocks: int) -> "_Factor":
        """Draw blocks, each from a separate seed, so that a later block changes no earlier one."""
        hours, shocks = [], []
        for block in range(blocks):
            generator = _generator(seed, name, block)
            hours.append(generator.standard_normal(_HOURS_A_BLOCK))
            shocks.append(generator.standard_normal(_STEPS_A_BLOCK))
        news = np.concatenate(hours) * _UNREST * np.sqrt(1.0 - _PERSISTENCE**2)
        level = np.array(list(accumulate(news.tolist(), lambda h, e: _PERSISTENCE * h + e)))
        unrest = np.repeat(np.exp(level - _UNREST**2), _STEPS_AN_HOUR)
        return _Factor(np.concatenate(shocks), unrest)


def _steps(seed: int, symbol: str, market: _Factor) -> tuple[Floats, ...]:
    """Return open, high, low, close and volume of every five-minute step (steps,)."""
    size = len(market.shock)
    coin = _Factor.drawn(seed, symbol, size // _STEPS_A_BLOCK)
    character = _generator(seed, f"{symbol} character", 0)
    share, volatility = character.uniform(0.7, 1.4), character.uniform(0.25, 0.7)
    turnover = 10 ** character.uniform(4.5, 6.5)
    per_step = 1 / np.sqrt(_STEPS_A_YEAR)
    common = market.unrest * (share * _MARKET_VOLATILITY * per_step)
    single = coin.unrest * (volatility * per_step)
    variance = common**2 + single**2
    # Half the variance is subtracted so that the price, not its logarithm, has no drift.
    change = common * market.shock + single * coin.shock - variance / 2
    price = _START_PRICES.get(symbol, 100.0) * np.exp(np.cumsum(change))
    before = np.concatenate([[_START_PRICES.get(symbol, 100.0)], price[:-1]])
    extra = np.concatenate(
        [
            _generator(seed, f"{symbol} extra", block).standard_exponential((3, _STEPS_A_BLOCK))
            for block in range(size // _STEPS_A_BLOCK)
        ],
        axis=1,
    )
    width = np.sqrt(variance)
    high = np.maximum(before, price) * np.exp(0.3 * width * extra[0])
    low = np.minimum(before, price) * np.exp(-0.3 * width * extra[1])
    bustle = (0.2 + np.abs(change) / (volatility * per_step)) * (0.5 + extra[2])
    return before, high, low, price, turnover * bustle / price
