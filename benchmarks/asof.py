"""The as-of join of hourly rows with the facts of many metrics, against pandas and polars."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl
from rich.console import Console
from rich.table import Table

from weft.components.needs import metric
from weft.domain.instruments import describe
from weft.domain.reconcile import Reconciliation
from weft.foundation.arrays import FloatPanel, Times
from weft.foundation.times import DAY, HOUR, Interval
from weft.market.facts import FactSeries, Subject
from weft.market.metrics import metric_panel
from weft.market.plan import Plan

COINS, ROWS, METRICS = 100, 25_000, 20
ROUNDS = 3
START = 50_000 * HOUR
H1 = Interval.parse("1h")

Facts = dict[Subject, FactSeries]


def main() -> None:
    """Measure and print."""
    rows = START + np.arange(ROWS, dtype=np.int64) * HOUR
    facts = [_facts(number) for number in range(METRICS)]
    spent = {
        "Weft, panels in memory": _median(lambda: _weft(facts, rows)),
        "polars, join_asof": _timed(lambda: _polars(facts, rows)),
        "pandas, merge_asof": _timed(lambda: _pandas(facts, rows)),
    }
    _check(facts, rows)
    table = Table("", "milliseconds", "over Weft")
    table.title = f"As-of join: {COINS * ROWS:,} hourly rows, {METRICS} metrics of daily facts"
    ours = spent["Weft, panels in memory"]
    for name, seconds in spent.items():
        table.add_row(name, f"{seconds * 1e3:,.0f}", f"{seconds / ours:.1f}x")
    Console(highlight=False).print(table)


def _facts(number: int) -> Facts:
    """Return daily values of each coin, known some hours later; a tenth is corrected once."""
    rng = np.random.default_rng(number)
    days = ROWS // 24 + 2
    facts = {}
    for coin in range(COINS):
        event = START + np.arange(-1, days - 1, dtype=np.int64) * DAY
        known = event + rng.integers(1, 9, days) * HOUR
        corrected = rng.random(days) < 0.1
        event = np.concatenate([event, event[corrected]])
        known = np.concatenate([known, known[corrected] + 30 * HOUR])
        value = rng.normal(size=len(event))
        order = np.lexsort((event, known))
        subject = Subject("source", "asset", f"C{coin:03}")
        facts[subject] = FactSeries(event[order], known[order], value[order])
    return facts


def _weft(facts: list[Facts], rows: Times) -> list[FloatPanel]:
    instruments = [describe(f"C{coin:03}USDT") for coin in range(COINS)]
    plan = Plan(H1, H1, (metric("m"),), {})
    return [
        metric_panel("m", series, ["source"], instruments, Reconciliation(), plan, rows).values
        for series in facts
    ]


def _frame(facts: Facts) -> pl.DataFrame:
    """Return the facts as a table, without corrections of events that are not the newest."""
    parts = []
    for subject, series in facts.items():
        newest = series.event_time >= np.maximum.accumulate(series.event_time)
        columns = {"known": series.known_at[newest], "value": series.value[newest]}
        parts.append(pl.DataFrame(columns).with_columns(coin=pl.lit(subject.entity)))
    return pl.concat(parts).sort("known", maintain_order=True)


def _grid(rows: Times) -> pl.DataFrame:
    coins = pl.DataFrame({"coin": [f"C{coin:03}" for coin in range(COINS)]})
    return pl.DataFrame({"known": rows}).join(coins, how="cross")


def _polars(facts: list[Facts], rows: Times) -> list[pl.Series]:
    grid, frames = _PREPARED or _prepare(facts, rows)
    return [
        grid.join_asof(f, on="known", by="coin", check_sortedness=False)["value"] for f in frames
    ]


def _pandas(facts: list[Facts], rows: Times) -> list["pd.Series[float]"]:
    grid, frames = _PREPARED or _prepare(facts, rows)
    left = _as_pandas(grid)
    return [pd.merge_asof(left, _as_pandas(f), on="known", by="coin")["value"] for f in frames]


def _as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: frame[name].to_numpy() for name in frame.columns})


_PREPARED: tuple[pl.DataFrame, list[pl.DataFrame]] | None = None


def _prepare(facts: list[Facts], rows: Times) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    global _PREPARED  # noqa: PLW0603  # prepared once, outside of the timing
    _PREPARED = (_grid(rows), [_frame(series) for series in facts])
    return _PREPARED


def _check(facts: list[Facts], rows: Times) -> None:
    """Exit unless the three joins agree."""
    for ours, theirs, thirds in zip(
        _weft(facts[:2], rows), _polars(facts, rows), _pandas(facts[:2], rows), strict=False
    ):
        expected = theirs.to_numpy().reshape(ROWS, COINS)
        if not np.array_equal(ours, expected, equal_nan=True):
            raise SystemExit("the joins differ")
        if not np.array_equal(ours.ravel(), thirds.to_numpy(), equal_nan=True):
            raise SystemExit("the joins differ")


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _median(work: Callable[[], object]) -> float:
    work()  # compiles first
    return statistics.median(_timed(work) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
