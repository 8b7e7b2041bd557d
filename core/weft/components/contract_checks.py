"""Checks of components' answers against their contracts, before the core uses them.

A check that fails names the component, the expected and the actual value, and how to mend it. A
check that passes returns a read-only copy: what a component changes later changes no signal.
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
    chances_of,
    directions_of,
    expect_none,
    finite,
    instance_of,
    known,
    last_rows,
    level_of,
    mapping_of,
    panel_of,
    panels_of,
    prices_of,
    type_name,
    weights_of,
    within,
)
from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.model import Forecast, RegimeState
from weft.components.needs import Need
from weft.components.portfolio_risk import (
    CorrelationRepair,
    Fact,
    PortfolioEstimate,
    PortfolioLosses,
    PositionRisk,
)
from weft.components.provider import Batch
from weft.components.risk import RISK_HORIZON, Levels, Sizes
from weft.components.trained import Artifact, Evaluation
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, IntPanel
from weft.foundation.calls import Raised, fault, guarded
from weft.foundation.errors import ComponentError, WeftError

if TYPE_CHECKING:
    from weft.market.view import View

_NAMES = {1: "LONG", -1: "SHORT"}
_ROUNDING = 1e-9
"""Share by which sums and bounds of a portfolio's losses may be off."""


def checked_component(make: Callable[[], Component], title: str) -> Component:
    """Return a new component, whose `needs` are a list of needs.

    Args:
        make: creates the component.
        title: its name in messages.

    Raises:
        WeftError: creating it raised, or its `needs` are no list of needs.
    """
    component = guarded(lambda: _with_needs(make(), title))
    if not isinstance(component, Raised):
        return component
    if isinstance(component.error, WeftError):
        raise component.error
    raise fault(title, component.error) from component.error


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
    """Return a read-only copy of a universe's members.

    Raises:
        ComponentError: no panel of the view's shape, or not of True and False.
    """
    hint = "End members() with a panel of True and False: `.astype(bool)`"
    checked: BoolPanel = panel_of(members, "members", view, title, "?", hint)
    return checked


def checked_scores(scores: object, view: "View", title: str) -> Scores:
    """Return a read-only copy of a layer's scores.

    Raises:
        ComponentError: wrong type or shape, a score beyond ±100, a confidence beyond 0 to 1 or
            missing where there is a score.
    """
    answer = instance_of(scores, Scores, title, "End score() with `return view.scores(...)`")
    hint = "Scale it, for instance with 100 * np.tanh(...)"
    score = within(answer.score, "score", view, title, (-100.0, 100.0), hint)
    confidence = within(answer.confidence, "confidence", view, title, (0.0, 1.0), hint)
    expect_none(
        np.isnan(confidence) & ~np.isnan(score),
        "returned a confidence of NaN with a score",
        view,
        title,
        "Where there is a score there is a confidence; return a score of NaN for no opinion",
    )
    return Scores(score, confidence, panels_of(answer.evidence, "evidence", view, title))


def checked_forecast(forecast: object, view: "View", title: str) -> Forecast:
    """Return a read-only copy of a model's forecast.

    Raises:
        ComponentError: wrong type or shape, a chance beyond 0 to 1, an infinite return, or
            quantiles that cross.
    """
    answer = instance_of(forecast, Forecast, title, "End predict() with `return Forecast(...)`")
    hint = "Return NaN where no forecast can be given"
    chance = within(answer.probability_up, "probability_up", view, title, (0.0, 1.0), hint)
    mean = within(answer.mean, "mean", view, title, ANY, hint)
    quantiles = {
        level_of(level, title): within(panel, f"quantile {level}", view, title, ANY, hint)
        for level, panel in mapping_of(answer.quantiles, "quantiles", title).items()
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
        for name, panel in panels_of(answer.evidence, "evidence", view, title).items()
    }
    return Forecast(mean, chance, MappingProxyType(quantiles), MappingProxyType(evidence))


def checked_regime(state: object, view: "View", title: str) -> RegimeState:
    """Return a read-only copy of a regime's state.

    Raises:
        ComponentError: wrong type or shape, or rows that are no probabilities.
    """
    answer = instance_of(state, RegimeState, title, "End detect() with `return RegimeState(...)`")
    names: object = answer.names
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise ComponentError(
            f"returned names {names!r}, expected a tuple of texts, one a state", where=title
        )
    if len(set(names)) < len(names):
        raise ComponentError(f"returned the names {names}, two of them alike", where=title)
    count = len(names)
    hint = "A row adds up to 1; leave it NaN where nothing is known of the market"
    probability = chances_of(answer.probability, "probability", (view.steps, count), title, hint)
    transition = chances_of(answer.transition, "transition", (count, count), title, hint)
    multipliers = array_of(answer.multipliers, "multipliers", (count,), title, "f", hint)
    if not ((multipliers >= 0.0) & (multipliers <= 1.0)).all():
        raise ComponentError(
            f"returned multipliers {multipliers}, expected {count} from 0 to 1", where=title
        )
    return RegimeState(names, probability, transition, multipliers)


def checked_fusion(fusion: object, view: "View", title: str, layers: Iterable[str]) -> Fusion:
    """Return a read-only copy of an ensemble's fusion.

    Args:
        fusion: the ensemble's answer.
        view: the ensemble's.
        title: the ensemble's, for messages.
        layers: names of the layers that answered.

    Raises:
        ComponentError: wrong type or shape, a number that is missing or out of bounds, a direction
            against its score, or weights that do not add up.
    """
    answer = instance_of(fusion, Fusion, title, "End fuse() with `return Fusion(...)`")
    hint = "Where no layer has an opinion, everything is 0"
    score = known(answer.score, "score", view, title, (-100.0, 100.0), hint)
    share = "Confidence is a share, not a percentage; it is 0 where no layer has an opinion"
    confidence = known(answer.confidence, "confidence", view, title, (0.0, 1.0), share)
    direction = directions_of(answer.direction, view, title)
    for sign, name in _NAMES.items():
        expect_none(
            (direction == sign) & (sign * score < 0.0),
            f"returned the direction {name} with a score on the other side",
            view,
            title,
            "The direction is the sign of the score, or 0 where the score is too small to act on",
            score,
        )
    if not isinstance(answer.calibrated, bool | np.bool_):
        raise ComponentError(
            f"returned {answer.calibrated!r} as `calibrated`, expected True or False", where=title
        )
    weights = weights_of(answer.weights, view, title, set(layers))
    shares = MappingProxyType(weights)
    return Fusion(score, confidence, direction, shares, bool(answer.calibrated))


def checked_levels(levels: object, view: "View", title: str, direction: IntPanel) -> Levels:
    """Return a read-only copy of a risk model's levels.

    Args:
        levels: the risk model's answer.
        view: the risk model's.
        title: the risk model's, for messages.
        direction: +1 long, -1 short, 0 neutral (steps, symbol).

    Raises:
        ComponentError: wrong type or shape, a price of 0 or less, or a level that is missing or on
            the wrong side of the entry.
    """
    answer = instance_of(levels, Levels, title, "End levels() with `return Levels(...)`")
    hint = "Prices are above 0; return NaN where there is none"
    entry, stop, target = (
        prices_of(getattr(answer, name), name, view, title, hint)
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
    figures = panels_of(answer.figures, "figures", view, title)
    if RISK_HORIZON in figures:
        raise ComponentError(
            f"returned a figure named {RISK_HORIZON!r}, where a signal names the horizon",
            where=title,
            hint="Give the figure another name",
        )
    return Levels(entry, stop, target, figures)


def checked_sizes(sizes: object, view: "View", title: str) -> Sizes:
    """Return a read-only copy of a sizer's sizes.

    Raises:
        ComponentError: wrong type or shape, a negative or an infinite size, or one above its full
            size.
    """
    answer = instance_of(sizes, Sizes, title, "End size() with `return Sizes(...)`")
    hint = "Sizes are fractions of the equity, 0 or more; the direction gives the sign"
    fraction = within(answer.fraction, "size", view, title, (0.0, math.inf), hint)
    evidence = panels_of(answer.evidence, "evidence", view, title)
    if answer.full is None:
        return Sizes(fraction, evidence)
    full = within(answer.full, "full size", view, title, (0.0, math.inf), hint)
    expect_none(
        ~(fraction <= full) & ~np.isnan(fraction),
        "returned a size above its full size",
        view,
        title,
        "The full size is the size before reductions: fraction = full * multiplier",
        fraction,
    )
    return Sizes(fraction, evidence, full)


def checked_artifact(artifact: object, title: str) -> Artifact:
    """Return a training's artifact, once its files and card are of the right types.

    Raises:
        ComponentError: wrong type, a file that is no bytes, or a name that is no text.
    """
    answer = instance_of(artifact, Artifact, title, "End fit() with `return Artifact(...)`")
    hint = "Give files as a dict of bytes by name, and the card as a dict of JSON values by name"
    files = mapping_of(answer.files, "files", title, hint)
    card = mapping_of(answer.card, "card", title, hint)
    for name, content in files.items():
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise ComponentError(
                f"returned a file {name!r} that is {type_name(content)}, expected bytes",
                where=title,
                hint=hint,
            )
    if wrong := [name for name in card if not isinstance(name, str)]:
        raise ComponentError(
            f"returned a card with the key {wrong[0]!r}, expected a text", where=title, hint=hint
        )
    return Artifact(dict(files), dict(card))


def checked_evaluation(evaluation: object, view: "View", title: str) -> Evaluation:
    """Return a read-only copy of a trained component's losses.

    Raises:
        ComponentError: wrong type or shape, or an infinite loss.
    """
    hint = "End evaluate() with `return Evaluation(...)`: a loss for each decision row, or NaN"
    answer = instance_of(evaluation, Evaluation, title, hint)
    losses = {}
    for name in ("loss", "baseline"):
        losses[name] = array_of(getattr(answer, name), name, (view.steps,), title, "f", hint)
        if np.isinf(losses[name]).any():
            raise ComponentError(
                f"returned a {name} that is infinite, expected a number or NaN",
                where=title,
                hint=hint,
            )
    return Evaluation(losses["loss"], losses["baseline"])


def checked_portfolio_estimate(
    estimate: object, positions: Mapping[str, float], title: str
) -> PortfolioEstimate:
    """Return a portfolio risk's answer as a copy that cannot be written to.

    Args:
        estimate: what the portfolio risk returned.
        positions: signed fractions of the equity by symbol that it was handed.
        title: the portfolio risk's, for messages.

    Raises:
        ComponentError: wrong type, a number that is not finite, a level beyond 0 to 1, losses that
            fall as the level rises, a position that is neither measured nor left out, or
            contributions that do not add up to the expected shortfall.
    """
    hint = "End measure() with `return PortfolioEstimate(...)`"
    answer = instance_of(estimate, PortfolioEstimate, title, hint)
    losses = None if answer.losses is None else _checked_losses(answer.losses, "losses", title)
    stresses = {
        str(name): _checked_losses(stress, f"stress {name!r}", title)
        for name, stress in mapping_of(answer.stresses, "stresses", title).items()
    }
    measured = {
        str(symbol): _checked_position(position, f"position {symbol!r}", title)
        for symbol, position in mapping_of(answer.positions, "positions", title).items()
    }
    left_out = {
        str(symbol): str(reason)
        for symbol, reason in mapping_of(answer.left_out, "left_out", title).items()
    }
    _expect_each_position_once(measured, left_out, positions, title)
    shocks = {
        str(name): finite(loss, f"shock {name!r}", title)
        for name, loss in mapping_of(answer.shocks, "shocks", title).items()
    }
    if answer.repair is not None:
        instance_of(answer.repair, CorrelationRepair, title, "Set repair to None, or to one")
    level = level_of(answer.contribution_level, title)
    _expect_contributions(losses, measured, level, title)
    return PortfolioEstimate(
        losses=losses,
        positions=MappingProxyType(measured),
        contribution_level=level,
        left_out=MappingProxyType(left_out),
        stresses=MappingProxyType(stresses),
        shocks=MappingProxyType(shocks),
        repair=answer.repair,
        basis=MappingProxyType(_checked_facts(answer.basis, title)),
        notes=tuple(str(note) for note in answer.notes),
    )


def _checked_losses(losses: object, name: str, title: str) -> PortfolioLosses:
    hint = "Give PortfolioLosses(horizon, value_at_risk, expected_shortfall)"
    checked = instance_of(losses, PortfolioLosses, title, hint)
    horizon: object = checked.horizon
    if isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1:
        raise ComponentError(
            f"returned {name} with a horizon of {horizon!r}, expected decision rows, 1 or more",
            where=title,
            hint="`view.horizon` is how far ahead signals look",
        )
    quantiles = [
        _checked_levels_of(part, f"{name}: {what}", title)
        for what, part in (
            ("value_at_risk", checked.value_at_risk),
            ("expected_shortfall", checked.expected_shortfall),
            ("drawdown", checked.drawdown),
        )
    ]
    value_at_risk, shortfall, _ = quantiles
    if not value_at_risk or value_at_risk.keys() != shortfall.keys():
        raise ComponentError(
            f"returned {name} with the levels {sorted(value_at_risk)} of value_at_risk and "
            f"{sorted(shortfall)} of expected_shortfall, expected the same ones",
            where=title,
            hint="Give both for each confidence level",
        )
    for level, loss in value_at_risk.items():
        if shortfall[level] < loss - _ROUNDING * max(1.0, abs(loss)):
            raise ComponentError(
                f"returned {name} with an expected_shortfall of {shortfall[level]:g} below the "
                f"value_at_risk of {loss:g} at {level:g}",
                where=title,
                hint="It is the mean of the losses at and beyond the value at risk",
            )
    return PortfolioLosses(horizon, *map(MappingProxyType, quantiles))


def _checked_levels_of(answer: object, name: str, title: str) -> dict[float, float]:
    """Return finite numbers by level, ascending; they must not fall as the level rises."""
    numbers = {
        level_of(level, title): finite(number, name, title)
        for level, number in mapping_of(answer, name, title, "Give a dict by level").items()
    }
    for low, high in pairwise(sorted(numbers)):
        if numbers[low] > numbers[high]:
            raise ComponentError(
                f"returned {name} of {numbers[low]:g} at {low:g} and {numbers[high]:g} at "
                f"{high:g}, expected one that does not fall",
                where=title,
                hint="A loss at a higher level is exceeded less often, and so is no smaller",
            )
    return dict(sorted(numbers.items()))


def _checked_position(position: object, name: str, title: str) -> PositionRisk:
    checked = instance_of(position, PositionRisk, title, "Give PositionRisk(contribution)")
    volatility, returns = checked.volatility, checked.returns
    if volatility is not None:
        volatility = finite(volatility, f"volatility of {name}", title)
    if volatility is not None and volatility < 0.0:
        raise ComponentError(
            f"returned a volatility of {volatility:g} for {name}, expected 0 or more", where=title
        )
    return PositionRisk(
        finite(checked.contribution, f"contribution of {name}", title),
        volatility,
        None if returns is None else int(returns),
    )


def _expect_each_position_once(
    measured: Mapping[str, object],
    left_out: Mapping[str, object],
    positions: Mapping[str, float],
    title: str,
) -> None:
    answered = sorted([*measured, *left_out])
    if answered != sorted(positions):
        raise ComponentError(
            f"answered for {answered}, expected each of {sorted(positions)} once",
            where=title,
            hint="Name each position in `positions`, or in `left_out` with a reason",
        )


def _expect_contributions(
    losses: PortfolioLosses | None, measured: Mapping[str, PositionRisk], level: float, title: str
) -> None:
    if (losses is None) == bool(measured):
        raise ComponentError(
            f"returned {'no losses' if losses is None else 'losses'} with {len(measured)} "
            "measured positions",
            where=title,
            hint="Losses are None where no position could be measured, and only there",
        )
    if losses is None:
        return
    total = sum(position.contribution for position in measured.values())
    expected = losses.expected_shortfall.get(level)
    if expected is None or abs(total - expected) > _ROUNDING * max(1.0, abs(expected)):
        raise ComponentError(
            f"returned contributions that add up to {total:g}, expected the expected_shortfall "
            f"of {expected} at {level:g}",
            where=title,
            hint="A contribution is a position's mean loss in the cases of that shortfall",
        )


def _checked_facts(basis: object, title: str) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    for name, fact in mapping_of(basis, "basis", title, "Give a dict of plain values").items():
        if not isinstance(name, str) or not isinstance(fact, str | int | float | bool):
            raise ComponentError(
                f"returned {fact!r:.80} as {name!r} of its basis, expected a text or a number",
                where=title,
                hint="Convert NumPy numbers with .item()",
            )
        facts[name] = finite(fact, f"{name} of its basis", title) if type(fact) is float else fact
    return facts


def checked_allocation(fractions: object, view: "View", title: str) -> FloatPanel:
    """Return a copy of an allocator's answer.

    Raises:
        ComponentError: wrong type or shape, or a fraction that is NaN or infinite.
    """
    hint = "Allocations are signed fractions of the equity; return 0 for no position"
    return known(fractions, "allocation", view, title, ANY, hint)


def checked_feature(
    panels: object, names: Iterable[str], view: "View", title: str
) -> Mapping[str, FloatPanel]:
    """Return read-only copies of a panel feature's outputs, cut to the view's decision rows.

    Args:
        panels: the feature's answer.
        names: the feature's `outputs`.
        view: the feature's.
        title: the feature's, for messages.

    Raises:
        ComponentError: wrong type or shape, or an output is missing.
    """
    hint = "End compute() with a dict that has a panel for each name in `outputs`"
    answer = mapping_of(panels, "answer", title, hint)
    wanted = list(names)
    if set(answer) != set(wanted):
        raise ComponentError(
            f"returned the outputs {sorted(map(str, answer))}, expected {sorted(wanted)}",
            where=title,
            hint=hint,
        )
    return {
        name: panel_of(last_rows(answer[name], view), f"{name!r}", view, title) for name in wanted
    }


def checked_contributions(panels: object, view: "View", title: str) -> Mapping[str, FloatPanel]:
    """Return read-only copies of a model's feature contributions.

    Raises:
        ComponentError: wrong type or shape.
    """
    return panels_of(panels, "contributions", view, title)


def checked_batches(batches: object, title: str) -> AsyncIterator[Batch]:
    """Return the asynchronous generator of batches that a provider's `fetch` returned.

    Raises:
        ComponentError: another type.
    """
    if isinstance(batches, AsyncIterator):
        return batches
    raise ComponentError(
        f"fetch() returned {type_name(batches)}, expected an asynchronous generator",
        where=title,
        hint="Write `async def fetch(self, request, http, clock)` with `yield Batch(...)` in it",
    )


def checked_batch(batch: object, title: str) -> Batch:
    """Return a batch that a provider yielded, once its parts are of the right types.

    Raises:
        ComponentError: another type, or a part of the wrong type.
    """
    import polars as pl  # noqa: PLC0415  # composing from memory needs no frames

    answer = instance_of(
        batch, Batch, title, "Yield `Batch(candles=..., observations=...)`", "yielded"
    )
    for name in ("candles", "observations", "texts"):
        frame = getattr(answer, name)
        if frame is not None and not isinstance(frame, pl.DataFrame):
            raise ComponentError(
                f"yielded {name} that are {type_name(frame)}, expected a polars DataFrame",
                where=title,
                hint="Collect a LazyFrame; pl.from_pandas() makes one of a pandas frame",
            )
    for name, kind in (("instruments", Instrument), ("problems", str)):
        parts = getattr(answer, name)
        if not isinstance(parts, tuple | list) or not all(isinstance(p, kind) for p in parts):
            raise ComponentError(
                f"yielded {name} {parts!r:.80}, expected a tuple of {kind.__name__}", where=title
            )
    if answer.cursor is not None and not isinstance(answer.cursor, str):
        raise ComponentError(
            f"yielded a cursor that is {type_name(answer.cursor)}, expected a text", where=title
        )
    return answer


async def checked_awaitable(answer: object, title: str, method: str) -> Any:  # noqa: ANN401  # any type
    """Await what an asynchronous method of a component returned.

    Raises:
        ComponentError: it cannot be awaited.
    """
    if isawaitable(answer):
        return await answer
    raise ComponentError(
        f"{method}() returned {type_name(answer)}, expected something to await",
        where=title,
        hint=f"Write `async def {method}`",
    )
