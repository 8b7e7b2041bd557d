"""Rows for a store, and what one holds, in the fewest words."""

from typing import TypeAlias

import polars as pl

from weft.collect.checks.clean import CANDLE_SCHEMA, OBSERVATION_SCHEMA
from weft.domain.candles import FIELDS
from weft.foundation.times import HOUR, Interval
from weft.store.store import Store
from weft.store.tables import CANDLES

H1, H4 = Interval.parse("1h"), Interval.parse("4h")
NOW = 1_000_000 * HOUR

Fact: TypeAlias = tuple[str, int, float, int]
"""Symbol, open time, price, known at."""


def candles(*facts: Fact, interval: str = "1h") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": [symbol for symbol, _, _, _ in facts],
            "interval": [interval] * len(facts),
            "open_time": [opened for _, opened, _, _ in facts],
            **{name: [price for _, _, price, _ in facts] for name in FIELDS},
            "known_at": [known for _, _, _, known in facts],
        },
        schema=CANDLE_SCHEMA,
    )


def observations(*facts: tuple[str, str, int, float, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(metric, "asset", entity, at, known, value) for metric, entity, at, value, known in facts],
        schema=OBSERVATION_SCHEMA,
        orient="row",
    )


def stored(store: Store, *sources: str, symbols: tuple[str, ...] = ("A", "B")) -> list[Fact]:
    rows = store.candles(dict.fromkeys(sources, symbols), H1)
    times = rows.select(pl.col("open_time", "known_at").to_physical())
    return list(
        zip(rows["symbol"], times["open_time"], rows["close"], times["known_at"], strict=True)
    )


def version(store: Store) -> int:
    return store.lake.snapshot(CANDLES).version
