"""What components answer, checked against their contracts before anybody uses it.

Every check says which component answered, what was expected, what came and how to mend it. A check
returns a copy of the answer that can neither be written to nor be made writable: what a component
keeps, and changes later, changes no signal.
"""

import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from inspect import isawaitable, iscoroutine
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from weft.arrays import BoolPanel, FloatPanel, IntPanel, is_read_only, read_only
from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.model import Forecast, RegimeState
from weft.components.needs import Need
from weft.components.provider import Batch
from weft.components.risk import Levels, Sizes
from weft.errors import ComponentError, WeftError
from weft.market.instruments import Instrument
from weft.plugins.boundary import Raised, attempt
from weft.runner import fault

if TYPE_CHECKING:
    from weft.market.view import View

T = TypeVar("T")
Bounds: TypeAlias = tuple[float, float]

_ANY: Bounds = (-math.inf, math.inf)
_SUM_TOLERANCE = 1e-9
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
    found: BoolPanel = _panel(members, "members", view, title, "?", hint)
    return found


def checked_scores(scores: object, view: "View", title: str) -> Scores:
    """Return a layer's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a score beyond ±100, a confidence beyond 0 to 1 or
            missing where there is a score.
    """
    said = _instance(scores, Scores, title, "End score() with `return view.scores(...)`")
    hint = "Scale it, for instance with 100 * np.tanh(...)"
    score = _within(said.score, "score", view, title, (-100.0, 100.0), hint)
    confidence = _within(said.confidence, "confidence", view, title, (0.0, 1.0), hint)
    _expect_none(
        np.isnan(confidence) & ~np.isnan(score),
        "returned a confidence of NaN with a score",
        view,
        title,
        "Where there is a score there is a confidence; return a score of NaN for no opinion",
    )
    return Scores(score, confidence, _panels(said.evidence, "evidence", view, title))


def checked_forecast(forecast: object, view: "View", title: str) -> Forecast:
    """Return a model's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a chance beyond 0 to 1, an infinite return, or
            quantiles that cross.
    """
    said = _instance(forecast, Forecast, title, "End predict() with `return Forecast(...)`")
    hint = "Return NaN where no forecast can be given"
    chance = _within(said.probability_up, "probability_up", view, title, (0.0, 1.0), hint)
    mean = _within(said.mean, "mean", view, title, _ANY, hint)
    quantiles = {
        _level(level, title): _within(panel, f"quantile {level}", view, title, _ANY, hint)
        for level, panel in _mapping(said.quantiles, "quantiles", title).items()
    }
    for low, high in pairwise(sorted(quantiles)):
        _expect_none(
            quantiles[low] > quantiles[high],
            f"its quantiles {low:g} and {high:g} cross",
            view,
            title,
            "Sort the quantiles of each cell",
        )
    evidence = {
        name: _within(panel, f"evidence {name!r}", view, title, _ANY, hint)
        for name, panel in _panels(said.evidence, "evidence", view, title).items()
    }
    return Forecast(mean, chance, MappingProxyType(quantiles), MappingProxyType(evidence))


def checked_regime(state: object, view: "View", title: str) -> RegimeState:
    """Return a regime's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, or something that is no probability.
    """
    said = _instance(state, RegimeState, title, "End detect() with `return RegimeState(...)`")
    names: object = said.names
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise ComponentError(
            f"returned names {names!r}, expected a tuple of texts, one a state", where=title
        )
    if len(set(names)) < len(names):
        raise ComponentError(f"returned the names {names}, two of them alike", where=title)
    count = len(names)
    hint = "A row adds up to 1; leave it NaN where nothing is known of the market"
    probability = _rows_of_chances(
        said.probability, "probability", (view.steps, count), title, hint
    )
    transition = _rows_of_chances(said.transition, "transition", (count, count), title, hint)
    multipliers = _array(said.multipliers, "multipliers", (count,), title, "f", hint)
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
    said = _instance(fusion, Fusion, title, "End fuse() with `return Fusion(...)`")
    hint = "Where no layer has an opinion, everything is 0"
    score = _known(said.score, "score", view, title, (-100.0, 100.0), hint)
    confidence = _known(said.confidence, "confidence", view, title, (0.0, 100.0), hint)
    direction = _directions(said.direction, view, title)
    for sign, name in _NAMES.items():
        _expect_none(
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
    weights = _weights(said.weights, view, title, set(layers))
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
    said = _instance(levels, Levels, title, "End levels() with `return Levels(...)`")
    hint = "Prices are above 0; return NaN where there is none"
    entry, stop, target = (
        _prices(getattr(said, name), name, view, title, hint)
        for name in ("entry", "stop_loss", "take_profit")
    )
    for sign, name in _NAMES.items():
        acts = (direction == sign) & ~np.isnan(entry)
        for what, level, below in (
            ("stop_loss", stop, sign > 0),
            ("take_profit", target, sign < 0),
        ):
            side = "below" if below else "above"
            _expect_none(
                acts & np.isnan(level),
                f"returned an entry without a {what}",
                view,
                title,
                "Return all three levels of a signal, or NaN for the entry",
            )
            _expect_none(
                acts & ((level > entry) if below else (level < entry)),
                f"returned a {what} on the wrong side of the entry of a {name}",
                view,
                title,
                f"The {what} of a {name} is {side} its entry",
                level,
            )
    return Levels(entry, stop, target, _panels(said.figures, "figures", view, title))


def checked_sizes(sizes: object, view: "View", title: str) -> Sizes:
    """Return a sizer's answer as its own copy.

    Raises:
        ComponentError: wrong type or shape, a negative or an infinite size.
    """
    said = _instance(sizes, Sizes, title, "End size() with `return Sizes(...)`")
    hint = "Sizes are fractions of the equity, 0 or more; the direction gives the sign"
    fraction = _within(said.fraction, "size", view, title, (0.0, math.inf), hint)
    return Sizes(fraction, _panels(said.evidence, "evidence", view, title))


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
    said = _mapping(panels, "answer", title, hint)
    wanted = list(names)
    if set(said) != set(wanted):
        raise ComponentError(
            f"returned the outputs {sorted(map(str, said))}, expected {sorted(wanted)}",
            where=title,
            hint=hint,
        )
    return {name: _panel(_last(said[name], view), f"{name!r}", view, title) for name in wanted}


def checked_contributions(panels: object, view: "View", title: str) -> Mapping[str, FloatPanel]:
    """Return what a model says its features add, as its own copy.

    Raises:
        ComponentError: wrong type or shape.
    """
    return _panels(panels, "contributions", view, title)


def checked_batches(batches: object, title: str) -> AsyncIterator[Batch]:
    """Return what a provider's `fetch` returned, if batches can be taken from it.

    Raises:
        ComponentError: it is no asynchronous generator.
    """
    if isinstance(batches, AsyncIterator):
        return batches
    raise ComponentError(
        f"fetch() returned {_came(batches)}, expected an asynchronous generator",
        where=title,
        hint="Write `async def fetch(self, request, http, clock)` with `yield Batch(...)` in it",
    )


def checked_batch(batch: object, title: str) -> Batch:
    """Return a batch that a provider yielded.

    Raises:
        ComponentError: it is none, or a part of it is of the wrong type.
    """
    import polars as pl  # noqa: PLC0415  # composing from memory needs no frames

    said = _instance(batch, Batch, title, "Yield `Batch(candles=..., observations=...)`", "yielded")
    for name in ("candles", "observations", "texts"):
        frame = getattr(said, name)
        if frame is not None and not isinstance(frame, pl.DataFrame):
            raise ComponentError(
                f"yielded {name} that are {_came(frame)}, expected a polars DataFrame",
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
            f"yielded a cursor that is {_came(said.cursor)}, expected a text", where=title
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
        f"{method}() returned {_came(answer)}, expected something to await",
        where=title,
        hint=f"Write `async def {method}`",
    )


# Parts of an answer


def _instance(answer: object, kind: type[T], title: str, hint: str, verb: str = "returned") -> T:
    if isinstance(answer, kind):
        return answer
    raise ComponentError(
        f"{verb} {_came(answer)}, expected {kind.__name__}",
        where=title,
        hint=_ASYNC if iscoroutine(answer) else hint,
    )


_ASYNC = "Write `def` instead of `async def`: only fetch, execute and emit are asynchronous"


def _came(answer: object) -> str:
    """Return what messages call an answer of the wrong type."""
    if iscoroutine(answer):
        # Python warns of one that is never awaited, long after and without the component's name.
        answer.close()
    if answer is None:
        return "None"
    name = type(answer).__name__
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _mapping(
    answer: object, name: str, title: str, hint: str = "Give a dict of panels by name"
) -> Mapping[Any, Any]:
    if isinstance(answer, Mapping):
        return answer
    raise ComponentError(
        f"returned {_came(answer)} as its {name}, expected a mapping", where=title, hint=hint
    )


def _panels(answer: object, name: str, view: "View", title: str) -> Mapping[str, FloatPanel]:
    found = {}
    for key, panel in _mapping(answer, name, title).items():
        if not isinstance(key, str):
            raise ComponentError(
                f"returned {name} under the key {key!r}, expected a text", where=title
            )
        found[key] = _panel(panel, f"{name} {key!r}", view, title)
    return MappingProxyType(found)


def _panel(
    panel: object, name: str, view: "View", title: str, kind: str = "f", hint: str | None = None
) -> Any:  # noqa: ANN401  # a panel of the kind asked for
    return _array(panel, name, (view.steps, len(view.symbols)), title, kind, hint)


_KINDS = {
    "f": ("fiu", np.float64, "numbers (float64)"),
    "i": ("iu", np.int8, "whole numbers (int8)"),
    "?": ("b", np.bool_, "True and False (bool)"),
}
"""Which dtypes pass for a kind of array, what they become, and what messages call them."""


def _array(
    array: object, name: str, shape: tuple[int, ...], title: str, kind: str, hint: str | None = None
) -> Any:  # noqa: ANN401  # an array of the kind asked for
    """Return a copy of an array that nobody can write to, made sure of its shape and dtype."""
    # A masked array or a matrix computes by other rules than an array.
    if type(array) is not np.ndarray:
        raise ComponentError(
            f"returned {_came(array)} as {name}, expected a NumPy array of {shape}",
            where=title,
            hint=_ASYNC
            if iscoroutine(array)
            else hint or "np.asarray(...) or .to_numpy() makes an array",
        )
    if array.shape != shape:
        raise ComponentError(
            f"returned {name} as a panel of {array.shape}, expected {shape}",
            where=title,
            hint=hint or "One row for each decision row, one column for each symbol of the view",
        )
    passing, dtype, words = _KINDS[kind]
    if array.dtype.kind not in passing:
        raise ComponentError(
            f"returned {name} of dtype {array.dtype}, expected {words}",
            where=title,
            hint=hint or "Build it with np.full, np.where and arithmetic, or convert with .astype",
        )
    if array.dtype == dtype and is_read_only(array):
        return array
    return read_only(np.array(array, dtype=dtype, order="C"))


def _within(
    panel: object, name: str, view: "View", title: str, bounds: Bounds, hint: str
) -> FloatPanel:
    """Return a panel of finite numbers within bounds, or NaN."""
    found: FloatPanel = _panel(panel, name, view, title)
    low, high = bounds
    # A comparison with NaN is false, so that no opinion passes.
    outside = (found < low) | (found > high) | np.isinf(found)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        expected = "a finite number" if math.isinf(high) else f"{low:g} to {high:g}"
        if low == 0.0 and math.isinf(high):
            expected = "0 or more"
        raise ComponentError(
            f"returned a {name} of {found[row, column]:g} for {view.symbols[column]}, "
            f"expected {expected}",
            where=title,
            hint=hint,
        )
    return found


def _known(
    panel: object, name: str, view: "View", title: str, bounds: Bounds, hint: str
) -> FloatPanel:
    found = _within(panel, name, view, title, bounds, hint)
    told = f"returned a {name} that is not a number"
    _expect_none(np.isnan(found), told, view, title, hint)
    return found


def _directions(panel: object, view: "View", title: str) -> IntPanel:
    hint = "1 is long, -1 short, 0 neutral: np.sign(score).astype(np.int8)"
    wide: NDArray[Any] = np.asarray(panel)
    # Before the numbers become small ones: 257 would become 1.
    if wide.dtype.kind in "iu" and ((wide < -1) | (wide > 1)).any():
        raise ComponentError(
            f"returned a direction of {wide[(wide < -1) | (wide > 1)][0]}, expected -1, 0 or 1",
            where=title,
            hint=hint,
        )
    found: IntPanel = _panel(panel, "direction", view, title, "i", hint)
    return found


def _prices(panel: object, name: str, view: "View", title: str, hint: str) -> FloatPanel:
    found = _within(panel, name, view, title, _ANY, hint)
    _expect_none(found <= 0.0, f"returned a {name} that is no price", view, title, hint, found)
    return found


def _weights(weights: object, view: "View", title: str, layers: set[str]) -> dict[str, FloatPanel]:
    hint = "Give each layer that answered its share of the score; 0 where it has no opinion"
    said = _mapping(weights, "weights", title, hint)
    if set(said) != layers:
        raise ComponentError(
            f"returned weights of {sorted(map(str, said))}, expected those of {sorted(layers)}",
            where=title,
            hint=hint,
        )
    found = {
        name: _known(said[name], f"weight of {name}", view, title, (0.0, 1.0), hint)
        for name in sorted(layers)
    }
    if not found:
        return found
    total: FloatPanel = np.sum(list(found.values()), axis=0)
    _expect_none(
        (np.abs(total - 1.0) > _SUM_TOLERANCE) & (np.abs(total) > _SUM_TOLERANCE),
        "returned weights that do not add up to 1",
        view,
        title,
        "Divide them by their sum; all are 0 where no layer has an opinion",
        total,
    )
    return found


def _rows_of_chances(
    panel: object, name: str, shape: tuple[int, int], title: str, hint: str
) -> FloatPanel:
    found: FloatPanel = _array(panel, name, shape, title, "f", hint)
    # A row is NaN where nothing is known of the market.
    wrong = np.isinf(found).any() or (found < 0.0).any()
    if wrong or (np.abs(found.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any():
        raise ComponentError(
            f"returned a {name} with rows that do not add up to 1", where=title, hint=hint
        )
    return found


def _level(level: object, title: str) -> float:
    if isinstance(level, float) and 0.0 < level < 1.0:
        return level
    raise ComponentError(
        f"returned a quantile at level {level!r}, expected a number between 0 and 1", where=title
    )


def _last(panel: object, view: "View") -> object:
    """Return the last rows of a panel that has more than the view."""
    if isinstance(panel, np.ndarray) and panel.ndim == 2 and len(panel) > view.steps:
        return panel[len(panel) - view.steps :]
    return panel


def _expect_none(
    wrong: NDArray[np.bool_],
    told: str,
    view: "View",
    title: str,
    hint: str,
    values: FloatPanel | None = None,
) -> None:
    """Raise where a cell is wrong, naming the first."""
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        came = "" if values is None else f" ({values[row, column]:g})"
        raise ComponentError(f"{told}{came}, for {view.symbols[column]}", where=title, hint=hint)
