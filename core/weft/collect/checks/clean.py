"""Check candles, observations and texts of every provider before they are stored.

Rows are refused, never repaired: the result is the input without the rows that cannot be true, on
one schema. Every refusal is counted and located in a line that a person can act on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final

import polars as pl

from weft.collect.checks.grid import off_grid
from weft.collect.checks.jumps import ALONE, SHIFTED, WAITS, WICK, LastClose, far_off
from weft.collect.checks.refusals import (
    FUTURE,
    UNCLOSED,
    UNKNOWN,
    UNWRITTEN,
    all_finite,
    blank,
    finish,
    lines_about,
    refuse,
    settle,
)
from weft.domain.candles import FIELDS
from weft.domain.columns import UTC_MICROS, Columns
from weft.domain.instruments import Scope
from weft.domain.vocabulary import METRICS, Metric
from weft.foundation.errors import SchemaError
from weft.foundation.times import Interval

CANDLE_SCHEMA: Final = pl.Schema(
    {
        "symbol": pl.String(),
        "interval": pl.String(),
        "open_time": UTC_MICROS,
        **dict.fromkeys(FIELDS, pl.Float64()),
        "known_at": UTC_MICROS,
    }
)
"""Columns of checked candles."""

OBSERVATION_SCHEMA: Final = pl.Schema(
    {
        "metric": pl.String(),
        "scope": pl.String(),
        "entity": pl.String(),
        "event_time": UTC_MICROS,
        "known_at": UTC_MICROS,
        "value": pl.Float64(),
    }
)
"""Columns of checked observations."""

TEXT_SCHEMA: Final = pl.Schema(
    {
        "id": pl.String(),
        "event_time": UTC_MICROS,
        "known_at": UTC_MICROS,
        "title": pl.String(),
        "summary": pl.String(),
        "url": pl.String(),
        "feed": pl.String(),
        "assets": pl.List(pl.String()),
        "credibility": pl.Float64(),
    }
)
"""Columns of checked texts."""

REFUSED_SCHEMA: Final = pl.Schema(
    {"symbol": pl.String(), "open_time": pl.Int64(), "line": pl.UInt32(), "reason": pl.String()}
)
"""Columns of refused candles: `open_time` in microseconds since 1970, `line` of the file."""

LONGEST_TEXT = 20_000
"""Characters of a title or summary that are stored."""

_ROUNDING = 1e-9
"""How far a value may lie beyond its range, for errors of floating point."""


@dataclass(frozen=True, slots=True)
class CheckedCandles:
    """Candles that may be stored.

    Attributes:
        frame: `CANDLE_SCHEMA`, sorted by symbol, open_time and known_at, one row for each.
        problems: refusals and assumptions, one readable line each.
        early: rows refused only because they lie after `now`: worth asking for again.
        refused: the rows left out, on `REFUSED_SCHEMA`; `line` is null where `frame` had none.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...]
    early: int = 0
    refused: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REFUSED_SCHEMA))


@dataclass(frozen=True, slots=True)
class CheckedTexts:
    """Texts that may be stored.

    Attributes:
        frame: `TEXT_SCHEMA`, sorted by id, event_time and known_at, one row for each.
        problems: refusals, one readable line each.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedObservations:
    """Observations that may be stored.

    Attributes:
        frame: `OBSERVATION_SCHEMA`, sorted by metric, scope, entity, event_time and known_at.
        problems: refusals and assumptions, one readable line each.
        early: rows refused only because they lie after `now`: worth asking for again.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...]
    early: int = 0


def clean_candles(
    frame: pl.DataFrame,
    interval: Interval,
    now: int,
    source: str,
    before: Mapping[str, LastClose] = MappingProxyType({}),
    written: int | None = None,
) -> CheckedCandles:
    """Return the candles that can be true, on `CANDLE_SCHEMA`, and the refused rows.

    A candle is on the grid of its symbol if its offset from the interval's grid equals that of
    most candles of the symbol, in steps of 15 minutes: candles of stocks may open at half past.
    Where a market rests at weekends, the candles of a day may be one hour further off: daylight
    saving. Rows with the same open time and another `known_at` are corrections, and stay.

    A candle whose open or close is `weft.collect.checks.jumps.FAR` times off both the close before
    and the open after it is refused. The newest candle that is so far off the close before waits
    for the next one; where that one agrees, both are stored, and the jump is reported.

    Args:
        frame: columns as in `weft.components.provider.Batch`, and optionally `line`, the number of
            the line in a file; other columns are ignored.
        interval: length of the candles; rows of another interval are refused.
        now: present instant, microseconds since 1970; nothing later can be known.
        source: name of the source, for messages.
        before: the newest stored candle of each symbol, where known.
        written: when the file was written, microseconds since 1970; a candle that closes later was
            incomplete by then. None for `now`.

    Raises:
        SchemaError: a column is missing or has the wrong type.
    """
    columns = Columns(frame, source)
    rows = pl.DataFrame(
        {
            "symbol": columns.text("symbol"),
            "open_time": columns.time("open_time"),
            **{name: columns.number(name) for name in FIELDS},
            "interval": columns.text("interval")
            if "interval" in frame.columns
            else pl.repeat(interval.name, len(frame), dtype=pl.String, eager=True),
        }
    )
    close_time = pl.col("open_time") + interval.micros
    known_at = columns.time("known_at") if "known_at" in frame.columns else close_time
    rows = rows.with_columns(known_at=known_at, label=pl.col("symbol"))
    if "line" in frame.columns:
        rows = rows.with_columns(frame["line"])
    rows = rows.with_columns(off_grid=off_grid(rows, interval))
    price = [pl.col(name) for name in ("open", "high", "low", "close")]
    rules = [
        ("no symbol", blank("symbol")),
        ("no usable open_time", pl.col("open_time").is_null()),
        (f"interval is not {interval}", ~pl.col("interval").eq_missing(interval.name)),
        ("price missing or not finite", ~all_finite(price)),
        ("price not above zero", pl.any_horizontal(p <= 0 for p in price)),
        ("high below low", pl.col("high") < pl.col("low")),
        ("high below open or close", pl.col("high") < pl.max_horizontal("open", "close")),
        ("low above open or close", pl.col("low") > pl.min_horizontal("open", "close")),
        ("volume missing or not finite", ~all_finite([pl.col("volume")])),
        ("volume below zero", pl.col("volume") < 0),
        (f"off the {interval} grid", pl.col("off_grid")),
        (FUTURE, pl.col("open_time") > now),
        (UNCLOSED, close_time > now),
        (UNWRITTEN, close_time > (now if written is None else written)),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before its close", pl.col("known_at") < close_time),
        (UNKNOWN, pl.col("known_at") > now),
    ]
    passed = refuse(rows.with_row_index("row"), rules, "open_time", "candle")
    single, settled = settle(passed.rows, ("symbol", "open_time", "known_at"), FIELDS, "candle")
    passing, far, jumps = _refuse_far_off(single, before)
    refused = (passed.refused, _dropped(passed.rows, single), far)
    return CheckedCandles(
        finish(passing, CANDLE_SCHEMA),
        (*columns.notes, *passed.problems, *settled, *jumps),
        passed.early + far.filter(pl.col("reason") == WAITS).height,
        pl.concat([_as_refused(part) for part in refused]),
    )


def clean_observations(
    frame: pl.DataFrame, now: int, source: str, lag: Interval | None = None
) -> CheckedObservations:
    """Return the observations that can be true, on `OBSERVATION_SCHEMA`, and the refusals.

    A value of a canonical metric has to lie in the range that `weft.domain.vocabulary` states. The
    range of other metrics is unknown.

    Args:
        frame: columns metric, scope, entity, event_time, known_at and value; others are ignored.
            A fact about the market as a whole has no entity.
        now: present instant, microseconds since 1970; nothing later can be known.
        source: name of the source, for messages.
        lag: how long after its event a fact became known, where `known_at` is absent.

    Raises:
        SchemaError: a column is missing or has the wrong type; or `known_at` is absent and there
            is no `lag`.
    """
    columns = Columns(frame, source)
    if "known_at" not in frame.columns and lag is None:
        raise SchemaError(
            "column 'known_at' is missing: the time when a fact became known is unknown",
            where=source,
            hint="Add the column, or state a lag after event_time",
        )
    rows = pl.DataFrame(
        {
            "metric": columns.text("metric"),
            "scope": columns.text("scope"),
            "entity": columns.text("entity").fill_null(""),
            "event_time": columns.time("event_time"),
            "value": columns.number("value"),
        }
    )
    label = pl.concat_str("metric", "entity", separator=" ", ignore_nulls=True).str.strip_chars()
    if "known_at" in frame.columns:
        rows = rows.with_columns(columns.time("known_at"), label=label)
    elif lag is not None:
        rows = rows.with_columns(known_at=pl.col("event_time") + lag.micros, label=label)
    scopes = [scope.value for scope in Scope]
    rules = [
        ("no metric", blank("metric")),
        (
            f"scope is none of {', '.join(scopes)}",
            ~pl.col("scope").is_in(scopes).fill_null(value=False),
        ),
        ("no entity", (pl.col("scope") != Scope.MARKET.value) & blank("entity")),
        ("no usable event_time", pl.col("event_time").is_null()),
        ("value missing or not finite", ~all_finite([pl.col("value")])),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before event_time", pl.col("known_at") < pl.col("event_time")),
        (UNKNOWN, pl.col("known_at") > now),
    ]
    rules += _beyond(rows["metric"])
    passed = refuse(rows, rules, "event_time", "observation")
    keys = ("metric", "scope", "entity", "event_time", "known_at")
    single, settled = settle(passed.rows, keys, ("value",), "observation")
    problems = (*columns.notes, *passed.problems, *settled)
    return CheckedObservations(finish(single, OBSERVATION_SCHEMA), problems, passed.early)


def clean_texts(frame: pl.DataFrame, now: int, source: str) -> CheckedTexts:
    """Return the texts that can be true, on `TEXT_SCHEMA`, and the refusals.

    Args:
        frame: columns as in `weft.components.provider.Batch`; `assets` is a list of names.
        now: present instant, microseconds since 1970; nothing later can be known.
        source: name of the source, for messages.

    Raises:
        SchemaError: a column is missing or has the wrong type.
    """
    columns = Columns(frame, source)
    if "assets" not in frame.columns or frame["assets"].dtype != pl.List(pl.String()):
        raise SchemaError("column 'assets' is no list of names", where=source)
    texts = {name: columns.text(name) for name in ("id", "title", "summary", "url", "feed")}
    rows = pl.DataFrame(
        {
            **texts,
            "event_time": columns.time("event_time"),
            "known_at": columns.time("known_at"),
            "assets": frame["assets"].fill_null([]),
            "credibility": columns.number("credibility"),
            "label": texts["feed"],
        }
    ).with_columns(pl.col("title", "summary").fill_null("").str.slice(0, LONGEST_TEXT))
    rules = [
        ("no id", blank("id")),
        ("no title", blank("title")),
        ("no usable event_time", pl.col("event_time").is_null()),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before event_time", pl.col("known_at") < pl.col("event_time")),
        (UNKNOWN, pl.col("known_at") > now),
        ("credibility beyond 0 to 1", ~pl.col("credibility").is_between(0, 1)),
    ]
    passed = refuse(rows, rules, "event_time", "text")
    keys = ("id", "event_time", "known_at")
    single, settled = settle(passed.rows, keys, ("title", "summary"), "text")
    problems = (*columns.notes, *passed.problems, *settled)
    return CheckedTexts(finish(single, TEXT_SCHEMA), problems)


def _beyond(metrics: pl.Series) -> list[tuple[str, pl.Expr]]:
    """Return one rule for each range of the canonical metrics among these."""
    value, names = pl.col("value"), dict[str, list[Metric]]()
    for name in metrics.drop_nulls().unique():
        metric = METRICS.get(name)
        if metric is not None and metric.range:
            names.setdefault(metric.range, []).append(metric)
    rules = []
    for limits, metrics_within in sorted(names.items()):
        lowest, highest = metrics_within[0].lowest, metrics_within[0].highest
        below = value < (-inf if lowest is None else lowest - _ROUNDING)
        above = value > (inf if highest is None else highest + _ROUNDING)
        concerned = pl.col("metric").is_in([metric.name for metric in metrics_within])
        rules.append((f"value not {limits}", concerned & (below | above)))
    return rules


def _refuse_far_off(
    rows: pl.DataFrame, before: Mapping[str, LastClose]
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Return the rows without refused jumps, the refused rows, and a line for each kind of jump."""
    rows, problems = rows.with_columns(reason=far_off(rows, before)), list[str]()
    if rows["reason"].null_count() == len(rows):
        return rows, rows.clear(), problems
    for reason in (ALONE, WAITS, SHIFTED, WICK):
        outcome = reason if reason in {SHIFTED, WICK} else f"refused, {reason}"
        part = rows.filter(pl.col("reason") == reason)
        problems += lines_about(part, outcome, "open_time", "candle")
    far = pl.col("reason").is_in([ALONE, WAITS]).fill_null(value=False)
    return rows.filter(~far), rows.filter(far), problems


def _dropped(rows: pl.DataFrame, single: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that are not among the single ones, with the reason."""
    if len(rows) == len(single):
        return rows.clear().with_columns(reason=pl.lit("", pl.String))
    keys = ["symbol", "open_time", "known_at"]
    repeated = single.select(keys).with_columns(reason=pl.lit("repeats another line"))
    dropped = rows.join(single, on="row", how="anti", maintain_order="left")
    clash = "same open_time as another line, with different values"
    return dropped.join(repeated, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("reason").fill_null(clash)
    )


def _as_refused(rows: pl.DataFrame) -> pl.DataFrame:
    line = pl.col("line") if "line" in rows.columns else pl.lit(None, pl.UInt32)
    return rows.select("symbol", pl.col("open_time").to_physical(), line.alias("line"), "reason")
