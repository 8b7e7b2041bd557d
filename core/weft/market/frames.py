"""Candles as frames, for people to look at."""

import polars as pl

from weft.domain.candles import FIELDS, Candles
from weft.foundation.errors import DataError, nearest


def frame_of(panel: Candles, symbol: str, component: str) -> pl.DataFrame:
    """Return one symbol's candles: close_time (UTC), open, high, low, close, volume.

    Raises:
        DataError: the panel has no such symbol.
    """
    if symbol not in panel.symbols:
        close = nearest(symbol, panel.symbols)
        raise DataError(
            f"no candles of {symbol!r} in this view",
            where=component,
            hint=f"Did you mean {close}?" if close else None,
        )
    column = panel.symbols.index(symbol)
    times = pl.Series("close_time", panel.times).cast(pl.Datetime("us", "UTC"))
    values = {name: getattr(panel, name)[:, column] for name in FIELDS}
    return pl.DataFrame({"close_time": times, **values}).filter(pl.col("close").is_not_nan())
