"""Write candle files, and fetch them with the provider."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from weft.components.provider import Batch, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, Interval, parse_time
from weft_providers.files.provider import Files

if TYPE_CHECKING:
    from weft.sources.http import Http

START = parse_time("2024-01-01T00:00:00Z")
NOW = parse_time("2024-06-01T00:00:00Z")


def candles(
    symbol: str = "BTCUSDT", rows: int = 5, step: int = HOUR, **columns: Any
) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "symbol": [symbol] * rows,
        "interval": ["1h"] * rows,
        "open_time": pl.Series([START + i * step for i in range(rows)]).cast(
            pl.Datetime("us", "UTC")
        ),
        "open": [100.0 + i for i in range(rows)],
        "high": [102.0 + i for i in range(rows)],
        "low": [99.0 + i for i in range(rows)],
        "close": [101.0 + i for i in range(rows)],
        "volume": [10.0] * rows,
    }
    return pl.DataFrame(plain | columns)


def fetch(
    path: Path | None,
    interval: str = "1h",
    symbols: tuple[str, ...] = (),
    cursor: str | None = None,
    now: int = NOW,
    **options: Any,
) -> list[Batch]:
    async def go() -> list[Batch]:
        provider = Files(Files.Config(path=path, **options))
        request = Request(Interval.parse(interval), symbols, START, cursor=cursor)
        http = cast("Http", None)  # the files provider makes no requests
        return [b async for b in provider.fetch(request, http, SimulatedClock(now))]

    return asyncio.run(go())


def only(batches: list[Batch]) -> pl.DataFrame:
    (batch,) = batches
    assert batch.candles is not None
    return batch.candles


def problems(batches: list[Batch]) -> list[str]:
    return [line for batch in batches for line in batch.problems]


def write(frame: pl.DataFrame, file: Path) -> Path:
    if file.suffix == ".csv":
        frame.write_csv(file)
    else:
        frame.write_parquet(file)
    return file
