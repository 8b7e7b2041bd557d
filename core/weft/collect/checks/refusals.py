"""Refuse rows, and count and locate each refusal in a line that a person can act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from weft.domain.columns import UTC_MICROS, instant

FUTURE: Final = "in the future"
UNCLOSED: Final = "not closed yet"
UNKNOWN: Final = "known_at in the future"
UNWRITTEN: Final = "closed after the file was written, waits until it is written again"

_EARLY = (FUTURE, UNCLOSED, UNKNOWN)
_MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class RuleResult:
    """Rows after a set of rules.

    Attributes:
        rows: the rows that break no rule.
        refused: the other rows, with the first rule that each breaks as `reason`.
        problems: one line for each rule and label, with the count and the first row.
    """

    rows: pl.DataFrame
    refused: pl.DataFrame
    problems: list[str]

    @property
    def early(self) -> int:
        """Number of rows that came too early, and may be asked for again."""
        return self.refused.filter(pl.col("reason").is_in(_EARLY)).height


def refuse(
    rows: pl.DataFrame, rules: Sequence[tuple[str, pl.Expr]], time: str, noun: str
) -> RuleResult:
    """Return the rows that break no rule, and the others with their reason.

    Args:
        rows: with a column `label`: the symbol or series of each row.
        rules: a reason, and the expression that is true for rows it refuses; the first true one
            counts. Rows refused as `FUTURE`, `UNCLOSED` or `UNKNOWN` came too early.
        time: the column with the time of each row.
        noun: what a row is, for messages.
    """
    # Most rows break no rule: numbers are cheaper than a text for every row.
    broken = pl.coalesce(
        pl.when(rule).then(pl.lit(number, pl.Int16)) for number, (_, rule) in enumerate(rules)
    )
    rows = rows.with_columns(broken=broken)
    reasons = dict(enumerate(reason for reason, _ in rules))
    reason = pl.col("broken").replace_strict(reasons, return_dtype=pl.String)
    refused = rows.filter(pl.col("broken").is_not_null()).with_columns(reason=reason)
    problems = list[str]()
    if len(refused):
        for text in reasons.values():
            part = refused.filter(pl.col("reason") == text)
            problems += lines_about(part, f"refused, {text}", time, noun)
        rows = rows.filter(pl.col("broken").is_null())
    return RuleResult(rows.drop("broken"), refused, problems)


def settle(
    rows: pl.DataFrame, keys: Sequence[str], values: Sequence[str], noun: str
) -> tuple[pl.DataFrame, list[str]]:
    """Return sorted rows, one for each key, and lines about rows sorted, dropped or refused.

    Args:
        rows: with a column `label`: the symbol or series of each row.
        keys: columns that identify a row; the last but one is its time.
        values: columns in which rows of one key have to agree; where they differ, all are refused.
        noun: what a row is, for messages.
    """
    time, problems = keys[-2], list[str]()
    if not rows.select(_at_or_after_previous(keys).all()).item():
        back = pl.col(time).diff().over("label") < 0
        problems += lines_about(rows.filter(back), "out of order, sorted", time, noun)
        rows = rows.sort(keys)

    again = pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in keys).fill_null(
        value=False
    )
    if rows.select(again.any()).item():
        rows, lines = _single(rows.with_columns(again=again), keys, values, noun)
        problems += lines
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
    """Keep one of identical rows; refuse all rows that share a key but not the values."""
    time = keys[-2]
    rows = rows.with_columns(group=(~pl.col("again")).cum_sum())
    twins = rows.filter(pl.col("again") | pl.col("again").shift(-1, fill_value=False))
    alike = pl.struct(values).n_unique().over("group") == 1
    clashing = twins.filter(~alike)
    repeated = twins.filter(alike & pl.col("again"))
    lines = lines_about(repeated, "repeated, one of each kept", time, noun)
    lines += lines_about(clashing, f"refused, same {time} with different values", time, noun)
    rows = rows.filter(~pl.col("again")).join(
        clashing, on="group", how="anti", maintain_order="left"
    )
    return rows, lines


def lines_about(rows: pl.DataFrame, what: str, time: str, noun: str) -> list[str]:
    """Return one line for each label: number of rows, outcome, and first row.

    Where rows have a column `line`, the number of the first line in its file is given.
    """
    if rows.is_empty():
        return []
    line = pl.col("line") if "line" in rows.columns else pl.lit(None, pl.UInt32)
    rows = rows.select("label", pl.col(time).alias("first"), line.alias("line"))
    firsts = rows.sort("first", nulls_last=True, maintain_order=True).group_by("label")
    counts = firsts.agg(pl.len(), pl.col("first").first(), pl.col("line").first()).sort("label")
    lines = [
        f"{label or '(unnamed)'}: {_line(count, noun, what, first, line)}"
        for label, count, first, line in counts.head(_MOST_LINES).iter_rows()
    ]
    rest = counts.slice(_MOST_LINES)
    if len(rest):
        first, line = rest.sort("first", nulls_last=True).select("first", "line").row(0)
        about = _line(int(rest["len"].sum()), noun, what, first, line)
        lines.append(f"and {len(rest)} more like these: {about}")
    return lines


def _line(count: int, noun: str, what: str, first: int | None, line: int | None) -> str:
    where = "" if first is None else f", first at {instant(first)}"
    if line is not None:
        where += f" (line {line})" if where else f", first on line {line}"
    return f"{count} {noun}{'' if count == 1 else 's'} {what}{where}"


def finish(rows: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Return rows on a schema, without the columns of the checks."""
    times = [name for name, kind in schema.items() if kind == UTC_MICROS]
    return rows.with_columns(pl.col(times).cast(UTC_MICROS)).select(list(schema))


def blank(name: str) -> pl.Expr:
    """Return the rule that a text is absent or blank."""
    return pl.col(name).fill_null("").str.strip_chars() == ""


def all_finite(columns: Sequence[pl.Expr]) -> pl.Expr:
    """Return the rule that all numbers are present and finite."""
    return pl.all_horizontal(c.is_finite().fill_null(value=False) for c in columns)
