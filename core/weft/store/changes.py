"""Finds which rows are new or restated, given the stored rows."""

from collections.abc import Mapping

import polars as pl

from weft.domain.columns import UTC_MICROS
from weft.foundation.errors import SchemaError
from weft.foundation.times import to_datetime
from weft.store.tables import Table


def on_schema(frame: pl.DataFrame, table: Table, partition: Mapping[str, str]) -> pl.DataFrame:
    """Return rows with the columns and types of a table, without `recorded_at`.

    Args:
        frame: the rows.
        table: the table to add them to.
        partition: columns with one value for all rows.

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


def changed_rows(
    rows: pl.DataFrame,
    latest: pl.DataFrame,
    key: tuple[str, ...],
    values: tuple[str, ...],
    now: int,
) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """Return new and restated rows, whether each is new, and the earlier values.

    Args:
        rows: the rows.
        latest: latest stored version of each fact, in columns that begin with was_.
        key: columns that identify a fact.
        values: columns with the values of a fact.
        now: present time, microseconds since 1970.
    """
    rows_of = rows.columns
    rows = rows.sort("known_at", maintain_order=True).unique(
        [*key, "known_at"], keep="last", maintain_order=True
    )
    joined = rows.join(latest, on=list(key), how="left", maintain_order="left")
    new = pl.col("was_known_at").is_null()
    newest = pl.struct(key).is_last_distinct()
    other = ~pl.all_horizontal(pl.col(v).eq_missing(pl.col(f"was_{v}")) for v in values)
    # A read as of the present microsecond may have happened already.
    next_instant = pl.lit(to_datetime(now + 1)).cast(UTC_MICROS)
    after = pl.col("was_known_at") + pl.duration(microseconds=1)
    added = joined.filter(new | (newest & other)).with_columns(
        known_at=pl.when(new)
        .then("known_at")
        .otherwise(pl.max_horizontal("known_at", after, next_instant))
    )
    is_new = added.select(new.alias("is_new")).to_series()
    return added.select(rows_of), is_new, added.select(f"was_{value}" for value in values)
