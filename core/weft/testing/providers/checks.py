"""Checks of a provider whose source works."""

import asyncio
import random
from contextlib import aclosing
from typing import Final

import polars as pl

from weft.collect.checks.clean import CANDLE_SCHEMA, OBSERVATION_SCHEMA, TEXT_SCHEMA
from weft.components.provider import Request
from weft.domain.vocabulary import METRICS
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, Interval, iso
from weft.testing.providers.case import ProviderCase, Row
from weft.testing.providers.fetching import (
    NOTHING,
    Fetched,
    Known,
    event_time,
    fetch,
    key_of,
    known_at,
    new_tap,
    opened,
    require_fine,
    require_part,
    require_same,
    run_fetch,
)
from weft.testing.report import require

_FRAMES: Final = (
    ("candles", CANDLE_SCHEMA),
    ("observations", OBSERVATION_SCHEMA),
    ("texts", TEXT_SCHEMA),
)
_OPTIONAL = ("known_at", "interval")
_BOUNDS: Final = {
    "share": (-1.0, 1.0),
    "-1 to 1": (-1.0, 1.0),
    "0 to 100": (0.0, 100.0),
    "count": (0.0, float("inf")),
    "rank": (1.0, float("inf")),
}
_STEPS = (0.4, 0.55, 0.7, 0.85)


def sound(case: ProviderCase) -> Fetched:
    """Return a fetch from a source that works."""
    fetched = fetch(case)
    require_fine(fetched, "from a source that works")
    require(bool(fetched.rows), "no row from a source that works")
    return fetched


def batches_keep_to_schema(case: ProviderCase) -> None:
    """Batches have the right columns and types, and no row is refused."""
    fetched = fetch(case, limits=True)
    require_fine(fetched, "from a source that works")
    for batch in fetched.batches:
        for name, schema in _FRAMES:
            frame = getattr(batch, name)
            if frame is not None:
                _require_schema(frame, schema, name)
    require(not fetched.refused, f"rows are refused: {'; '.join(fetched.refused[:5])}")
    problems = [p for p in fetched.problems if not any(metric in p for metric in case.absent)]
    require(not problems, f"a source that works has problems: {problems[:5]}")


def metrics_are_declared(case: ProviderCase) -> None:
    """All declared metrics come, no others, with name, scope and range of the vocabulary."""
    fetched = sound(case)
    provider = case.build()
    metrics = {row[1] for row in fetched.rows if row[0] == "fact"}
    chosen = set(getattr(provider.config, "metrics", ())) or set(provider.metrics)
    require(metrics <= chosen, f"not declared: {sorted(metrics - chosen)}")
    lacking = chosen - metrics - set(case.absent)
    require(not lacking, f"declared, but missing: {sorted(lacking)}")
    for row in fetched.rows:
        if row[0] != "fact" or row[1] in case.own_metrics:
            continue
        metric = METRICS.get(row[1])
        if metric is None:
            raise AssertionError(
                f"{row[1]} is not in weft.domain.vocabulary; name it in `own_metrics`"
            )
        require(row[2] == metric.scope, f"{row[1]} is a fact about {row[2]}, not {metric.scope}")
        low, high = _BOUNDS.get(metric.unit, (-float("inf"), float("inf")))
        problem = f"{row[1]} {row[3]} is {row[6]:g}, beyond {low:g} to {high:g}: not {metric.unit}?"
        require(low <= row[6] <= high, problem)


def known_after_true(case: ProviderCase) -> None:
    """No row is known before it was true, or later than now; none is older than requested."""
    now, since = case.stand_in.now, case.since
    for row in sound(case).rows:
        at = event_time(row)
        problem = f"{_title(row)} is true at {iso(at)} and known at {iso(known_at(row))}"
        require(at <= known_at(row) <= now, problem)
        # The value of the day that `since` lies in may come too.
        recent = at >= since - DAY or row[0] == "text"
        require(recent, f"{problem}; requested since {iso(since)}")


def candles_are_closed(case: ProviderCase) -> None:
    """Candles are closed, one for each open time, and none is missing up to the last close."""
    step = Interval.parse(case.interval).micros
    opens: dict[str, list[int]] = {}
    for batch in sound(case).batches:
        if batch.candles is not None:
            opened_at = batch.candles.select("symbol", pl.col("open_time").to_physical())
            for symbol, at in opened_at.iter_rows():
                opens.setdefault(symbol, []).append(at)
    for symbol, times in opens.items():
        require(len(set(times)) == len(times), f"{symbol}: a candle comes twice")
        require(max(times) + step <= case.stand_in.now, f"{symbol}: a candle is not closed")
        behind = case.stand_in.now - (max(times) + step)
        require(behind < step, f"{symbol}: the last closed candle is missing")
        holes = len(times) - 1 - (max(times) - min(times)) // step
        if not getattr(case.provider, "gaps", False):
            require(holes == 0, f"{symbol}: {-holes} candles are missing")


def facts_come_once(case: ProviderCase) -> None:
    """No fact has two values that became known at the same instant."""
    seen: dict[Row, Row] = {}
    for row in sound(case).rows:
        key = (*key_of(row), known_at(row))
        other = seen.setdefault(key, row)
        require(other == row, f"{_title(row)} has two values")


def is_as_expected(case: ProviderCase) -> None:
    """The rows are those of an independent source: all of them, and no others of their sorts."""
    expected = set(case.expected() if case.expected else ())
    kinds = {row[0] for row in expected}
    require_same({row for row in sound(case).rows if row[0] in kinds}, expected, "of a fetch")


def pages_join(case: ProviderCase) -> None:
    """Small pages bring the same rows as large ones."""
    pages = case.pages or {"page_size": 5}
    small, clean = fetch(case, case.build(**pages)), sound(case)
    require_fine(small, f"with pages of {dict(pages)}")
    paged = len(small.asked) > len(clean.asked)
    require(paged, f"{len(small.asked)} requests with pages of {dict(pages)}: nothing was paged")
    require_same(small.rows, clean.rows, "with small pages")


def unknown_is_named(case: ProviderCase) -> None:
    """An asset or symbol that the source does not have gives no rows, and a problem line."""
    fetched = fetch(case, case.build(**_unknown(case)))
    require_fine(fetched, f"about the unknown {case.unknown_names}")
    facts = [row for row in fetched.rows if _entity(row) in case.unknown_names]
    require(not facts, f"rows about {case.unknown_names}: {facts[:2]}")
    lines = " ".join(fetched.problems)
    missing = [name for name in case.unknown_names if name not in lines]
    require(not missing, f"no problem line names {missing}: {fetched.problems[:3]}")


def known_is_not_asked_again(case: ProviderCase) -> None:
    """A second fetch requests less, and contradicts no row of the first."""
    provider = case.build()
    first = fetch(case, provider)
    require_fine(first, "a sound source")
    texts = all(row[0] == "text" for row in first.rows)
    # A request does not list the texts in the store, so only the same instance can leave them out.
    for again in (provider,) if texts else (provider, case.build()):
        second = fetch(case, again, known=first.known)
        require_fine(second, "of a second fetch")
        fewer = len(second.asked) < len(first.asked) or len(second.rows) < len(first.rows)
        require(
            fewer, f"a second fetch requests as much as the first: {len(second.asked)} requests"
        )
        repeated = {row for row in second.rows & first.rows if row[0] == "candle"}
        require(not repeated, f"candles come twice: {sorted(repeated)[:2]}")
        require_part(second.lasting, first.rows, "in a second fetch")


def any_order_of_answers(case: ProviderCase) -> None:
    """The order in which requests finish changes no row."""
    clean = sound(case)
    for seed in (1, 2):
        tap = new_tap(case, order=random.Random(seed))  # noqa: S311  # no secret
        reordered = fetch(case, tap=tap)
        require_fine(reordered, "with answers in another order")
        when = f"with answers in another order (seed {seed})"
        require_same(reordered.rows, clean.rows, when)


def cancelled_cleanly(case: ProviderCase) -> None:
    """A fetch that is cancelled anywhere leaves no task, and the next fetch brings the rest."""
    clean = sound(case)
    for count in sorted({0, 1, len(clean.asked) // 2, len(clean.asked) - 1}):
        fetched = asyncio.run(_cancelled(case, count))
        _resume(case, fetched, clean, f"cancelled at request {count + 1}")
    closed = asyncio.run(_closed_after_a_batch(case))
    _resume(case, closed, clean, "closed after its first batch")


def steps_equal_backfill(case: ProviderCase) -> None:
    """History in one fetch equals history in steps, with the same times of becoming known."""
    now, since, move = case.stand_in.now, case.since, case.stand_in.move
    known, rows, lasting = NOTHING, set[Row](), set[Row]()
    try:
        for share in (*_STEPS, 1.0):
            at = since + int((now - since) * share)
            if move is not None:
                move(at)
            step = fetch(case, now=at, known=known)
            require_fine(step, f"at {iso(at)}")
            rows |= step.rows
            lasting |= step.lasting
            known = _later(known, step.known)
    finally:
        if move is not None:
            move(now)
    full = sound(case)
    require_part(full.lasting, rows, "in steps, and come in one fetch", "are missing")
    lasting = {row for row in lasting if event_time(row) >= since}
    require_part(lasting, full.rows, "in one fetch, and come in steps", "are missing")


def restated_history(case: ProviderCase) -> None:
    """Restated history comes as other values of the same facts, not as new facts."""
    clean = sound(case)
    if case.stand_in.restate is None:
        raise AssertionError("the stand-in cannot restate")
    with case.stand_in.restate():
        restated = fetch(case)
    require_fine(restated, "of restated history")
    require(restated.rows != clean.rows, "restated history changes no row")
    keys = ({key_of(row) for row in fetched.rows} for fetched in (restated, clean))
    require(next(keys) == next(keys), "restated rows are about other facts")
    require_same(sound(case).rows, clean.rows, "once the history is as before")


# Parts of checks


def _require_schema(frame: pl.DataFrame, schema: pl.Schema, name: str) -> None:
    for column, kind in schema.items():
        if column not in frame.columns:
            require(column in _OPTIONAL, f"{name} lack the column {column!r}")
        else:
            problem = f"{column} of {name} is {frame.schema[column]}, not {kind}"
            require(frame.schema[column] == kind, problem)


def _unknown(case: ProviderCase) -> dict[str, object]:
    if case.unknown is not None:
        return dict(case.unknown)
    options = type(case.provider.config).model_fields
    return {name: case.unknown_names for name in ("symbols", "assets") if name in options}


def _entity(row: Row) -> str:
    return str(row[3] if row[0] == "fact" else row[1])


def _title(row: Row) -> str:
    return " ".join(str(part) for part in key_of(row))


def _later(known: Known, newer: Known) -> Known:
    return Known(
        {**known.candles, **newer.candles},
        {**known.facts, **newer.facts},
        newer.cursor or known.cursor,
    )


async def _cancelled(case: ProviderCase, requests: int) -> Fetched:
    """Return a fetch that is cancelled when it waits for an answer after the first few."""
    tap, fetched = new_tap(case, hold_after=requests), Fetched(case.stand_in.now)
    task = asyncio.create_task(run_fetch(case, case.build(), tap, fetched=fetched))
    held = asyncio.create_task(tap.held.wait())
    await asyncio.wait({task, held}, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    held.cancel()
    await asyncio.gather(task, held, return_exceptions=True)
    _require_quiet()
    return fetched


async def _closed_after_a_batch(case: ProviderCase) -> Fetched:
    """Return a fetch that is closed after its first batch."""
    provider, clock = case.build(), SimulatedClock(case.stand_in.now)
    fetched, interval = Fetched(clock.now()), Interval.parse(case.interval)
    request = Request(interval, case.symbols, case.since, assets=case.assets)
    async with opened(provider, clock, new_tap(case)) as http:
        batches = provider.fetch(request, http, clock)
        async with aclosing(batches) as generator:  # type: ignore[type-var]  # an async generator can be closed
            async for batch in generator:
                fetched.add(batch, interval, clock.now(), provider.source)
                break
        _require_quiet()
    return fetched


def _require_quiet() -> None:
    running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    require(not running, f"{len(running)} tasks still run: {[t.get_coro() for t in running[:3]]}")


def _resume(case: ProviderCase, fetched: Fetched, clean: Fetched, when: str) -> None:
    require_part(fetched.rows, clean.rows, f"in a fetch {when}")
    rest = fetch(case, known=fetched.known)
    require_fine(rest, f"after a fetch {when}")
    require_same(fetched.rows | rest.rows, clean.rows, f"after a fetch {when}")
