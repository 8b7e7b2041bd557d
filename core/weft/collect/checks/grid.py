"""Find candles that open off the grid of their symbol, as `clean_candles` defines it."""

from math import gcd

import polars as pl

from weft.foundation.times import DAY, HOUR, MINUTE, Interval


def off_grid(rows: pl.DataFrame, interval: Interval) -> pl.Series:
    """Return for each candle whether it opens off the grid of its symbol.

    Args:
        rows: columns `symbol`, and `open_time` in microseconds since 1970.
        interval: length of the candles.
    """
    open_time = pl.col("open_time")
    offset = (open_time - interval.floor(0)) % interval.micros
    offsets = rows.select(pl.col("symbol"), open_time, offset=offset)
    if not (offsets["offset"] != 0).any():
        return pl.repeat(value=False, n=len(rows), dtype=pl.Boolean, eager=True)
    middle = open_time + interval.micros // 2
    # 1970-01-01 was a Thursday. Friday's late trading reaches into the small hours of Saturday.
    saturday = ((middle // DAY + 3) % 7 == 5) & (middle % DAY >= 6 * HOUR)
    by_symbol = (
        offsets.drop_nulls()
        .group_by("symbol", "offset")
        .agg(pl.len(), weekends=saturday.any())
        .sort("len", "offset", descending=[True, False])
        .group_by("symbol")
        .agg(usual=pl.col("offset").first(), weekends=pl.col("weekends").any())
    )
    apart = (pl.col("offset") - pl.col("usual")).abs()
    summer = apart.is_in([HOUR % interval.micros, -HOUR % interval.micros])
    whole_day = pl.col("offset").n_unique().over("symbol", open_time // DAY) == 1
    step = gcd(interval.micros, 15 * MINUTE)
    same = (apart == 0) | (summer & whole_day & ~pl.col("weekends"))
    off = ~same | (pl.col("offset") % step != 0)
    joined = offsets.join(by_symbol, on="symbol", how="left", maintain_order="left")
    return joined.select(off.fill_null(value=False).alias("off_grid")).to_series()
