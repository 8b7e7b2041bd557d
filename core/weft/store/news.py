"""What of the rows that came is news, given what is stored already."""

from collections.abc import Mapping

import polars as pl

from weft.domain.columns import UTC_MICROS
from weft.foundation.errors import SchemaError
from weft.foundation.times import to_datetime
from weft.store.tables import Table


def on_schema(frame: pl.DataFrame, table: Table, partition: Mapping[str, str]) -> pl.DataFrame:
    """Return what came with the columns and types of a table, but for `recorded_at`.

    Args:
        frame: what came.
        table: where it belongs.
        partition: columns that are the same in all rows.

    Raises:
        SchemaError: a column is missing.
    """
    rows = frame.with_columns(pl.lit(v).alias(c) for c, v in partition.items())
    schema = {name: kind for name, kind in table.schema.items() if name != "recorded_at"}
    if missing := [c for c in schema if c not in rows.columns]:
        raise SchemaError(
            f"column {missing[0]!r} is missing; found {', '.join(map(repr, frame.columns))}",
            where=partition["source"],
        )
    return rows.select(pl.col(name).cast(kind) for name, kind in schema.items())


def news(
    rows: pl.DataFrame,
    latest: pl.DataFrame,
    key: tuple[str, ...],
    values: tuple[str, ...],
    now: int,
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Return the rows that say something not stored yet, which are new, and what was stored.

    Args:
        rows: what came.
        latest: the version known last of every fact that is stored, columns beginning with was_.
        key: columns that tell facts apart.
        values: columns that hold what they say.
        now: present instant, microseconds since 1970.
    """
    rows_of = rows.columns
    rows = rows.sort("known_at", maintain_order=True).unique(
        [*key, "known_at"], keep="last", maintain_order=True
    )
    joined = rows.join(latest, on=list(key), how="left", maintain_order="left")
    new = pl.col("was_known_at").is_null()
    newest = pl.struct(key).is_last_distinct()
    other = ~pl.all_horizontal(pl.col(v).eq_missing(pl.col(f"was_{v}")) for v in values)
    # A read as of this very instant may have been answered already.
    next_instant = pl.lit(to_datetime(now + 1)).cast(UTC_MICROS)
    after = pl.col("was_known_at") + pl.duration(microseconds=1)
    added = joined.filter(new | (newest & other)).with_columns(
        known_at=pl.when(new)
        .then("known_at")
        .otherwise(pl.max_horizontal("known_at", after, next_instant))
    )
    is_new = added.select(new.alias("is_new")).to_series()
    return added.select(rows_of), is_new, added.select(f"was_{value}" for value in values)
