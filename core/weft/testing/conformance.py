"""Checks that every component must pass, whoever wrote it."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from weft.components.feature import Feature
from weft.components.layer import Layer
from weft.components.model import Model, Regime
from weft.features.bounds import OutOfBoundsError
from weft.foundation.errors import ComponentError, LearningError
from weft.learning.formats import check_files
from weft.testing.digests import digests_of
from weft.testing.extra import expect_pytest
from weft.testing.history import listed_later
from weft.testing.subjects import Panels, Subject, Testable, TrainedSubject, subject_of
from weft.testing.watching import watching

if TYPE_CHECKING:
    import pytest


HEAVY = ("pandas", "torch", "sklearn", "xgboost", "lightgbm", "transformers", "matplotlib")
"""Packages a component may use, but must not import before it is called."""

TOLERANCE = 1e-9
"""How far an answer may be from the same answer with the symbols in another order.

Over fewer rows, or with fewer symbols, it has to be the same to the last bit: a signal's id is the
digest of what it says, and live, history and replay must agree on it. A matrix product, or NumPy's
sum along an axis, may add in another order where there is one row or one symbol, or on another
processor: see `weft.foundation.arrays.ordered_sum`.
"""

_STEPS = 120
_STALE_ROWS = 48
"""Rows before the first decision row at which metrics stop."""


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


def check_layer(
    layer: Layer, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a layer against its contract.

    Args:
        layer: the layer with its options.
        expected_failures: names of checks it is known to fail, and why that is right.
    """
    return _report(subject_of(layer), expected_failures or {})


def check_component(
    component: Testable, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a component of any kind that answers a view against its contract, like `check_layer`.

    Ensembles, risk models and sizers are handed made-up scores, fusions and levels.
    """
    return _report(subject_of(component), expected_failures or {})


def check_feature(
    feature: Feature, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a feature against its contract, like `check_layer`.

    A step that leaves its arrays would corrupt this process, so it is never run without checks of
    its bounds; what comes of that is then the only result, `stays_in_bounds`.
    """
    return _report(subject_of(feature), expected_failures or {})


def check_trained(
    component: Model | Regime, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a model or a regime against its contract, like `check_layer`.

    It is trained on a random market first: give it options under which that takes a few seconds.
    """
    return _report(subject_of(component), expected_failures or {})


def parametrize_with_checks(
    components: Sequence[Testable],
    expected_failures: Mapping[str, str] | None = None,
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each component and check.

    The test takes one argument, ``check``, and calls it. A check in `expected_failures` is
    marked as an expected failure with the reason given.
    """
    expect_pytest()
    import pytest  # noqa: PLC0415  # the kit works without pytest

    excused = expected_failures or {}
    return pytest.mark.parametrize(
        "check",
        [
            pytest.param(
                check,
                id=f"{subject.title.replace(' ', ':')}-{name}",
                marks=[pytest.mark.xfail(reason=excused[name], strict=True)]
                if name in excused
                else [],
            )
            for subject in map(subject_of, components)
            for name, check in checks_of(subject).items()
        ],
    )


def _report(subject: Subject, excused: Mapping[str, str]) -> ConformanceReport:
    return ConformanceReport(subject.title, tuple(_results(subject, excused)))


def _results(subject: Subject, excused: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, check in checks_of(subject).items():
        try:
            check()
        except OutOfBoundsError as error:
            yield CheckResult("stays_in_bounds", passed=False, message=str(error))
            return
        except (AssertionError, ComponentError, LearningError, ValueError, IndexError) as error:
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
        _expect_equal(
            cut, {n: p[:-back] for n, p in whole.items()}, f"{back} rows were cut off", 0.0
        )


def future_poison(subject: Subject) -> None:
    """Replacing the future by noise, or by nothing, changes no bit of an earlier row."""
    history = subject.history(seed=2)
    keep = history.rows - _STEPS // 2
    clean = subject.over(history, _STEPS)
    rng = np.random.default_rng(0)
    poisons = {
        "another market": history.noisy_after(keep, rng),
        "prices of a billion": history.after(keep, lambda panel: np.full(panel.shape, 1e9)),
        "nothing": history.after(keep, lambda panel: np.full(panel.shape, np.nan)),
    }
    kept = _STEPS // 2
    for what, other in poisons.items():
        try:
            poisoned = subject.over(other, _STEPS)
        except (ComponentError, ValueError, IndexError) as error:
            told = f"fails on the rows where the future was replaced by {what}: {error}"
            raise AssertionError(told) from error
        _expect_equal(
            {n: p[:kept] for n, p in poisoned.items()},
            {n: p[:kept] for n, p in clean.items()},
            f"the future was replaced by {what}",
            0.0,
        )


def steps_agree(subject: Subject) -> None:
    """Many rows at once give what row by row gives: the declared warm-up is long enough."""
    everything = subject.history(seed=3)
    for history, steps in ((everything, 30), (everything.columns(np.array([2])), 10)):
        whole = subject.over(history, steps)
        for back in range(steps):
            single = subject.over(history.cut(history.rows - back), 1)
            at = steps - 1 - back
            known = {name: panel[at : at + 1] for name, panel in whole.items()}
            _expect_equal(single, known, "one row was asked for alone", 0.0)


def later_listings(subject: Subject) -> None:
    """A symbol that is listed later changes no earlier row of the others.

    Among those listed later are what others are often held against: bitcoin, and a peer.
    """
    since = _STEPS // 6
    history = listed_later(subject.history(seed=9, flaws=False), since)
    there = np.flatnonzero(~np.isnan(history.candles["close"][: history.rows - since]).all(axis=0))
    kept = _STEPS - since
    known = {n: p[:kept] for n, p in subject.over(history, _STEPS).items()}
    if subject.by_symbol:
        known = {name: panel[:, there] for name, panel in known.items()}
    then = subject.over(history.columns(there).cut(history.rows - since), kept)
    _expect_equal(then, known, "a symbol that was listed later is left out", 0.0)


def deterministic(subject: Subject) -> None:
    """The same view gives the same bits, whatever the global random state."""
    history = subject.history(seed=4)
    np.random.seed(1)  # noqa: NPY002  # the global state is what must not matter
    first = subject.over(history, _STEPS)
    np.random.seed(2)  # noqa: NPY002  # the global state is what must not matter
    second = subject.over(history, _STEPS)
    _expect_equal(second, first, "it was asked a second time", 0.0)


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


def stale_is_unknown(subject: Subject) -> None:
    """Metrics whose sources stopped long ago count as little as those that never were.

    Their ages are still known, and so are the values within the warm-up: neither may stand for a
    value of now.
    """
    history = subject.history(seed=10)
    stopped = subject.over(history.without_metrics(history.rows - _STEPS - _STALE_ROWS), _STEPS)
    never = subject.over(history.without_metrics(0), _STEPS)
    _expect_equal(stopped, never, "metrics that stopped long ago are taken away", 0.0)


def leaves_inputs_alone(subject: Subject) -> None:
    """Nothing a view holds is written to; asking the same view again gives the same."""
    view = subject.view(subject.history(seed=7), _STEPS)
    before = digests_of(view)
    first = {name: panel.copy() for name, panel in subject.evaluate(view).items()}
    features = digests_of(view)
    again = subject.evaluate(view)
    after = digests_of(view)
    written = [
        name for kept in (before, features) for name in kept if kept[name] != after.get(name)
    ]
    _require(not written, f"wrote to {', '.join(dict.fromkeys(written))} of its view")
    _expect_equal(again, first, "the same view was asked again", 0.0)


def asks_the_view_alone(subject: Subject) -> None:
    """No file, host or program is asked: of what they say, nothing proves when it was known."""
    view = subject.view(subject.history(seed=10), _STEPS)
    with watching() as watch:
        subject.evaluate(view)
    _require(
        not watch.seen,
        f"{'; '.join(watch.seen)} while it was asked. What that says cannot be proven to have been "
        "known at the row: read it when the module is imported if it never changes, or bring it by "
        "a provider, as a metric",
    )


def ignores_column_order(subject: Subject) -> None:
    """Symbols in another order get the same answers."""
    history = subject.history(seed=8)
    order = np.array([2, 0, 3, 1])
    straight = subject.over(history, 5)
    turned = subject.over(history.columns(order), 5)
    wanted = {n: p[:, order] for n, p in straight.items()} if subject.by_symbol else straight
    _expect_equal(turned, wanted, "columns were reordered")


def imports_light(subject: Subject) -> None:
    """Importing the component's module imports none of the heavy packages."""
    expect_light_import(type(subject.component).__module__)


def trains_reproducibly(subject: TrainedSubject) -> None:
    """Training twice on the same rows with the same seed gives the same artifact."""
    first, second = subject.train(), subject.train()
    _require(first.card == second.card, "the card differs the second time")
    for name, content in first.files.items():
        _require(content == second.files.get(name), f"{name} differs the second time")


def keeps_safe_artifacts(subject: TrainedSubject) -> None:
    """The artifact has files of safe formats alone, and a card of JSON values."""
    check_files(subject.artifact, subject.title)


def says_what_it_needs(subject: TrainedSubject) -> None:
    """A view that begins with the first rows there are is trained on, or refused with a reason."""
    try:
        subject.train(rows=3)
    except LearningError as error:
        _require(bool(str(error)), "too little history is refused without a word")


CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        prefix_invariance,
        future_poison,
        steps_agree,
        later_listings,
        deterministic,
        in_range,
        silent_where_unknown,
        stale_is_unknown,
        leaves_inputs_alone,
        asks_the_view_alone,
        ignores_column_order,
        imports_light,
    )
}
"""Every check by name, in the order they run."""

TRAINED_CHECKS: dict[str, Callable[[TrainedSubject], None]] = {
    check.__name__: check
    for check in (trains_reproducibly, keeps_safe_artifacts, says_what_it_needs)
}
"""Further checks of what is trained."""


def checks_of(subject: Subject) -> dict[str, Callable[[], None]]:
    """Return the checks that apply to a component, by name."""
    checks: dict[str, Callable[[], None]] = {}
    checks |= {name: partial(check, subject) for name, check in CHECKS.items()}
    if not (subject.by_symbol and subject.may_be_silent):
        del checks[silent_where_unknown.__name__]
    if isinstance(subject, TrainedSubject):
        checks |= {name: partial(check, subject) for name, check in TRAINED_CHECKS.items()}
    return checks


def expect_light_import(module: str) -> None:
    """Require that importing a module, in a process of its own, imports no heavy package.

    Raises:
        AssertionError: it does, or cannot be imported alone.
    """
    done = _import_alone(module)
    _require(done.returncode == 0, f"{module} cannot be imported alone: {done.stderr[-500:]}")
    _require(done.stdout.strip() == "[]", f"{module} imports {done.stdout.strip()}")


@cache
def _import_alone(module: str) -> subprocess.CompletedProcess[str]:
    """Return the process that imported a module and printed the heavy packages it imported."""
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run(  # noqa: S603  # this interpreter, the name of an imported module
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def _require(condition: bool, message: str) -> None:  # noqa: FBT001  # reads like the assert it is
    # No assert statement: those vanish under `python -O`.
    if not condition:
        raise AssertionError(message)


def _expect_equal(came: Panels, expected: Panels, when: str, tolerance: float = TOLERANCE) -> None:
    _require(came.keys() == expected.keys(), f"other panels once {when}: {sorted(came)}")
    for name, panel in came.items():
        wanted = expected[name]
        _require(panel.shape == wanted.shape, f"{name} has shape {panel.shape} once {when}")
        same_gaps = np.isnan(panel) == np.isnan(wanted)
        _require(same_gaps.all(), f"{name} is NaN in other places once {when}")
        off = np.nanmax(np.abs(panel - wanted), initial=0.0)
        scale = max(1.0, np.nanmax(np.abs(wanted), initial=0.0)) if tolerance else 1.0
        _require(off <= tolerance * scale, f"{name} changes by {off:.3g} once {when}")
