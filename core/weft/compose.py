"""Composing: from a view to signals, by calling the components in their order. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from weft.arrays import BoolPanel, FloatPanel, IntPanel
from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.components.layer import Layer, Scores
from weft.components.risk import Levels
from weft.composition import Composition
from weft.errors import ComponentError
from weft.market.view import View
from weft.runner import attempt, call


@dataclass(frozen=True, slots=True)
class Composed:
    """What a composition says on every decision row of a view; panels are (steps, symbol).

    Attributes:
        view: what was known.
        universe: which symbols were chosen.
        scores: what each layer that answered said.
        missing: layers that did not answer, and why.
        fusion: what the ensemble made of them.
        levels: entry, stop loss and take profit.
        size: fraction of equity, 0 or more.
    """

    view: View
    universe: BoolPanel
    scores: Mapping[str, Scores]
    missing: Mapping[str, str]
    fusion: Fusion
    levels: Levels
    size: FloatPanel


def compose(composition: Composition, view: View) -> Composed:
    """Return what a composition says on the decision rows of a view.

    The same view, options and artifacts give the same result to the last bit: no clock, no
    random number and nothing remembered from call to call goes in.

    Raises:
        ComponentError: a component that must not be missing failed.
    """
    deadline = composition.deadline_seconds

    def sees(component: Component) -> View:
        return view.restricted(component.needs, f"{component.kind} {component.name}")

    rule = composition.universe
    members = call(_title(rule), lambda: rule.members(sees(rule)), deadline)
    _expect_shape(_title(rule), members, view)
    view = view.with_universe(members)

    scores: dict[str, Scores] = {}
    missing = dict(composition.missing)
    for placed in composition.layers:
        layer, name = placed.layer, placed.place.name
        title = f"layer {name}"
        answer = partial(_score, layer, sees(layer), title)
        if placed.place.required:
            scores[name] = call(title, answer, placed.place.deadline_seconds)
            continue
        outcome = attempt(title, answer, placed.place.deadline_seconds)
        if outcome.value is None:
            missing[name] = outcome.failure or "gave no reason"
        else:
            scores[name] = outcome.value

    ensemble, risk, sizer = composition.ensemble, composition.risk, composition.sizer
    weights = composition.weights
    fusion = call(
        _title(ensemble), lambda: ensemble.fuse(sees(ensemble), scores, weights), deadline
    )
    _expect_fusion(_title(ensemble), fusion, view)
    levels = call(_title(risk), lambda: risk.levels(sees(risk), fusion), deadline)
    for panel in (levels.entry, levels.stop_loss, levels.take_profit):
        _expect_shape(_title(risk), panel, view)
    size = call(_title(sizer), lambda: sizer.size(sees(sizer), fusion, levels), deadline)
    _expect_shape(_title(sizer), size, view)
    return Composed(view, members, scores, missing, fusion, levels, size)


def _score(layer: Layer, view: View, title: str) -> Scores:
    return checked(layer.score(view), view, title)


def checked(scores: object, view: View, title: str) -> Scores:
    """Return a layer's answer, having made sure that it keeps to the contract.

    Raises:
        ComponentError: wrong type or shape, a score beyond ±100, a confidence beyond 0 to 1.
    """
    if not isinstance(scores, Scores):
        raise ComponentError(
            f"returned {type(scores).__name__}, expected Scores",
            where=title,
            hint="End score() with `return view.scores(...)`",
        )
    _expect_within(title, "score", scores.score, (-100.0, 100.0), view)
    _expect_within(title, "confidence", scores.confidence, (0.0, 1.0), view)
    for panel in scores.evidence.values():
        _expect_shape(title, panel, view)
    return scores


def _expect_fusion(title: str, fusion: Fusion, view: View) -> None:
    for name, panel, low, high in (
        ("score", fusion.score, -100.0, 100.0),
        ("confidence", fusion.confidence, 0.0, 100.0),
        ("direction", fusion.direction, -1, 1),
    ):
        _expect_within(title, name, panel, (low, high), view)
        if np.isnan(panel).any():
            raise ComponentError(
                f"returned a {name} that is not a number",
                where=title,
                hint="Where no layer has an opinion, everything is 0",
            )


def _expect_within(
    title: str, name: str, panel: FloatPanel | IntPanel, bounds: tuple[float, float], view: View
) -> None:
    _expect_shape(title, panel, view)
    low, high = bounds
    # A comparison with NaN is false, so that no opinion passes.
    outside = (panel < low) | (panel > high)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ComponentError(
            f"returned a {name} of {panel[row, column]:g} for {view.symbols[column]}, "
            f"expected {low:g} to {high:g}",
            where=title,
            hint="Scale it, for instance with 100 * np.tanh(...)",
        )


def _title(component: Component) -> str:
    return f"{component.kind} {component.name}"


def _expect_shape(title: str, panel: object, view: View) -> None:
    expected = (view.steps, len(view.symbols))
    if not isinstance(panel, np.ndarray) or panel.shape != expected:
        came = panel.shape if isinstance(panel, np.ndarray) else type(panel).__name__
        raise ComponentError(f"returned a panel of {came}, expected {expected}", where=title)
