"""What components answer, held against their contracts before anybody uses it."""

from itertools import pairwise

import numpy as np

from weft.arrays import FloatPanel, IntPanel
from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.model import Forecast, RegimeState
from weft.components.risk import Sizes
from weft.errors import ComponentError
from weft.market.view import View


def checked_scores(scores: object, view: View, title: str) -> Scores:
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
        expect_shape(title, panel, view)
    return scores


def checked_forecast(forecast: object, view: View, title: str) -> Forecast:
    """Return a model's answer, having made sure that it keeps to the contract.

    Raises:
        ComponentError: wrong type or shape, a chance beyond 0 to 1, an infinite return, or
            quantiles that cross.
    """
    if not isinstance(forecast, Forecast):
        raise ComponentError(f"returned {type(forecast).__name__}, expected Forecast", where=title)
    _expect_within(title, "probability_up", forecast.probability_up, (0.0, 1.0), view)
    levels = sorted(forecast.quantiles)
    for panel in (forecast.mean, *forecast.quantiles.values(), *forecast.evidence.values()):
        expect_shape(title, panel, view)
        if np.isinf(panel).any():
            raise ComponentError("returned an infinite number", where=title)
    for low, high in pairwise(levels):
        if (forecast.quantiles[low] > forecast.quantiles[high]).any():
            raise ComponentError(f"its quantiles {low:g} and {high:g} cross", where=title)
    return forecast


def checked_regime(state: object, view: View, title: str) -> RegimeState:
    """Return a regime's answer, having made sure that it keeps to the contract.

    Raises:
        ComponentError: wrong type or shape, or something that is no probability.
    """
    if not isinstance(state, RegimeState):
        raise ComponentError(f"returned {type(state).__name__}, expected RegimeState", where=title)
    count = len(state.names)
    for name, panel, shape in (
        ("probability", state.probability, (view.steps, count)),
        ("transition", state.transition, (count, count)),
    ):
        if panel.shape != shape:
            raise ComponentError(
                f"returned a {name} of {panel.shape}, expected {shape}", where=title
            )
        # A row is NaN where nothing is known of the market.
        sums = panel.sum(axis=1)
        if (panel < 0.0).any() or (np.abs(sums - 1.0) > 1e-9).any():
            raise ComponentError(
                f"returned a {name} with rows that do not add up to 1", where=title
            )
    inside = (state.multipliers >= 0.0) & (state.multipliers <= 1.0)
    if state.multipliers.shape != (count,) or not inside.all():
        raise ComponentError(
            f"returned multipliers {state.multipliers}, expected {count} from 0 to 1", where=title
        )
    return state


def expect_sizes(title: str, sizes: Sizes, view: View) -> None:
    """Make sure that a sizer's answer has the view's shape, and holds no negative or endless size.

    Raises:
        ComponentError: it does.
    """
    for panel in (sizes.fraction, *sizes.evidence.values()):
        expect_shape(title, panel, view)
    if (sizes.fraction < 0.0).any() or np.isinf(sizes.fraction).any():
        raise ComponentError(
            "returned a size below 0, or an infinite one",
            where=title,
            hint="Sizes are fractions of the equity; the direction gives the sign",
        )


def expect_fusion(title: str, fusion: Fusion, view: View) -> None:
    """Make sure that an ensemble's answer is a number within its bounds everywhere.

    Raises:
        ComponentError: it is not.
    """
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
    expect_shape(title, panel, view)
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


def expect_shape(title: str, panel: object, view: View) -> None:
    """Make sure that something is a panel with a view's rows and columns.

    Raises:
        ComponentError: it is not.
    """
    expected = (view.steps, len(view.symbols))
    if not isinstance(panel, np.ndarray) or panel.shape != expected:
        came = panel.shape if isinstance(panel, np.ndarray) else type(panel).__name__
        raise ComponentError(f"returned a panel of {came}, expected {expected}", where=title)
