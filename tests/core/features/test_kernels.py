"""Compiling: when a kernel is compiled anew, and what happens without a folder to keep it in."""

import subprocess
import sys
from collections.abc import Callable
from types import FunctionType

import numpy as np
import pytest
from numba import njit
from numba.core import caching

from tests.core.features.steps import Mean, columns, panel
from weft.components.feature import Bar
from weft.features import kernels
from weft.features.engine import FeatureEngine
from weft.features.fingerprint import fingerprint
from weft.features.kernels import compile_step, is_cached_on_disk

HELPER = """
@njit
def helper(x):
    return x * {factor}
"""

STEP = """
LIMIT = {limit}

def step(state, bar, params, out, scale={scale}):
    '''Take one candle.'''
    out[0] = helper(bar.close) + LIMIT + {constant} + sum([k for k in range({inner})]) * scale
"""


def _step(
    factor: float = 2.0,
    limit: float = 1.0,
    constant: float = 0.5,
    inner: int = 3,
    scale: float = 1.0,
) -> Callable[..., None]:
    scope: dict[str, object] = {"njit": njit}
    exec(HELPER.format(factor=factor), scope)
    exec(STEP.format(limit=limit, constant=constant, inner=inner, scale=scale), scope)
    found = scope["step"]
    assert isinstance(found, FunctionType)
    return found


def test_the_same_step_has_the_same_fingerprint() -> None:
    assert fingerprint(_step()) == fingerprint(_step())
    assert fingerprint(njit(_step())) == fingerprint(_step())


@pytest.mark.parametrize(
    "edit",
    [{"factor": 3.0}, {"limit": 2.0}, {"constant": 0.25}, {"inner": 4}, {"scale": 2.0}],
    ids=["helper", "global", "constant", "comprehension", "default"],
)
def test_an_edit_anywhere_changes_the_fingerprint(edit: dict[str, float]) -> None:
    assert fingerprint(_step(**edit)) != fingerprint(_step())  # type: ignore[arg-type]  # one is int


def test_a_closure_is_part_of_the_fingerprint() -> None:
    def over(constant: float) -> Callable[[float], float]:
        return lambda x: x + constant

    assert fingerprint(over(1.0)) != fingerprint(over(2.0))
    assert fingerprint(over(1.0)) == fingerprint(over(1.0))


def test_a_helper_in_another_module_has_another_fingerprint() -> None:
    # Machine code on disk imports the modules of its helpers by their names.
    def step_of(module: str) -> object:
        scope: dict[str, object] = {"njit": njit, "__name__": module}
        exec(HELPER.format(factor=2.0), scope)
        scope["__name__"] = "steps"
        exec(STEP.format(limit=1.0, constant=0.5, inner=3, scale=1.0), scope)
        return scope["step"]

    assert fingerprint(step_of("before")) == fingerprint(step_of("before"))
    assert fingerprint(step_of("before")) != fingerprint(step_of("after"))


def test_recursion_comes_to_an_end() -> None:
    scope: dict[str, object] = {}
    exec("def step(n):\n    return n and step(n - 1)", scope)
    assert fingerprint(scope["step"])


def test_the_fingerprint_is_the_same_at_every_start() -> None:
    program = (
        "from weft_plugins.features.momentum import Rsi\n"
        "from weft.features.fingerprint import fingerprint\n"
        "def odd(x):\n"
        "    return x in {'a', 'b', 'c'} and [k for k in x]\n"
        "print(fingerprint(Rsi.advance), fingerprint(odd))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_step_is_compiled_once() -> None:
    assert compile_step("mean", Mean.advance, 2) is compile_step("mean", Mean.advance, 2)


def test_an_edited_step_is_compiled_anew() -> None:
    def advance(state: np.ndarray, bar: Bar, params: np.ndarray, out: np.ndarray) -> None:
        out[0] = bar.close
        out[1] = -1.0

    assert compile_step("mean", njit(advance), 2) is not compile_step("mean", Mean.advance, 2)


@pytest.fixture
def fresh_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_compiled", {})
    monkeypatch.setattr(kernels, "_uncached", set())


@pytest.mark.usefixtures("fresh_kernels")
def test_kernels_are_kept_on_disk() -> None:
    compile_step("mean", Mean.advance, 2)
    assert is_cached_on_disk()


@pytest.mark.usefixtures("fresh_kernels")
@pytest.mark.parametrize("failure", ["no folder", "full disk"])
def test_without_a_folder_to_write_to_it_works_all_the_same(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candles = panel(columns(60))
    expected = FeatureEngine(1).panels(Mean(), candles, 60)["mean"]
    kernels._compiled.clear()
    if failure == "no folder":
        monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    else:

        def refuse(*_arguments: object, **_options: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(caching.FunctionCache, "save_overload", refuse)
        monkeypatch.setattr(caching.FunctionCache, "load_overload", lambda *_: None)
    found = FeatureEngine(1).panels(Mean(), candles, 60)["mean"]
    assert not is_cached_on_disk()
    np.testing.assert_array_equal(found, expected)
