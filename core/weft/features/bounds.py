"""Checks the bounds of a step; the compiled loops of the engine check none, to be fast."""

import types
from typing import Any

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

from weft.components.feature import Bar, StepFeature
from weft.domain.candles import FIELDS, Candles, Presence


class OutOfBoundsError(IndexError):
    """A step reads or writes beyond one of its arrays."""


def check_bounds(feature: StepFeature, candles: Candles) -> None:
    """Run a feature's step over a panel, symbol by symbol, in arrays of exactly its sizes.

    Raises:
        OutOfBoundsError: the step, or a function it calls, used an index that is not there.
    """
    step = _checked(feature.advance, {})
    params = np.array(feature.params, dtype=np.float64)
    times = candles.times.tolist()
    for column, symbol in enumerate(candles.symbols):
        state, out = np.zeros(feature.state_size), np.zeros(len(feature.outputs))
        prices = [getattr(candles, name)[:, column].tolist() for name in FIELDS]
        presence = candles.presence[:, column].tolist()
        for row, (time, kind, *candle) in enumerate(zip(times, presence, *prices, strict=True)):
            if kind == Presence.HOLE:
                state[:] = 0.0
            if kind != Presence.TRADED:
                continue
            try:
                step(state, Bar(time, *candle), params, out)
            except IndexError:
                raise OutOfBoundsError(
                    f"feature {feature.name} reads or writes outside of its arrays, at candle "
                    f"{row} of {symbol}: it has {len(state)} cells of state (state_size), "
                    f"{len(params)} params and {len(out)} outputs. The compiled step does not "
                    "notice, and corrupts memory: raise state_size, or name all outputs and params"
                ) from None


def _checked(dispatcher: Dispatcher, done: dict[Dispatcher, Dispatcher]) -> Dispatcher:
    """Return a function compiled with bounds checks, as are the compiled functions it calls."""
    if dispatcher not in done:
        original = dispatcher.py_func
        scope = dict(original.__globals__)
        closure = tuple(types.CellType() for _ in original.__closure__ or ())
        function = types.FunctionType(
            original.__code__, scope, original.__name__, original.__defaults__, closure
        )
        # Registered before the functions it calls, because they may call it.
        done[dispatcher] = njit(error_model="numpy", boundscheck=True)(function)
        names = original.__code__.co_names
        scope.update({n: _replaced(scope[n], names, done) for n in names if n in scope})
        for mine, its in zip(closure, original.__closure__ or (), strict=True):
            mine.cell_contents = _replaced(its.cell_contents, names, done)
    return done[dispatcher]


def _replaced(value: Any, names: tuple[str, ...], done: dict[Dispatcher, Dispatcher]) -> Any:  # noqa: ANN401  # whatever a global may hold
    """Return the replacement of a global: a checked function, or a module of checked ones."""
    if isinstance(value, Dispatcher):
        return _checked(value, done)
    if isinstance(value, types.ModuleType):
        members = {name: vars(value).get(name) for name in names}
        functions = {n: _checked(f, done) for n, f in members.items() if isinstance(f, Dispatcher)}
        if functions:
            module = types.ModuleType(value.__name__)
            vars(module).update(vars(value) | functions)
            return module
    return value
