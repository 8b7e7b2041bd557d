"""What is checked of a provider while its source is sound."""

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
    """Return what a fetch without trouble brings."""
    fetched = fetch(case)
    require_fine(fetched, "a sound source")
    require(bool(fetched.rows), "nothing came of a sound source")
    return fetched


def batches_keep_to_schema(case: ProviderCase) -> None:
    """Batches have the columns and types they should, and nothing in them is refused."""
    fetched = fetch(case, limits=True)
    require_fine(fetched, "a sound source")
    for batch in fetched.batches:
        for name, schema in _FRAMES:
            frame = getattr(batch, name)
            if frame is not None:
                _require_schema(frame, schema, name)
    require(not fetched.refused, f"rows are refused: {'; '.join(fetched.refused[:5])}")
    problems = [p for p in fetched.problems if not any(metric in p for metric in case.absent)]
    require(not problems, f"a sound source has problems: {problems[:5]}")


def metrics_are_declared(case: ProviderCase) -> None:
    """All metrics it declares come, no others, with name, scope and range of the vocabulary."""
    fetched = sound(case)
    provider = case.made()
    came = {row[1] for row in fetched.rows if row[0] == "fact"}
    chosen = set(getattr(provider.config, "metrics", ())) or set(provider.metrics)
    require(came <= chosen, f"not declared: {sorted(came - chosen)}")
    lacking = chosen - came - set(case.absent)
    require(not lacking, f"declared, but did not come: {sorted(lacking)}")
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
        told = f"{row[1]} {row[3]} is {row[6]:g}, beyond {low:g} to {high:g}: not {metric.unit}?"
        require(low <= row[6] <= high, told)


def known_after_true(case: ProviderCase) -> None:
    """Nothing is known before it was true, nor later than now; nothing is older than asked for."""
    now, since = case.stand_in.now, case.since
    for row in sound(case).rows:
        at = event_time(row)
        told = f"{_named(row)} is true at {iso(at)} and known at {iso(known_at(row))}"
        require(at <= known_at(row) <= now, told)
        # A day's value is told of the day that `since` lies in.
        require(at >= since - DAY or row[0] == "text", f"{told}; asked for since {iso(since)}")


def candles_are_closed(case: ProviderCase) -> None:
    """Candles are closed, on the grid, one for each open time, none left out in between."""
    step = Interval.parse(case.interval).micros
    opens: dict[str, list[int]] = {}
    for batch in sound(case).batches:
        if batch.candles is not None:
            micros = batch.candles.select("symbol", pl.col("open_time").to_physical())
            for symbol, at in micros.iter_rows():
                opens.setdefault(symbol, []).append(at)
    for symbol, times in opens.items():
        require(len(set(times)) == len(times), f"{symbol}: a candle comes twice")
        require(max(times) + step <= case.stand_in.now, f"{symbol}: a candle is not closed")
        behind = case.stand_in.now - (max(times) + step)
        require(behind < step, f"{symbol}: the last closed candle did not come")
        holes = len(times) - 1 - (max(times) - min(times)) // step
        if not getattr(case.provider, "gaps", False):
            require(holes == 0, f"{symbol}: {-holes} candles are missing")


def facts_come_once(case: ProviderCase) -> None:
    """No fact comes with two values that are known at the same instant."""
    seen: dict[Row, Row] = {}
    for row in sound(case).rows:
        key = (*key_of(row), known_at(row))
        other = seen.setdefault(key, row)
        require(other == row, f"{_named(row)} comes with two values")


def is_as_expected(case: ProviderCase) -> None:
    """What comes is what is known from elsewhere: all of it, and nothing else of its kinds."""
    expected = set(case.expected() if case.expected else ())
    kinds = {row[0] for row in expected}
    require_same({row for row in sound(case).rows if row[0] in kinds}, expected, "what is expected")


def pages_join(case: ProviderCase) -> None:
    """Small pages bring what large ones do: none lost, none twice."""
    pages = case.pages or {"page_size": 5}
    small, clean = fetch(case, case.made(**pages)), sound(case)
    require_fine(small, f"pages of {dict(pages)}")
    paged = len(small.asked) > len(clean.asked)
    require(paged, f"{len(small.asked)} requests with pages of {dict(pages)}: nothing was paged")
    require_same(small.rows, clean.rows, "small pages")


def unknown_is_named(case: ProviderCase) -> None:
    """What the source does not know gives no rows, and a line that names it."""
    fetched = fetch(case, case.made(**_unknown(case)))
    require_fine(fetched, "asking about what it does not know")
    facts = [row for row in fetched.rows if _entity(row) in case.unknown_names]
    require(not facts, f"rows about what it does not know: {facts[:2]}")
    lines = " ".join(fetched.problems)
    missing = [name for name in case.unknown_names if name not in lines]
    require(not missing, f"no problem line names {missing}; it told {fetched.problems[:3]}")


def known_is_not_asked_again(case: ProviderCase) -> None:
    """A second fetch asks for less, and brings nothing that says something else."""
    provider = case.made()
    first = fetch(case, provider)
    require_fine(first, "a sound source")
    texts = all(row[0] == "text" for row in first.rows)
    # Nothing tells it which texts are stored, but for what it remembers.
    for again in (provider,) if texts else (provider, case.made()):
        second = fetch(case, again, known=first.known)
        require_fine(second, "a second fetch")
        fewer = len(second.asked) < len(first.asked) or len(second.rows) < len(first.rows)
        require(fewer, f"a second fetch asks as much as the first: {len(second.asked)} requests")
        repeated = {row for row in second.rows & first.rows if row[0] == "candle"}
        require(not repeated, f"candles come twice: {sorted(repeated)[:2]}")
        require_part(second.lasting, first.rows, "a second fetch")


def any_order_of_answers(case: ProviderCase) -> None:
    """In whatever order requests finish, the same comes."""
    clean = sound(case)
    for seed in (1, 2):
        tap = new_tap(case, order=random.Random(seed))  # noqa: S311  # no secret
        turned = fetch(case, tap=tap)
        require_fine(turned, "answers out of turn")
        require_same(turned.rows, clean.rows, f"answers came in another order (seed {seed})")


def cancelled_cleanly(case: ProviderCase) -> None:
    """Broken off anywhere, it leaves no task behind, and the rest comes with the next fetch."""
    clean = sound(case)
    for count in sorted({0, 1, len(clean.asked) // 2, len(clean.asked) - 1}):
        fetched = asyncio.run(_broken_off(case, count))
        _resume(case, fetched, clean, f"broken off at request {count + 1}")
    _resume(case, asyncio.run(_left_at_a_batch(case)), clean, "left after its first batch")


def steps_equal_backfill(case: ProviderCase) -> None:
    """History fetched at once is what was fetched bit by bit, and was known at the same times."""
    now, since, move = case.stand_in.now, case.since, case.stand_in.move
    known, rows, lasting = NOTHING, set[Row](), set[Row]()
    try:
        for share in (*_STEPS, 1.0):
            at = since + int((now - since) * share)
            if move is not None:
                move(at)
            step = fetch(case, now=at, known=known)
            require_fine(step, f"a fetch at {iso(at)}")
            rows |= step.rows
            lasting |= step.lasting
            known = _later(known, step.known)
    finally:
        if move is not None:
            move(now)
    whole = sound(case)
    require_part(whole.lasting, rows, "fetched at once, after bit by bit", "are missing")
    lasting = {row for row in lasting if event_time(row) >= since}
    require_part(lasting, whole.rows, "fetched bit by bit, after at once", "are missing")


def restated_history(case: ProviderCase) -> None:
    """History that is told differently comes as other values of the same facts, not as new ones."""
    clean = sound(case)
    if case.stand_in.restate is None:
        raise AssertionError("the stand-in cannot restate")
    with case.stand_in.restate():
        restated = fetch(case)
    require_fine(restated, "history told differently")
    require(restated.rows != clean.rows, "no row tells what was restated")
    keys = ({key_of(row) for row in fetched.rows} for fetched in (restated, clean))
    require(next(keys) == next(keys), "restated rows are about other facts")
    require_same(sound(case).rows, clean.rows, "told as before")


# What checks are made of


def _require_schema(frame: pl.DataFrame, schema: pl.Schema, name: str) -> None:
    for column, kind in schema.items():
        if column not in frame.columns:
            require(column in _OPTIONAL, f"{name} lack the column {column!r}")
        else:
            told = f"{column} of {name} is {frame.schema[column]}, not {kind}"
            require(frame.schema[column] == kind, told)


def _unknown(case: ProviderCase) -> dict[str, object]:
    if case.unknown is not None:
        return dict(case.unknown)
    options = type(case.provider.config).model_fields
    return {name: case.unknown_names for name in ("symbols", "assets") if name in options}


def _entity(row: Row) -> str:
    return str(row[3] if row[0] == "fact" else row[1])


def _named(row: Row) -> str:
    return " ".join(str(part) for part in key_of(row))


def _later(one: Known, other: Known) -> Known:
    return Known(
        {**one.candles, **other.candles}, {**one.facts, **other.facts}, other.cursor or one.cursor
    )


async def _broken_off(case: ProviderCase, requests: int) -> Fetched:
    """Return what came of a fetch whose requests go unanswered after the first few."""
    tap, fetched = new_tap(case, hold_after=requests), Fetched(case.stand_in.now)
    task = asyncio.create_task(run_fetch(case, case.made(), tap, fetched=fetched))
    held = asyncio.create_task(tap.held.wait())
    await asyncio.wait({task, held}, return_when=asyncio.FIRST_COMPLETED)
    for one in (task, held):
        one.cancel()
    await asyncio.gather(task, held, return_exceptions=True)
    _require_quiet()
    return fetched


async def _left_at_a_batch(case: ProviderCase) -> Fetched:
    """Return what came of a fetch that nobody asks for a second batch."""
    provider, clock = case.made(), SimulatedClock(case.stand_in.now)
    fetched, interval = Fetched(clock.now()), Interval.parse(case.interval)
    request = Request(interval, case.symbols, case.since, assets=case.assets)
    async with opened(provider, clock, new_tap(case)) as http:
        batches = provider.fetch(request, http, clock)
        async with aclosing(batches) as left:  # type: ignore[type-var]  # an async generator can be closed
            async for batch in left:
                fetched.take(batch, interval, clock.now(), provider.source)
                break
        _require_quiet()
    return fetched


def _require_quiet() -> None:
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    require(not left, f"{len(left)} tasks still run: {[t.get_coro() for t in left[:3]]}")


def _resume(case: ProviderCase, fetched: Fetched, clean: Fetched, when: str) -> None:
    require_part(fetched.rows, clean.rows, when)
    rest = fetch(case, known=fetched.known)
    require_fine(rest, f"a fetch after one that was {when}")
    require_same(fetched.rows | rest.rows, clean.rows, when)
