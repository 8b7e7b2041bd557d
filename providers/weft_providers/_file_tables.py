"""Reads one Parquet or CSV file into the columns of candles or observations, values as they are."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl

from weft.errors import DataError, NoDataError, SchemaError, nearest
from weft.market.columns import read_times
from weft.times import Interval, TimeError

SUFFIXES = (".parquet", ".pq", ".csv.gz", ".csv")
"""How the names of files end that can be read."""

_PRICES = ("open", "high", "low", "close")
_CANDLES_NEED = ("open_time", *_PRICES, "volume")
_CANDLES_MAY_HAVE = ("symbol", "interval", "known_at", "venue")
_FACTS_NEED = ("metric", "scope", "entity", "event_time", "value")
COLUMNS = tuple(dict.fromkeys((*_CANDLES_NEED, *_CANDLES_MAY_HAVE, *_FACTS_NEED)))
"""Names of the columns that Weft reads from files."""

_RENAME = "Tell its name with the key columns, as in {date: open_time}"


class OtherIntervalError(NoDataError):
    """A file holds other candles than those asked for: told only if no file holds those."""


class NotCandlesError(SchemaError):
    """A file is no candle file: told only if no file is."""


def candle_table(
    file: Path,
    source: str,
    *,
    interval: Interval,
    symbols: Collection[str],
    venue: str,
    renames: Mapping[str, str],
) -> pl.DataFrame:
    """Return a file's candles of one interval.

    Without a symbol column the file's name is the symbol.

    Args:
        file: where it is.
        source: how errors name it.
        interval: the candles' length.
        symbols: only these; none for all.
        venue: chooses rows where the file names venues; empty for the only one.
        renames: what Weft calls the file's own columns.

    Raises:
        NotCandlesError: it holds no column of prices.
        OtherIntervalError: it holds candles of other intervals only.
        SchemaError: a needed column is missing, or several venues are mixed.
        DataError: it is empty, cannot be read or holds nothing of what is asked for.
    """
    columns = _columns_of(file, source, renames)
    if not set(_PRICES) & set(columns):
        raise NotCandlesError(
            f"no candle file: column 'open' is missing; found {_listed(columns)}",
            where=source,
            hint=_RENAME,
        )
    frame = _load(file, source, columns, _CANDLES_NEED, _CANDLES_MAY_HAVE)
    if "symbol" not in frame.columns:
        frame = frame.with_columns(symbol=pl.lit(_stem(file.name)))
    frame = _of_venue(frame, venue, source)
    if symbols:
        frame = frame.filter(pl.col("symbol").is_in(list(symbols)))
    return _of_interval(frame, interval, source)


def fact_table(file: Path, source: str) -> pl.DataFrame:
    """Return a file's observations; errors name it `source`.

    Raises:
        SchemaError: a needed column is missing.
        DataError: it is empty or cannot be read.
    """
    columns = _columns_of(file, source, {})
    return _load(file, source, columns, _FACTS_NEED, ("known_at",))


@contextmanager
def _reading(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"cannot be read: {reason}", where=source, hint="Write the file again, or remove it"
        ) from error


def _columns_of(file: Path, source: str, renames: Mapping[str, str]) -> dict[str, str]:
    """Return for every column what Weft calls it, and what the file does.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    with _reading(source):
        if file.stat().st_size == 0:
            raise NoDataError("the file is empty", where=source)
        if _is_csv(file):
            found = pl.read_csv(file, n_rows=0, infer_schema=False, glob=False).columns
        else:
            found = pl.scan_parquet(file, glob=False).collect_schema().names()
    own = {name.strip(): name for name in found}
    return {n: n_own for n, n_own in own.items() if n not in renames} | {
        renames[n]: n_own for n, n_own in own.items() if n in renames
    }


def _load(
    file: Path, source: str, columns: Mapping[str, str], need: Sequence[str], may: Sequence[str]
) -> pl.DataFrame:
    """Return the columns needed, and those there may be, under Weft's names.

    Raises:
        SchemaError: a needed column is missing.
        DataError: the file has no rows or cannot be read.
    """
    for name in need:
        if name not in columns:
            close = nearest(name, [c for c in columns if c not in (*need, *may)])
            raise SchemaError(
                f"column {name!r} is missing; found {_listed(columns)}",
                where=source,
                hint=f"Did you mean {close!r}? {_RENAME}" if close else _RENAME,
            )
    chosen = [name for name in (*need, *may) if name in columns]
    own = [columns[name] for name in chosen]
    with _reading(source):
        if _is_csv(file):
            frame = pl.read_csv(file, columns=own, infer_schema=False, glob=False)
        else:
            frame = pl.read_parquet(file, columns=own, glob=False)
    if frame.is_empty():
        raise NoDataError("the file holds no rows", where=source)
    return frame.select(pl.col(columns[name]).alias(name) for name in chosen)


def _of_venue(frame: pl.DataFrame, wanted: str, source: str) -> pl.DataFrame:
    """Return the rows of the venue chosen.

    Raises:
        DataError: there are none, or none is chosen and there are several venues.
    """
    if "venue" not in frame.columns:
        return frame
    venue = pl.col("venue").cast(pl.String)
    names = frame.select(venue.drop_nulls().unique().sort()).to_series()
    found = ", ".join(names[:8])
    if not wanted and len(names) > 1:
        raise SchemaError(
            f"mixes venues ({found})", where=source, hint="Choose one with the key venue"
        )
    chosen = frame.filter(venue.str.to_lowercase() == wanted.lower()) if wanted else frame
    if chosen.is_empty():
        raise NoDataError(f"holds no rows of venue {wanted!r}, only of {found}", where=source)
    return chosen


def _of_interval(frame: pl.DataFrame, interval: Interval, source: str) -> pl.DataFrame:
    """Return the rows of one interval.

    Raises:
        NoDataError: there are only candles of others.
    """
    if "interval" not in frame.columns:
        step = _usual_step(frame, source)
        if step is None or step == interval.micros:
            return frame
        raise NoDataError(
            f"has no interval column, and most of its candles are {timedelta(microseconds=step)} "
            f"apart, not {interval}",
            where=source,
        )
    stated = pl.col("interval").cast(pl.String)
    found = frame.select(stated.drop_nulls().unique().sort()).to_series().to_list()
    same = [name for name in found if _micros(name) == interval.micros]
    if found and not same:
        raise OtherIntervalError(
            f"holds no {interval} candles, only {', '.join(found[:8])}", where=source
        )
    return frame.filter(stated.is_in(same)).drop("interval")


def _usual_step(frame: pl.DataFrame, source: str) -> int | None:
    """Return the most common time between two candles of a symbol, microseconds."""
    times, _ = read_times(frame["open_time"], source)
    step = pl.col("time").diff().over("symbol")
    steps = pl.DataFrame({"symbol": frame["symbol"], "time": times}).drop_nulls()
    steps = steps.unique().sort("symbol", "time").select(step=step).filter(pl.col("step") > 0)
    counts = steps["step"].value_counts().sort("count", "step", descending=[True, False])
    return None if counts.is_empty() else int(counts["step"][0])


def _micros(name: str) -> int | None:
    try:
        return Interval.parse(name).micros
    except TimeError:
        return None


def _is_csv(file: Path) -> bool:
    return file.name.endswith((".csv", ".csv.gz"))


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in list(columns)[:20])


def _stem(name: str) -> str:
    return name.removesuffix(next(suffix for suffix in SUFFIXES if name.endswith(suffix)))
