"""Tables of the store and their columns."""

from dataclasses import dataclass

import polars as pl

from weft.domain.columns import UTC_MICROS


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the store.

    Attributes:
        name: folder below the lake.
        schema: columns and types, with `partitions` and `recorded_at` (time of writing) among
            them.
        partitions: columns that split the table into folders.
    """

    name: str
    schema: pl.Schema
    partitions: tuple[str, ...] = ()


CANDLES = Table(
    "candles",
    pl.Schema(
        {
            "source": pl.String(),
            "interval": pl.String(),
            "symbol": pl.String(),
            "open_time": UTC_MICROS,
            "open": pl.Float64(),
            "high": pl.Float64(),
            "low": pl.Float64(),
            "close": pl.Float64(),
            "volume": pl.Float64(),
            "known_at": UTC_MICROS,
            "recorded_at": UTC_MICROS,
        }
    ),
    ("source", "interval"),
)
OBSERVATIONS = Table(
    "observations",
    pl.Schema(
        {
            "source": pl.String(),
            "metric": pl.String(),
            "scope": pl.String(),
            "entity": pl.String(),
            "event_time": UTC_MICROS,
            "known_at": UTC_MICROS,
            "value": pl.Float64(),
            "recorded_at": UTC_MICROS,
        }
    ),
    ("source", "metric"),
)
TEXTS = Table(
    "texts",
    pl.Schema(
        {
            "source": pl.String(),
            "id": pl.String(),
            "event_time": UTC_MICROS,
            "known_at": UTC_MICROS,
            "title": pl.String(),
            "summary": pl.String(),
            "url": pl.String(),
            "feed": pl.String(),
            "assets": pl.List(pl.String()),
            "credibility": pl.Float64(),
            "recorded_at": UTC_MICROS,
        }
    ),
    ("source",),
)
INSTRUMENTS = Table(
    "instruments",
    pl.Schema(
        {
            "source": pl.String(),
            "symbol": pl.String(),
            "described": pl.String(),
            "recorded_at": UTC_MICROS,
        }
    ),
)
CURSORS = Table(
    "cursors",
    pl.Schema(
        {
            "source": pl.String(),
            "interval": pl.String(),
            "cursor": pl.String(),
            "recorded_at": UTC_MICROS,
        }
    ),
)
