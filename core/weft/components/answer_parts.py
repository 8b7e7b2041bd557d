"""Checks of the parts of a component's answer: each returns a copy, or refuses it by name."""

import math
from collections.abc import Mapping
from inspect import iscoroutine
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, IntPanel, is_read_only, read_only
from weft.foundation.errors import ComponentError

if TYPE_CHECKING:
    from weft.market.view import View

T = TypeVar("T")
Bounds: TypeAlias = tuple[float, float]

ANY: Final[Bounds] = (-math.inf, math.inf)
"""Bounds of a number that only has to be finite."""

_SUM_TOLERANCE = 1e-9


def instance_of(answer: object, kind: type[T], title: str, hint: str, verb: str = "returned") -> T:
    """Return an answer of the expected type.

    Raises:
        ComponentError: another type, which the message names.
    """
    if isinstance(answer, kind):
        return answer
    raise ComponentError(
        f"{verb} {type_name(answer)}, expected {kind.__name__}",
        where=title,
        hint=_ASYNC if iscoroutine(answer) else hint,
    )


_ASYNC = "Write `def` instead of `async def`: only fetch, execute and emit are asynchronous"


def type_name(answer: object) -> str:
    """Return the name of an answer's type for messages, such as ``a list`` or ``None``."""
    if iscoroutine(answer):
        # Unclosed, Python would warn that it was never awaited, later and without this name.
        answer.close()
    if answer is None:
        return "None"
    name = type(answer).__name__
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def mapping_of(
    answer: object, name: str, title: str, hint: str = "Give a dict of panels by name"
) -> Mapping[Any, Any]:
    """Return a part of an answer that must be a mapping."""
    if isinstance(answer, Mapping):
        return answer
    raise ComponentError(
        f"returned {type_name(answer)} as its {name}, expected a mapping", where=title, hint=hint
    )


def panels_of(answer: object, name: str, view: "View", title: str) -> Mapping[str, FloatPanel]:
    """Return named panels as read-only copies."""
    panels = {}
    for key, panel in mapping_of(answer, name, title).items():
        if not isinstance(key, str):
            raise ComponentError(
                f"returned {name} under the key {key!r}, expected a text", where=title
            )
        panels[key] = panel_of(panel, f"{name} {key!r}", view, title)
    return MappingProxyType(panels)


def panel_of(
    panel: object, name: str, view: "View", title: str, kind: str = "f", hint: str | None = None
) -> Any:  # noqa: ANN401  # a panel of that kind
    """Return a read-only copy of a panel with the view's rows and columns."""
    return array_of(panel, name, (view.steps, len(view.symbols)), title, kind, hint)


_KINDS = {
    "f": ("fiu", np.float64, "numbers (float64)"),
    "i": ("iu", np.int8, "whole numbers (int8)"),
    "?": ("b", np.bool_, "True and False (bool)"),
}
"""For each kind of array: accepted dtype kinds, the dtype of the copy, its name in messages."""


def array_of(
    array: object, name: str, shape: tuple[int, ...], title: str, kind: str, hint: str | None = None
) -> Any:  # noqa: ANN401  # an array of that kind
    """Return a read-only copy of an array of that shape and kind."""
    # Not isinstance: masked arrays and matrices compute by other rules.
    if type(array) is not np.ndarray:
        raise ComponentError(
            f"returned {type_name(array)} as {name}, expected a NumPy array of {shape}",
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


def within(
    panel: object, name: str, view: "View", title: str, bounds: Bounds, hint: str
) -> FloatPanel:
    """Return a panel in which each cell is NaN or a finite number within bounds."""
    values: FloatPanel = panel_of(panel, name, view, title)
    low, high = bounds
    # Comparisons with NaN are false, so NaN passes.
    outside = (values < low) | (values > high) | np.isinf(values)
    if outside.any():
        row, column = np.argwhere(outside)[0]
        expected = "a finite number" if math.isinf(high) else f"{low:g} to {high:g}"
        if low == 0.0 and math.isinf(high):
            expected = "0 or more"
        raise ComponentError(
            f"returned a {name} of {values[row, column]:g} for {view.symbols[column]}, "
            f"expected {expected}",
            where=title,
            hint=hint,
        )
    return values


def known(
    panel: object, name: str, view: "View", title: str, bounds: Bounds, hint: str
) -> FloatPanel:
    """Return a panel of finite numbers within bounds, without NaN."""
    values = within(panel, name, view, title, bounds, hint)
    problem = f"returned a {name} that is not a number"
    expect_none(np.isnan(values), problem, view, title, hint)
    return values


def directions_of(panel: object, view: "View", title: str) -> IntPanel:
    """Return directions of -1, 0 and 1."""
    hint = "1 is long, -1 short, 0 neutral: np.sign(score).astype(np.int8)"
    wide: NDArray[Any] = np.asarray(panel)
    # Checked before the cast to int8, which would turn 257 into 1.
    if wide.dtype.kind in "iu" and ((wide < -1) | (wide > 1)).any():
        raise ComponentError(
            f"returned a direction of {wide[(wide < -1) | (wide > 1)][0]}, expected -1, 0 or 1",
            where=title,
            hint=hint,
        )
    directions: IntPanel = panel_of(panel, "direction", view, title, "i", hint)
    return directions


def prices_of(panel: object, name: str, view: "View", title: str, hint: str) -> FloatPanel:
    """Return a panel of prices: above 0, or NaN."""
    prices = within(panel, name, view, title, ANY, hint)
    expect_none(prices <= 0.0, f"returned a {name} that is no price", view, title, hint, prices)
    return prices


def weights_of(
    weights: object, view: "View", title: str, layers: set[str]
) -> dict[str, FloatPanel]:
    """Return the weights of exactly these layers; in each cell they add up to 1 or are all 0."""
    hint = "Give each layer that answered its share of the score; 0 where it has no opinion"
    given = mapping_of(weights, "weights", title, hint)
    if set(given) != layers:
        raise ComponentError(
            f"returned weights of {sorted(map(str, given))}, expected those of {sorted(layers)}",
            where=title,
            hint=hint,
        )
    panels = {
        name: known(given[name], f"weight of {name}", view, title, (0.0, 1.0), hint)
        for name in sorted(layers)
    }
    if not panels:
        return panels
    total: FloatPanel = np.sum(list(panels.values()), axis=0)
    expect_none(
        (np.abs(total - 1.0) > _SUM_TOLERANCE) & (np.abs(total) > _SUM_TOLERANCE),
        "returned weights that do not add up to 1",
        view,
        title,
        "Divide them by their sum; all are 0 where no layer has an opinion",
        total,
    )
    return panels


def chances_of(
    panel: object, name: str, shape: tuple[int, int], title: str, hint: str
) -> FloatPanel:
    """Return rows of probabilities; each adds up to 1, or is NaN where the state is unknown."""
    rows: FloatPanel = array_of(panel, name, shape, title, "f", hint)
    wrong = np.isinf(rows).any() or (rows < 0.0).any()
    if wrong or (np.abs(rows.sum(axis=1) - 1.0) > _SUM_TOLERANCE).any():
        raise ComponentError(
            f"returned a {name} with rows that do not add up to 1", where=title, hint=hint
        )
    return rows


def level_of(level: object, title: str) -> float:
    """Return the level of a quantile, between 0 and 1."""
    if isinstance(level, float) and 0.0 < level < 1.0:
        return level
    raise ComponentError(
        f"returned a quantile at level {level!r}, expected a number between 0 and 1", where=title
    )


def finite(number: object, name: str, title: str) -> float:
    """Return a finite number as a float."""
    # NumPy's numbers count; True and False do not.
    if isinstance(number, int | float | np.integer | np.floating) and not isinstance(number, bool):
        value = float(number)
        if math.isfinite(value):
            return value
    raise ComponentError(
        f"returned {number!r:.80} as {name}, expected a finite number", where=title
    )


def last_rows(panel: object, view: "View") -> object:
    """Return the last rows of a panel that has more rows than the view's decision rows."""
    if isinstance(panel, np.ndarray) and panel.ndim == 2 and len(panel) > view.steps:
        return panel[len(panel) - view.steps :]
    return panel


def expect_none(
    wrong: NDArray[np.bool_],
    problem: str,
    view: "View",
    title: str,
    hint: str,
    values: FloatPanel | None = None,
) -> None:
    """Raise a ComponentError if any cell is wrong, naming the first by symbol and value."""
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = "" if values is None else f" ({values[row, column]:g})"
        raise ComponentError(
            f"{problem}{value}, for {view.symbols[column]}", where=title, hint=hint
        )
