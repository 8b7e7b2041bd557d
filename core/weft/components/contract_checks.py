"""What components answer, checked against their contracts before anybody uses it.

Every check says which component answered, what was expected, what came and how to mend it. A check
returns a copy of the answer that can neither be written to nor be made writable: what a component
keeps, and changes later, changes no signal.
"""

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from inspect import isawaitable
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.components.answer_parts import (
    ANY,
    array_of,
    came,
    chances_of,
    directions_of,
    expect_none,
    instance_of,
    known,
    last_rows,
    level_of,
    mapping_of,
    panel_of,
    panels_of,
    prices_of,
    weights_of,
    within,
)
from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.model import Forecast, RegimeState
from weft.components.needs import Need
from weft.components.provider import Batch
from weft.components.risk import Levels, Sizes
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, IntPanel
from weft.foundation.boundary import Raised, attempt
from weft.foundation.calls import fault
from weft.foundation.errors import ComponentError, WeftError

if TYPE_CHECKING:
    from weft.market.view import View

_NAMES = {1: "LONG", -1: "SHORT"}


def checked_component(make: Callable[[], Component], title: str) -> Component:
    """Return a component that was just made, and says in a list what it needs.

    Args:
        make: makes it.
        title: how messages call it.

    Raises:
        WeftError: making it raised, or its `needs` are no list of needs.
    """
    made = attempt(lambda: _with_needs(make(), title))
    if not isinstance(made, Raised):
        return made
    if isinstance(made.error, WeftError):
        raise made.error
    raise fault(title, made.error) from made.error


def _with_needs(component: Component, title: str) -> Component:
    needs: object = component.needs
    if isinstance(needs, list | tuple) and all(isinstance(need, Need) for need in needs):
        return component
    raise ComponentError(
        f"needs {needs!r:.80}, expected a list of needs",
        where=title,
        hint="Write `needs = [candles(warmup=200)]`, with the functions that weft offers",
    )


def checked_universe(members: object, view: "View", title: str) -> BoolPanel:
    """Return a universe's answer as its own copy.

    Raises:
        ComponentError: no panel of the view's shape, or not of True and False.
    """
    hint = "End members() with a panel of True and False: `.astype(bool)`"
    found: BoolPanel = panel_of(members, "members", view, title, "?", hint)
    return found


def checked_scores(scores: object, view: "View", title: str) -> Scores:
    """Return a layer's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a score beyond ±100, a confidence beyond 0 to 1 or
            missing where there is a score.
    """
    said = instance_of(scores, Scores, title, "End score() with `return view.scores(...)`")
    hint = "Scale it, for instance with 100 * np.tanh(...)"
    score = within(said.score, "score", view, title, (-100.0, 100.0), hint)
    confidence = within(said.confidence, "confidence", view, title, (0.0, 1.0), hint)
    expect_none(
        np.isnan(confidence) & ~np.isnan(score),
        "returned a confidence of NaN with a score",
        view,
        title,
        "Where there is a score there is a confidence; return a score of NaN for no opinion",
    )
    return Scores(score, confidence, panels_of(said.evidence, "evidence", view, title))


def checked_forecast(forecast: object, view: "View", title: str) -> Forecast:
    """Return a model's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a chance beyond 0 to 1, an infinite return, or
            quantiles that cross.
    """
    said = instance_of(forecast, Forecast, title, "End predict() with `return Forecast(...)`")
    hint = "Return NaN where no forecast can be given"
    chance = within(said.probability_up, "probability_up", view, title, (0.0, 1.0), hint)
    mean = within(said.mean, "mean", view, title, ANY, hint)
    quantiles = {
        level_of(level, title): within(panel, f"quantile {level}", view, title, ANY, hint)
        for level, panel in mapping_of(said.quantiles, "quantiles", title).items()
    }
    for low, high in pairwise(sorted(quantiles)):
        expect_none(
            quantiles[low] > quantiles[high],
            f"its quantiles {low:g} and {high:g} cross",
            view,
            title,
            "Sort the quantiles of each cell",
        )
    evidence = {
        name: within(panel, f"evidence {name!r}", view, title, ANY, hint)
        for name, panel in panels_of(said.evidence, "evidence", view, title).items()
    }
    return Forecast(mean, chance, MappingProxyType(quantiles), MappingProxyType(evidence))


def checked_regime(state: object, view: "View", title: str) -> RegimeState:
    """Return a regime's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, or something that is no probability.
    """
    said = instance_of(state, RegimeState, title, "End detect() with `return RegimeState(...)`")
    names: object = said.names
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise ComponentError(
            f"returned names {names!r}, expected a tuple of texts, one a state", where=title
        )
    if len(set(names)) < len(names):
        raise ComponentError(f"returned the names {names}, two of them alike", where=title)
    count = len(names)
    hint = "A row adds up to 1; leave it NaN where nothing is known of the market"
    probability = chances_of(said.probability, "probability", (view.steps, count), title, hint)
    transition = chances_of(said.transition, "transition", (count, count), title, hint)
    multipliers = array_of(said.multipliers, "multipliers", (count,), title, "f", hint)
    if not ((multipliers >= 0.0) & (multipliers <= 1.0)).all():
        raise ComponentError(
            f"returned multipliers {multipliers}, expected {count} from 0 to 1", where=title
        )
    return RegimeState(names, probability, transition, multipliers)


def checked_fusion(fusion: object, view: "View", title: str, layers: Iterable[str]) -> Fusion:
    """Return an ensemble's answer as its own copy.

    Args:
        fusion: what the ensemble returned.
        view: that the ensemble was handed.
        title: the ensemble's, for messages.
        layers: names of the layers that answered.

    Raises:
        ComponentError: wrong type or shape, a number that is missing or out of bounds, a direction
            against its score, or weights that do not add up.
    """
    said = instance_of(fusion, Fusion, title, "End fuse() with `return Fusion(...)`")
    hint = "Where no layer has an opinion, everything is 0"
    score = known(said.score, "score", view, title, (-100.0, 100.0), hint)
    confidence = known(said.confidence, "confidence", view, title, (0.0, 100.0), hint)
    direction = directions_of(said.direction, view, title)
    for sign, name in _NAMES.items():
        expect_none(
            (direction == sign) & (sign * score < 0.0),
            f"returned the direction {name} with a score on the other side",
            view,
            title,
            "The direction is the sign of the score, or 0 where the score is too small to act on",
            score,
        )
    if not isinstance(said.calibrated, bool | np.bool_):
        raise ComponentError(
            f"returned {said.calibrated!r} as `calibrated`, expected True or False", where=title
        )
    weights = weights_of(said.weights, view, title, set(layers))
    shares = MappingProxyType(weights)
    return Fusion(score, confidence, direction, shares, bool(said.calibrated))


def checked_levels(levels: object, view: "View", title: str, direction: IntPanel) -> Levels:
    """Return a risk model's answer as its own copy.

    Args:
        levels: what the risk model returned.
        view: that the risk model was handed.
        title: the risk model's, for messages.
        direction: +1 long, -1 short, 0 neutral (steps, symbol).

    Raises:
        ComponentError: wrong type or shape, a price that is none, or a level that is missing or on
            the wrong side of the entry.
    """
    said = instance_of(levels, Levels, title, "End levels() with `return Levels(...)`")
    hint = "Prices are above 0; return NaN where there is none"
    entry, stop, target = (
        prices_of(getattr(said, name), name, view, title, hint)
        for name in ("entry", "stop_loss", "take_profit")
    )
    for sign, name in _NAMES.items():
        acts = (direction == sign) & ~np.isnan(entry)
        for what, level, below in (
            ("stop_loss", stop, sign > 0),
            ("take_profit", target, sign < 0),
        ):
            side = "below" if below else "above"
            expect_none(
                acts & np.isnan(level),
                f"returned an entry without a {what}",
                view,
                title,
                "Return all three levels of a signal, or NaN for the entry",
            )
            expect_none(
                acts & ((level > entry) if below else (level < entry)),
                f"returned a {what} on the wrong side of the entry of a {name}",
                view,
                title,
                f"The {what} of a {name} is {side} its entry",
                level,
            )
    return Levels(entry, stop, target, panels_of(said.figures, "figures", view, title))


def checked_sizes(sizes: object, view: "View", title: str) -> Sizes:
    """Return a sizer's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a negative or an infinite size.
    """
    said = instance_of(sizes, Sizes, title, "End size() with `return Sizes(...)`")
    hint = "Sizes are fractions of the equity, 0 or more; the direction gives the sign"
    fraction = within(said.fraction, "size", view, title, (0.0, math.inf), hint)
    return Sizes(fraction, panels_of(said.evidence, "evidence", view, title))


def checked_allocation(fractions: object, view: "View", title: str) -> FloatPanel:
    """Return a copy of an allocator's answer.

    Raises:
        ComponentError: wrong type or shape, or a fraction that is NaN or infinite.
    """
    hint = "Allocations are signed fractions of the equity; return 0 where nothing is held"
    return known(fractions, "allocation", view, title, ANY, hint)


def checked_feature(
    panels: object, names: Iterable[str], view: "View", title: str
) -> Mapping[str, FloatPanel]:
    """Return a panel feature's answer, cut to the view's rows, as its own copy.

    Args:
        panels: what the feature returned.
        names: its `outputs`.
        view: that the feature was handed.
        title: the feature's, for messages.

    Raises:
        ComponentError: wrong type or shape, or an output is missing.
    """
    hint = "End compute() with a dict that has a panel for each name in `outputs`"
    said = mapping_of(panels, "answer", title, hint)
    wanted = list(names)
    if set(said) != set(wanted):
        raise ComponentError(
            f"returned the outputs {sorted(map(str, said))}, expected {sorted(wanted)}",
            where=title,
            hint=hint,
        )
    return {
        name: panel_of(last_rows(said[name], view), f"{name!r}", view, title) for name in wanted
    }


def checked_contributions(panels: object, view: "View", title: str) -> Mapping[str, FloatPanel]:
    """Return what a model says its features add, as its own copy.

    Raises:
        ComponentError: wrong type or shape.
    """
    return panels_of(panels, "contributions", view, title)


def checked_batches(batches: object, title: str) -> AsyncIterator[Batch]:
    """Return what a provider's `fetch` returned, if batches can be taken from it.

    Raises:
        ComponentError: it is no asynchronous generator.
    """
    if isinstance(batches, AsyncIterator):
        return batches
    raise ComponentError(
        f"fetch() returned {came(batches)}, expected an asynchronous generator",
        where=title,
        hint="Write `async def fetch(self, request, http, clock)` with `yield Batch(...)` in it",
    )


def checked_batch(batch: object, title: str) -> Batch:
    """Return a batch that a provider yielded.

    Raises:
        ComponentError: it is none, or a part of it is of the wrong type.
    """
    import polars as pl  # noqa: PLC0415  # composing from memory needs no frames

    said = instance_of(
        batch, Batch, title, "Yield `Batch(candles=..., observations=...)`", "yielded"
    )
    for name in ("candles", "observations", "texts"):
        frame = getattr(said, name)
        if frame is not None and not isinstance(frame, pl.DataFrame):
            raise ComponentError(
                f"yielded {name} that are {came(frame)}, expected a polars DataFrame",
                where=title,
                hint="Collect a LazyFrame; pl.from_pandas() makes one of a pandas frame",
            )
    for name, kind in (("instruments", Instrument), ("problems", str)):
        parts = getattr(said, name)
        if not isinstance(parts, tuple | list) or not all(isinstance(p, kind) for p in parts):
            raise ComponentError(
                f"yielded {name} {parts!r:.80}, expected a tuple of {kind.__name__}", where=title
            )
    if said.cursor is not None and not isinstance(said.cursor, str):
        raise ComponentError(
            f"yielded a cursor that is {came(said.cursor)}, expected a text", where=title
        )
    return said


async def checked_awaitable(answer: object, title: str, method: str) -> Any:  # noqa: ANN401  # whatever it gives
    """Await what an asynchronous method of a component returned.

    Raises:
        ComponentError: it cannot be awaited.
    """
    if isawaitable(answer):
        return await answer
    raise ComponentError(
        f"{method}() returned {came(answer)}, expected something to await",
        where=title,
        hint=f"Write `async def {method}`",
    )
