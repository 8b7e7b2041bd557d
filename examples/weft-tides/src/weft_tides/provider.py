"""The provider `tides`."""

from collections.abc import AsyncIterator

import numpy as np
import polars as pl
from pydantic import Field
from weft import Batch, Provider, Request
from weft.components.provider import SourceKind
from weft.domain.instruments import describe
from weft.foundation.arrays import Floats, Times
from weft.foundation.clock import Clock
from weft.foundation.times import DAY
from weft.sources.http import Http


class Tides(Provider):
    """Candles of a made-up coin, whose price rises and falls once a day with a small ripple.

    The price follows from the instant alone, so every fetch of a candle gives the same one.
    `source_kind` marks the data as synthetic: every signal shows it, and such data never mixes
    with real data.
    """

    name = "tides"
    source_kind = SourceKind.SYNTHETIC

    class Config(Provider.Config):
        """Options of the provider."""

        symbol: str = Field(default="TIDEUSDT", description="name of the coin")
        height: float = Field(
            default=0.02, gt=0, description="log price of high tide above that of the mean"
        )

    config: Config

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        """Yield the candles that have closed since the latest in the store."""
        step = request.interval.micros
        first = request.known.get(self.config.symbol, request.since - step) + step
        opened = np.arange(first, request.interval.floor(clock.now()), step)
        if not len(opened):
            return
        opens, closes = self._price(opened), self._price(opened + step)
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

    def _price(self, instants: Times) -> Floats:
        ripple = np.sin(instants / 3.7e9) * 0.1
        tide = np.sin(2 * np.pi * instants / DAY)
        price: Floats = 100 * np.exp(self.config.height * (tide + ripple))
        return price
