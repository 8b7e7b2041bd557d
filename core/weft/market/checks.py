"""The one gate that every provider's candles and observations pass before they are stored.

Rows are refused, never repaired: what comes out is what came in, less what cannot be true, on one
schema. Every refusal is counted and located in a line that a person can act on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from types import MappingProxyType
from typing import Final

import polars as pl

from weft.errors import SchemaError
from weft.market.candles import FIELDS
from weft.market.columns import UTC_MICROS, Columns, instant
from weft.market.instruments import Scope
from weft.market.jumps import ALONE, SHIFTED, WAITS, WICK, LastClose, far_off
from weft.times import DAY, HOUR, MINUTE, Interval

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

LONGEST_TEXT = 20_000
"""Characters of a title or summary that are kept."""

_MOST_LINES = 20
_FUTURE, _UNCLOSED, _UNKNOWN = "in the future", "not closed yet", "known_at in the future"
_EARLY = (_FUTURE, _UNCLOSED, _UNKNOWN)


@dataclass(frozen=True, slots=True)
class CheckedCandles:
    """Candles that may be stored.

    Attributes:
        frame: `CANDLE_SCHEMA`, sorted by symbol, open_time and known_at, one row for each.
        problems: what was refused or assumed on the way, one readable line each.
        early: rows refused only because `now` is too soon for them: worth asking for again.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...]
    early: int = 0


@dataclass(frozen=True, slots=True)
class CheckedTexts:
    """Texts that may be stored.

    Attributes:
        frame: `TEXT_SCHEMA`, sorted by id, event_time and known_at, one row for each.
        problems: what was refused on the way, one readable line each.
    """

    frame: pl.DataFrame
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckedObservations:
    """Observations that may be stored.

    Attributes:
        frame: `OBSERVATION_SCHEMA`, sorted by metric, scope, entity, event_time and known_at.
        problems: what was refused or assumed on the way, one readable line each.
        early: rows refused only because `now` is too soon for them: worth asking for again.
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
) -> CheckedCandles:
    """Return the candles of `frame` that can be true, on the fixed schema, and what was refused.

    A bar stands on its symbol's grid when it is as far off the interval's as most of the
    symbol's bars are, in steps of a quarter of an hour: stock bars may start at half past. Where
    the market rests at weekends, a whole day may be one hour further off: daylight saving. The
    same open time with another `known_at` is a correction and stays.

    A candle whose open or close is far off (`weft.market.jumps.FAR`) both the close before and the
    open after it is refused. The last one that is far off the close before waits until another
    one follows; where that one agrees, both are kept, and the jump is told.

    Args:
        frame: columns as in `weft.components.provider.Batch`; others are ignored.
        interval: what the candles are to be; rows of another are refused.
        now: present instant, microseconds; nothing later can be known.
        source: who brought them, for messages.
        before: the newest candle kept of each symbol, where known.

    Raises:
        SchemaError: a column is missing, or cannot be what it claims.
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
    rows = rows.with_columns(off_grid=_off_grid(rows, interval))
    price = [pl.col(name) for name in ("open", "high", "low", "close")]
    rules = [
        ("no symbol", _blank("symbol")),
        ("no usable open_time", pl.col("open_time").is_null()),
        (f"interval is not {interval}", ~pl.col("interval").eq_missing(interval.name)),
        ("price missing or not finite", ~_all_finite(price)),
        ("price not above zero", pl.any_horizontal(p <= 0 for p in price)),
        ("high below low", pl.col("high") < pl.col("low")),
        ("high below open or close", pl.col("high") < pl.max_horizontal("open", "close")),
        ("low above open or close", pl.col("low") > pl.min_horizontal("open", "close")),
        ("volume missing or not finite", ~_all_finite([pl.col("volume")])),
        ("volume below zero", pl.col("volume") < 0),
        (f"off the {interval} grid", pl.col("off_grid")),
        (_FUTURE, pl.col("open_time") > now),
        (_UNCLOSED, close_time > now),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before its close", pl.col("known_at") < close_time),
        (_UNKNOWN, pl.col("known_at") > now),
    ]
    rows, early, refused = _refuse(rows, rules, "open_time", "candle")
    rows, told = _settle(rows, ("symbol", "open_time", "known_at"), FIELDS, "candle")
    rows, waiting, far = _refuse_far_off(rows, before)
    early += waiting
    problems = (*columns.notes, *refused, *told, *far)
    return CheckedCandles(_finish(rows, CANDLE_SCHEMA), problems, early)


def clean_observations(
    frame: pl.DataFrame, now: int, source: str, lag: Interval | None = None
) -> CheckedObservations:
    """Return the observations of `frame` that can be true, and what was refused.

    Args:
        frame: columns metric, scope, entity, event_time, known_at and value; others are ignored.
            A fact of the whole market has no entity.
        now: present instant, microseconds; nothing later can be known.
        source: who brought them, for messages.
        lag: where `known_at` is absent, how long after its event a fact became known.

    Raises:
        SchemaError: a column is missing, or cannot be what it claims; or `known_at` is absent
            and no `lag` says what it would be.
    """
    columns = Columns(frame, source)
    if "known_at" not in frame.columns and lag is None:
        raise SchemaError(
            "column 'known_at' is missing, and without it nothing says when a fact became known",
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
        ("no metric", _blank("metric")),
        (
            f"scope is none of {', '.join(scopes)}",
            ~pl.col("scope").is_in(scopes).fill_null(value=False),
        ),
        ("no entity", (pl.col("scope") != Scope.MARKET.value) & _blank("entity")),
        ("no usable event_time", pl.col("event_time").is_null()),
        ("value missing or not finite", ~_all_finite([pl.col("value")])),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before event_time", pl.col("known_at") < pl.col("event_time")),
        (_UNKNOWN, pl.col("known_at") > now),
    ]
    rows, early, refused = _refuse(rows, rules, "event_time", "observation")
    keys = ("metric", "scope", "entity", "event_time", "known_at")
    rows, told = _settle(rows, keys, ("value",), "observation")
    problems = (*columns.notes, *refused, *told)
    return CheckedObservations(_finish(rows, OBSERVATION_SCHEMA), problems, early)


def clean_texts(frame: pl.DataFrame, now: int, source: str) -> CheckedTexts:
    """Return the texts of `frame` that can be what they claim, and what was refused.

    Args:
        frame: columns as in `weft.components.provider.Batch`; assets are a list of names.
        now: present instant, microseconds; nothing later can be known.
        source: who brought them, for messages.

    Raises:
        SchemaError: a column is missing, or cannot be what it claims.
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
        ("no id", _blank("id")),
        ("no title", _blank("title")),
        ("no usable event_time", pl.col("event_time").is_null()),
        ("no usable known_at", pl.col("known_at").is_null()),
        ("known_at before event_time", pl.col("known_at") < pl.col("event_time")),
        (_UNKNOWN, pl.col("known_at") > now),
        ("credibility beyond 0 to 1", ~pl.col("credibility").is_between(0, 1)),
    ]
    rows, _, refused = _refuse(rows, rules, "event_time", "text")
    rows, told = _settle(rows, ("id", "event_time", "known_at"), ("title", "summary"), "text")
    return CheckedTexts(_finish(rows, TEXT_SCHEMA), (*columns.notes, *refused, *told))


def _blank(name: str) -> pl.Expr:
    return pl.col(name).fill_null("").str.strip_chars() == ""


def _all_finite(columns: Sequence[pl.Expr]) -> pl.Expr:
    return pl.all_horizontal(c.is_finite().fill_null(value=False) for c in columns)


def _off_grid(rows: pl.DataFrame, interval: Interval) -> pl.Series:
    """Return which rows open off their symbol's grid; `clean_candles` states the rule."""
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


def _refuse(
    rows: pl.DataFrame, rules: Sequence[tuple[str, pl.Expr]], time: str, noun: str
) -> tuple[pl.DataFrame, int, list[str]]:
    """Return the rows that break no rule, how many came too early, and what was refused."""
    broken = pl.coalesce(
        pl.when(rule).then(pl.lit(number, pl.Int16)) for number, (_, rule) in enumerate(rules)
    )
    rows = rows.with_columns(broken=broken)
    early, told = 0, list[str]()
    if rows["broken"].null_count() == len(rows):
        return rows, early, told
    for number, (reason, _) in enumerate(rules):
        part = rows.filter(pl.col("broken") == number)
        told += _told(part, f"refused, {reason}", time, noun)
        early += len(part) if reason in _EARLY else 0
    return rows.filter(pl.col("broken").is_null()), early, told


def _refuse_far_off(
    rows: pl.DataFrame, before: Mapping[str, LastClose]
) -> tuple[pl.DataFrame, int, list[str]]:
    """Return the rows that may follow each other, how many wait, and what is told of jumps."""
    rows, told = rows.with_columns(far=far_off(rows, before)), list[str]()
    if rows["far"].null_count() == len(rows):
        return rows, 0, told
    for what in (ALONE, WAITS, SHIFTED, WICK):
        noted = what if what in {SHIFTED, WICK} else f"refused, {what}"
        told += _told(rows.filter(pl.col("far") == what), noted, "open_time", "candle")
    waiting = rows.filter(pl.col("far") == WAITS).height
    return rows.filter(~pl.col("far").is_in([ALONE, WAITS]).fill_null(value=False)), waiting, told


def _settle(
    rows: pl.DataFrame, keys: Sequence[str], values: Sequence[str], noun: str
) -> tuple[pl.DataFrame, list[str]]:
    """Sort rows by `keys`, of which the last but one is the row's own time; leave one for each."""
    time, problems = keys[-2], list[str]()
    if not rows.select(_at_or_after_previous(keys).all()).item():
        back = pl.col(time).diff().over("label") < 0
        problems += _told(rows.filter(back), "out of order, sorted", time, noun)
        rows = rows.sort(keys)

    again = pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in keys).fill_null(
        value=False
    )
    if rows.select(again.any()).item():
        rows, told = _single(rows.with_columns(again=again), keys, values, noun)
        problems += told
    return rows, problems


def _at_or_after_previous(keys: Sequence[str]) -> pl.Expr:
    ordered = pl.lit(value=True)
    for key in reversed(keys):
        this, previous = pl.col(key), pl.col(key).shift(1)
        ordered = (this > previous) | ((this == previous) & ordered)
    return ordered.fill_null(value=True)


def _single(
    rows: pl.DataFrame, keys: Sequence[str], values: Sequence[str], noun: str
) -> tuple[pl.DataFrame, list[str]]:
    """Keep one of rows that are wholly alike; refuse all that share a key but not the values."""
    time = keys[-2]
    rows = rows.with_columns(group=(~pl.col("again")).cum_sum())
    twins = rows.filter(pl.col("again") | pl.col("again").shift(-1, fill_value=False))
    alike = pl.struct(values).n_unique().over("group") == 1
    clashing = twins.filter(~alike)
    repeated = twins.filter(alike & pl.col("again"))
    told = _told(repeated, "repeated, one of each kept", time, noun)
    told += _told(clashing, f"refused, same {time} with different values", time, noun)
    rows = rows.filter(~pl.col("again")).join(
        clashing, on="group", how="anti", maintain_order="left"
    )
    return rows, told


def _told(rows: pl.DataFrame, what: str, time: str, noun: str) -> list[str]:
    """Return one line for each label: how many rows, what became of them, and where they start."""
    if rows.is_empty():
        return []
    counts = rows.group_by("label").agg(pl.len(), first=pl.col(time).min()).sort("label")
    lines = [
        f"{label or '(unnamed)'}: {_line(count, noun, what, first)}"
        for label, count, first in counts.head(_MOST_LINES).iter_rows()
    ]
    rest = counts.slice(_MOST_LINES)
    if len(rest):
        _, count, first = rest.select("label", pl.col("len").sum(), pl.col("first").min()).row(0)
        lines.append(f"and {len(rest)} more like these: {_line(count, noun, what, first)}")
    return lines


def _line(count: int, noun: str, what: str, first: int | None) -> str:
    where = "" if first is None else f", first at {instant(first)}"
    return f"{count} {noun}{'' if count == 1 else 's'} {what}{where}"


def _finish(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    times = [name for name, kind in schema.items() if kind == UTC_MICROS]
    return rows.with_columns(pl.col(times).cast(UTC_MICROS)).select(list(schema))
