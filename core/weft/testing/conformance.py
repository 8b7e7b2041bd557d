"""Checks that every component must pass, whoever wrote it."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from weft.arrays import FloatPanel
from weft.components.base import Component
from weft.components.feature import Feature, StepFeature
from weft.components.layer import Layer
from weft.components.needs import FeatureNeed, MetricNeed, Need
from weft.components.needs import feature as feature_need
from weft.compose import checked
from weft.errors import ComponentError
from weft.features.bounds import OutOfBoundsError, check_bounds
from weft.market.candles import Candles, candles_from_arrays
from weft.market.view import View
from weft.testing.history import History, installed_feature, random_history

if TYPE_CHECKING:
    import pytest

HEAVY = ("pandas", "torch", "sklearn", "xgboost", "lightgbm", "transformers", "matplotlib")
"""Packages a component may use, but must not import before it is called."""

TOLERANCE = 1e-9
"""How far an answer over many rows may be from the same answer row by row."""

_ROWS = 2600
_STEPS = 120

Panels = Mapping[str, FloatPanel]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check came to.

    Attributes:
        name: the check.
        passed: whether the component passed.
        message: what was expected and what came, empty where it passed.
        excuse: why a failure is expected; None where it is not.
    """

    name: str
    passed: bool
    message: str = ""
    excuse: str | None = None


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """All checks of one component."""

    component: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, or failed with an excuse."""
        return all(r.passed or r.excuse is not None for r in self.results)

    def raise_if_failed(self) -> None:
        """Raise an AssertionError that lists every failure."""
        lines = [f"{r.name}: {r.message}" for r in self.results if not r.passed and not r.excuse]
        if lines:
            raise AssertionError(
                "\n  ".join([f"{self.component} fails {len(lines)} checks:", *lines])
            )


@dataclass(slots=True)
class Subject:
    """A component under test, and how its answer is read as named panels.

    Attributes:
        component: what is tested.
        needs: what its view has to hold.
        evaluate: its answer to a view, as panels of (steps, symbol).
        bounds: lowest and highest value allowed in a panel, by name.
    """

    component: Component
    needs: Sequence[Need]
    evaluate: Callable[[View], Panels]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Kind and name."""
        return f"{self.component.kind} {self.component.name}"

    def history(self, seed: int, *, flaws: bool = True, rows: int = _ROWS) -> History:
        """Return a random market with the metrics the component asks for."""
        metrics = tuple(need.name for need in self.needs if isinstance(need, MetricNeed))
        return random_history(seed, rows=rows, metrics=metrics, flaws=flaws)

    def over(self, history: History, steps: int) -> Panels:
        """Return the component's answer for the last `steps` rows of a history."""
        return self.evaluate(self.view(history, steps))

    def view(self, history: History, steps: int) -> View:
        """Return what the component may see of a history."""
        return history.view(
            self.needs, steps=steps, component=self.title, make_feature=self._make_feature
        )

    def _make_feature(self, need: FeatureNeed) -> Feature:
        own = self.component
        if isinstance(own, Feature) and need in self.needs:
            return own
        return installed_feature(need)


def check_layer(
    layer: Layer, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a layer against its contract.

    Args:
        layer: the layer with its options.
        expected_failures: names of checks it is known to fail, and why that is right.
    """
    return _report(_layer_subject(layer), expected_failures or {})


def check_feature(
    feature: Feature, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a feature against its contract, like `check_layer`.

    A step that leaves its arrays would corrupt this process, so it is never run without checks of
    its bounds; what comes of that is then the only result, `stays_in_bounds`.
    """
    return _report(_feature_subject(feature), expected_failures or {})


def parametrize_with_checks(
    components: Sequence[Layer | Feature],
    expected_failures: Mapping[str, str] | None = None,
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each component and check.

    The test takes one argument, ``check``, and calls it. A check in `expected_failures` is
    marked as an expected failure with the reason given.
    """
    import pytest  # noqa: PLC0415  # the kit works without pytest

    excused = expected_failures or {}
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                partial(check, subject),
                id=f"{subject.title.replace(' ', ':')}-{name}",
                marks=[pytest.mark.xfail(reason=excused[name], strict=True)]
                if name in excused
                else [],
            )
            for subject in map(_subject, components)
            for name, check in CHECKS.items()
        ],
    )


def _subject(component: Layer | Feature) -> Subject:
    if isinstance(component, Layer):
        return _layer_subject(component)
    return _feature_subject(component)


def _layer_subject(layer: Layer) -> Subject:
    def evaluate(view: View) -> Panels:
        scores = checked(layer.score(view), view, f"layer {layer.name}")
        return {"score": scores.score, "confidence": scores.confidence, **scores.evidence}

    return Subject(
        layer, layer.needs, evaluate, {"score": (-100.0, 100.0), "confidence": (0.0, 1.0)}
    )


def _feature_subject(feature: Feature) -> Subject:
    need = feature_need(feature.name, **feature.config.model_dump())

    @cache
    def stay_in_bounds() -> None:
        if isinstance(feature, StepFeature):
            check_bounds(feature, _candles(random_history(9, rows=_ROWS)))

    def evaluate(view: View) -> Panels:
        stay_in_bounds()
        return {output: view.feature(need, output=output) for output in feature.outputs}

    return Subject(feature, [need], evaluate)


def _candles(history: History) -> Candles:
    rows = np.arange(history.rows, dtype=np.int64)
    times = history.first_close + rows * history.interval.micros
    return candles_from_arrays(history.interval, times, history.instruments, dict(history.candles))


def _report(subject: Subject, excused: Mapping[str, str]) -> ConformanceReport:
    return ConformanceReport(subject.title, tuple(_results(subject, excused)))


def _results(subject: Subject, excused: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, check in CHECKS.items():
        try:
            check(subject)
        except OutOfBoundsError as error:
            yield CheckResult("stays_in_bounds", passed=False, message=str(error))
            return
        except (AssertionError, ComponentError, ValueError, IndexError) as error:
            yield CheckResult(name, passed=False, message=str(error), excuse=excused.get(name))
        else:
            yield CheckResult(name, passed=True)


# The checks


def prefix_invariance(subject: Subject) -> None:
    """Cutting the future off leaves every earlier row as it was."""
    history = subject.history(seed=1)
    whole = subject.over(history, _STEPS)
    for back in (1, 7, _STEPS // 2, _STEPS - 1):
        cut = subject.over(history.cut(history.rows - back), _STEPS - back)
        _expect_equal(cut, {n: p[:-back] for n, p in whole.items()}, f"{back} rows were cut off")


def future_poison(subject: Subject) -> None:
    """Replacing the future by noise, or by nothing, changes no bit of an earlier row."""
    history = subject.history(seed=2)
    keep = history.rows - _STEPS // 2
    clean = subject.over(history, _STEPS)
    rng = np.random.default_rng(0)
    poisons: dict[str, Callable[[FloatPanel], FloatPanel]] = {
        "noise": lambda panel: np.exp(rng.normal(0.0, 3.0, panel.shape)),
        "a billion": lambda panel: np.full(panel.shape, 1e9),
        "nothing": lambda panel: np.full(panel.shape, np.nan),
    }
    for what, poison in poisons.items():
        poisoned = subject.over(history.after(keep, poison), _STEPS)
        kept = _STEPS // 2
        _expect_equal(
            {n: p[:kept] for n, p in poisoned.items()},
            {n: p[:kept] for n, p in clean.items()},
            f"the future was replaced by {what}",
            tolerance=0.0,
        )


def steps_agree(subject: Subject) -> None:
    """Many rows at once give what row by row gives: the declared warm-up is long enough."""
    history = subject.history(seed=3)
    steps = 30
    whole = subject.over(history, steps)
    for back in range(steps):
        single = subject.over(history.cut(history.rows - back), 1)
        at = steps - 1 - back
        _expect_equal(
            single, {n: p[at : at + 1] for n, p in whole.items()}, "one row was asked for alone"
        )


def deterministic(subject: Subject) -> None:
    """The same view gives the same bits, whatever the global random state."""
    history = subject.history(seed=4)
    np.random.seed(1)  # noqa: NPY002  # the global state is what must not matter
    first = subject.over(history, _STEPS)
    np.random.seed(2)  # noqa: NPY002  # the global state is what must not matter
    second = subject.over(history, _STEPS)
    _expect_equal(second, first, "it was asked a second time", tolerance=0.0)


def in_range(subject: Subject) -> None:
    """Ordinary, constant, exploding and silent markets keep every panel in its range."""
    history = subject.history(seed=5, flaws=False)
    worlds = {
        "ordinary": history,
        "constant": history.after(0, lambda panel: np.where(np.isnan(panel), np.nan, 1.0)),
        "exploding": history.after(history.rows - 50, lambda panel: panel * 1e6),
        "tiny": history.after(0, lambda panel: panel * 1e-9),
        "silent": history.after(0, lambda panel: np.full(panel.shape, np.nan)),
    }
    for what, world in worlds.items():
        for name, panel in subject.over(world, _STEPS).items():
            _require(not np.isinf(panel).any(), f"{name} is infinite in the {what} market")
            low, high = subject.bounds.get(name, (-np.inf, np.inf))
            outside = (panel < low) | (panel > high)
            _require(not outside.any(), f"{name} leaves {low:g}..{high:g} in the {what} market")


def silent_where_unknown(subject: Subject) -> None:
    """A symbol of which nothing was ever known gets NaN, never a number."""
    history = subject.history(seed=6)
    unknown = history.after(
        0, lambda panel: np.where(np.arange(panel.shape[1]) == 1, np.nan, panel)
    )
    name, panel = next(iter(subject.over(unknown, _STEPS).items()))
    _require(bool(np.isnan(panel[:, 1]).all()), f"{name} is a number where nothing is known")
    _require(
        not bool(np.isnan(panel[-1, 0])), f"{name} is NaN for a symbol that everything is known of"
    )


def leaves_inputs_alone(subject: Subject) -> None:
    """Panels of a view refuse to be written to; asking the same view again gives the same."""
    view = subject.view(subject.history(seed=7), _STEPS)
    first = {name: panel.copy() for name, panel in subject.evaluate(view).items()}
    _expect_equal(subject.evaluate(view), first, "the same view was asked again", tolerance=0.0)


def ignores_column_order(subject: Subject) -> None:
    """Symbols in another order get the same answers."""
    history = subject.history(seed=8)
    order = np.array([2, 0, 3, 1])
    straight = subject.over(history, 5)
    turned = subject.over(history.columns(order), 5)
    _expect_equal(turned, {n: p[:, order] for n, p in straight.items()}, "columns were reordered")


def imports_light(subject: Subject) -> None:
    """Importing the component's module imports none of the heavy packages."""
    module = type(subject.component).__module__
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(  # noqa: S603  # our own interpreter, a module name we imported
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    _require(done.returncode == 0, f"{module} cannot be imported alone: {done.stderr[-500:]}")
    _require(done.stdout.strip() == "[]", f"{module} imports {done.stdout.strip()}")


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        prefix_invariance,
        future_poison,
        steps_agree,
        deterministic,
        in_range,
        silent_where_unknown,
        leaves_inputs_alone,
        ignores_column_order,
        imports_light,
    )
}
"""Every check by name, in the order they run."""


def _require(condition: bool, message: str) -> None:  # noqa: FBT001  # reads like the assert it is
    # No assert statement: those vanish under `python -O`.
    if not condition:
        raise AssertionError(message)


def _expect_equal(
    came: Panels, expected: Panels, when: str, *, tolerance: float = TOLERANCE
) -> None:
    _require(came.keys() == expected.keys(), f"other panels once {when}: {sorted(came)}")
    for name, panel in came.items():
        wanted = expected[name]
        _require(panel.shape == wanted.shape, f"{name} has shape {panel.shape} once {when}")
        same_gaps = np.isnan(panel) == np.isnan(wanted)
        _require(same_gaps.all(), f"{name} is NaN in other places once {when}")
        off = np.nanmax(np.abs(panel - wanted), initial=0.0)
        scale = max(1.0, np.nanmax(np.abs(wanted), initial=0.0)) if tolerance else 1.0
        _require(off <= tolerance * scale, f"{name} changes by {off:.3g} once {when}")
