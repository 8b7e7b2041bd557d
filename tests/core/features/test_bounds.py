"""A step that leaves its arrays is found by the conformance kit before it is ever run unchecked."""

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from numba import njit

from weft.components.feature import Bar, StepFeature, step
from weft.features.bounds import OutOfBoundsError
from weft.features.engine import FeatureEngine
from weft.foundation.arrays import Floats
from weft.testing import check_feature, parametrize_with_checks

if TYPE_CHECKING:
    from collections.abc import Callable


@njit(error_model="numpy", forceinline=True)
def _push(state: Floats, at: int, value: float) -> None:
    state[at] = value


class Correct(StepFeature):
    """The sum of two closes."""

    name = "two_closes"
    outputs = ("total",)
    warmup = 2
    state_size = 3

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        seen = state[0]
        out[0] = bar.close + state[2] if seen >= 1.0 else float("nan")
        _push(state, 2, bar.close)
        state[0] = min(seen + 1.0, 2.0)


class StateTooSmall(Correct):
    """A helper of its step writes past the state."""

    name = "state_too_small"
    state_size = 2


class OutputTooMany(Correct):
    """Fills an output it does not name."""

    name = "output_too_many"

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        out[0] = bar.close
        out[1] = bar.open


class OptionTooMany(Correct):
    """Reads an option it does not have, and only once price has moved."""

    name = "option_too_many"

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        out[0] = bar.close
        if state[0] > 100.0:
            out[0] = params[0]
        state[0] += 1.0


class NoState(Correct):
    """Needs no state at all."""

    name = "no_state"
    state_size = 0

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        out[0] = bar.close


WRONG: tuple[type[StepFeature], ...] = (StateTooSmall, OutputTooMany, OptionTooMany)


@pytest.mark.parametrize("cls", WRONG)
def test_a_step_that_leaves_its_arrays_is_named_and_never_run_unchecked(
    cls: type[StepFeature],
) -> None:
    with patch.object(FeatureEngine, "panels", side_effect=AssertionError("it was run")):
        report = check_feature(cls())
    assert not report.passed
    (result,) = report.results
    assert result.name == "stays_in_bounds"
    said = (
        f"feature {cls.name} reads or writes outside of its arrays, at candle .* raise state_size"
    )
    with pytest.raises(AssertionError, match=said):
        report.raise_if_failed()


def test_no_excuse_is_taken() -> None:
    report = check_feature(StateTooSmall(), expected_failures={"stays_in_bounds": "why not"})
    assert not report.passed


def test_every_check_of_pytest_refuses_it() -> None:
    checks: list[Callable[[], None]] = [
        parameter.values[0] for parameter in parametrize_with_checks([StateTooSmall()]).args[1]
    ]
    with (
        patch.object(FeatureEngine, "panels", side_effect=AssertionError("it was run")),
        pytest.raises(OutOfBoundsError, match="2 cells of state"),
    ):
        checks[0]()


@pytest.mark.parametrize("cls", [Correct, NoState])
def test_a_step_that_keeps_to_them_is_run(cls: type[StepFeature]) -> None:
    report = check_feature(cls())
    assert {r.name: r.message for r in report.results if not r.passed} == {}
