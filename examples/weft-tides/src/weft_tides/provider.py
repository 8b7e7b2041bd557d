"""A data source in full."""

from collections.abc import AsyncIterator

import numpy as np
import polars as pl

from weft import Batch, Provider, Request
from weft.components.provider import SourceKind
from weft.domain.instruments import describe
from weft.foundation.arrays import Floats, Times
from weft.foundation.clock import Clock
from weft.sources.http import Http


class Tides(Provider):
    """A made-up coin whose price ebbs and flows once a day, with a little noise."""

    name = "tides"
    source_kind = SourceKind.SYNTHETIC

    class Config(Provider.Config):
        """Options."""

        symbol: str = "TIDEUSDT"
        height: float = 0.02

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield every candle that has closed."""
        step = request.interval.micros
        first = request.known.get(self.config.symbol, request.since - step) + step
        opened = np.arange(first, request.interval.floor(clock.now()), step)
        if not len(opened):
            return
        opens, closes = self._level(opened), self._level(opened + step)
        yield Batch(
            candles=pl.DataFrame(
                {
                    "symbol": self.config.symbol,
                    "interval": request.interval.name,
                    "open_time": pl.Series(opened).cast(pl.Datetime("us", "UTC")),
                    "open": opens,
                    "high": np.maximum(opens, closes) * 1.001,
                    "low": np.minimum(opens, closes) * 0.999,
                    "close": closes,
                    "volume": np.full(len(opened), 1_000.0),
                }
            ),
            instruments=(describe(self.config.symbol),),
        )

    def _level(self, instants: Times) -> Floats:
        day = 86_400_000_000
        ripple = np.sin(instants / 3.7e9) * 0.1
        height = float(self.config.height)
        return 100 * np.exp(height * (np.sin(2 * np.pi * instants / day) + ripple))
