"""Checks of components that answer a view, and of those that are trained first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from weft.components.feature import Feature
from weft.components.layer import Layer
from weft.components.trained import Trained
from weft.foundation.errors import ComponentError, LearningError
from weft.learning.cards import check_files
from weft.testing.history import listed_later
from weft.testing.report import (
    ConformanceReport,
    parametrize,
    require,
    require_light_import,
    run_checks,
)
from weft.testing.subjects import Panels, Subject, Testable, TrainedSubject, subject_of
from weft.testing.watching import digests_of, watching

if TYPE_CHECKING:
    import pytest


TOLERANCE = 1e-9
"""How far an answer may be from the same answer with the symbols in another order.

Over fewer rows, or with fewer symbols, an answer has to be the same to the last bit: the id of a
signal is the digest of its content, and live, history and replay must agree on it. A matrix
product, or NumPy's sum along an axis, may add in another order for a single row or symbol, or on
another processor: see `weft.foundation.arrays.ordered_sum`.
"""

_STEPS = 120
_STALE_ROWS = 48
"""Rows before the first decision row at which metrics stop."""

_JUDGED_ROWS = 200


def check_component(
    component: Testable, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a component of any kind that answers a view against its contract.

    Ensembles, risk models, sizers and allocators get made-up scores, fusions, levels and sizes. A
    component that is trained is trained on a random market first: give it options under which
    that takes a few seconds.

    A step feature that leaves its arrays would corrupt this process, so the kit first runs the
    step with checks of its bounds; a failure is then the only result, `stays_in_bounds`.

    Args:
        component: with its options.
        expected_failures: names of checks that fail, and why that is right.
    """
    subject = subject_of(component)
    return run_checks(subject.title, checks_of(subject), expected_failures)


def check_layer(
    layer: Layer, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a layer against its contract; see `check_component`."""
    return check_component(layer, expected_failures=expected_failures)


def check_feature(
    feature: Feature, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a feature against its contract; see `check_component`."""
    return check_component(feature, expected_failures=expected_failures)


def check_trained(
    component: Testable, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a component that is trained, of any kind, against its contract; see `check_component`.

    Raises:
        TypeError: the component is not trained.
    """
    if not isinstance(component, Trained):
        raise TypeError(f"{component.title()} is not trained: derive it from Trained too")
    return check_component(component, expected_failures=expected_failures)


def parametrize_with_checks(
    components: Sequence[Testable],
    expected_failures: Mapping[str, str] | None = None,
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each component and check.

    The test takes one argument, ``check``, and calls it::

        @parametrize_with_checks([Momentum(), Momentum(Momentum.Config(window=24))])
        def test_conformance(check):
            check()

    Args:
        components: with their options.
        expected_failures: names of checks that fail, and why that is right: they are marked as
            expected failures.
    """
    return parametrize(_labelled(components), lambda _: expected_failures or {})


def _labelled(
    components: Sequence[Testable],
) -> Iterable[tuple[str, Mapping[str, Callable[[], None]]]]:
    for subject in map(subject_of, components):
        yield subject.title.replace(" ", ":"), checks_of(subject)


# The checks


def prefix_invariance(subject: Subject) -> None:
    """Cutting the future off leaves every earlier row as it was."""
    history = subject.history(seed=1)
    full = subject.over(history, _STEPS)
    for back in (1, 7, _STEPS // 2, _STEPS - 1):
        cut = subject.over(history.cut(history.rows - back), _STEPS - back)
        _expect_equal(
            cut, {n: p[:-back] for n, p in full.items()}, f"{back} rows were cut off", 0.0
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
    rows = _STEPS // 2
    for what, other in poisons.items():
        try:
            poisoned = subject.over(other, _STEPS)
        except (ComponentError, ValueError, IndexError) as error:
            raise AssertionError(
                f"fails on the rows where the future was replaced by {what}: {error}"
            ) from error
        _expect_equal(
            {n: p[:rows] for n, p in poisoned.items()},
            {n: p[:rows] for n, p in clean.items()},
            f"the future was replaced by {what}",
            0.0,
        )


def steps_agree(subject: Subject) -> None:
    """One row alone equals the same row among many: the declared warm-up is long enough."""
    everything = subject.history(seed=3)
    for history, steps in ((everything, 30), (everything.columns(np.array([2])), 10)):
        many = subject.over(history, steps)
        for back in range(steps):
            single = subject.over(history.cut(history.rows - back), 1)
            at = steps - 1 - back
            known = {name: panel[at : at + 1] for name, panel in many.items()}
            _expect_equal(single, known, "the view has one row", 0.0)


def later_listings(subject: Subject) -> None:
    """A symbol that is listed later changes no earlier row of the others.

    Among those listed later are the usual references of other symbols: bitcoin, and a peer.
    """
    since = _STEPS // 6
    history = listed_later(subject.history(seed=9, flaws=False), since)
    listed = np.flatnonzero(~np.isnan(history.candles["close"][: history.rows - since]).all(axis=0))
    rows = _STEPS - since
    known = {n: p[:rows] for n, p in subject.over(history, _STEPS).items()}
    if subject.by_symbol:
        known = {name: panel[:, listed] for name, panel in known.items()}
    early = subject.over(history.columns(listed).cut(history.rows - since), rows)
    _expect_equal(early, known, "a symbol that was listed later is left out", 0.0)


def deterministic(subject: Subject) -> None:
    """The same view gives the same bits, whatever the global random state."""
    history = subject.history(seed=4)
    np.random.seed(1)  # noqa: NPY002  # the global state is what must not matter
    first = subject.over(history, _STEPS)
    np.random.seed(2)  # noqa: NPY002  # the global state is what must not matter
    second = subject.over(history, _STEPS)
    _expect_equal(second, first, "the component runs a second time", 0.0)


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
            require(not np.isinf(panel).any(), f"{name} is infinite in the {what} market")
            low, high = subject.bounds.get(name, (-np.inf, np.inf))
            outside = (panel < low) | (panel > high)
            require(not outside.any(), f"{name} leaves {low:g}..{high:g} in the {what} market")


def silent_where_unknown(subject: Subject) -> None:
    """A symbol without any data gets NaN, never a number."""
    history = subject.history(seed=6)
    unknown = history.after(
        0, lambda panel: np.where(np.arange(panel.shape[1]) == 1, np.nan, panel)
    )
    name, panel = next(iter(subject.over(unknown, _STEPS).items()))
    require(bool(np.isnan(panel[:, 1]).all()), f"{name} is a number where nothing is known")
    require(not bool(np.isnan(panel[-1, 0])), f"{name} is NaN for a symbol with all data")


def stale_is_unknown(subject: Subject) -> None:
    """A metric whose source stopped long ago counts as one that never had a value.

    Its age is still known, and so are its values within the warm-up: neither may stand for a
    current value.
    """
    history = subject.history(seed=10)
    stopped = subject.over(history.without_metrics(history.rows - _STEPS - _STALE_ROWS), _STEPS)
    never = subject.over(history.without_metrics(0), _STEPS)
    _expect_equal(stopped, never, "metrics that stopped long ago are removed", 0.0)


def leaves_inputs_alone(subject: Subject) -> None:
    """The component writes to nothing its view holds, and answers it the same again."""
    view = subject.view(subject.history(seed=7), _STEPS)
    before = digests_of(view)
    first = {name: panel.copy() for name, panel in subject.evaluate(view).items()}
    features = digests_of(view)
    again = subject.evaluate(view)
    after = digests_of(view)
    written = [
        name
        for digests in (before, features)
        for name in digests
        if digests[name] != after.get(name)
    ]
    require(not written, f"wrote to {', '.join(dict.fromkeys(written))} of its view")
    _expect_equal(again, first, "it answers the same view again", 0.0)


def asks_the_view_alone(subject: Subject) -> None:
    """The component uses no file, host or program: none proves when its data was known."""
    view = subject.view(subject.history(seed=10), _STEPS)
    with watching() as watch:
        subject.evaluate(view)
    require(
        not watch.events,
        f"{'; '.join(watch.events)} while it computed. Nothing proves that such data was known at "
        "the row: read it when the module is imported if it never changes, or bring it by a "
        "provider, as a metric",
    )


def ignores_column_order(subject: Subject) -> None:
    """Symbols in another order get the same answers."""
    history = subject.history(seed=8)
    order = np.array([2, 0, 3, 1])
    straight = subject.over(history, 5)
    reordered = subject.over(history.columns(order), 5)
    wanted = {n: p[:, order] for n, p in straight.items()} if subject.by_symbol else straight
    _expect_equal(reordered, wanted, "columns were reordered")


def imports_light(subject: Subject) -> None:
    """Importing the component's module imports none of the heavy packages."""
    require_light_import(type(subject.component).__module__)


def trains_reproducibly(subject: TrainedSubject) -> None:
    """Two trainings on the same rows with the same seed give the same artifact."""
    first, second = subject.train(), subject.train()
    require(first.card == second.card, "the card differs the second time")
    for name, content in first.files.items():
        require(content == second.files.get(name), f"{name} differs the second time")


def keeps_safe_artifacts(subject: TrainedSubject) -> None:
    """The artifact has files of safe formats only, and a card of JSON values."""
    check_files(subject.artifact, subject.title)


def says_what_it_needs(subject: TrainedSubject) -> None:
    """A training on three rows succeeds, or fails with a reason."""
    try:
        subject.train(rows=3)
    except LearningError as error:
        require(bool(str(error)), "too little history is refused without a message")


def judges_each_row(subject: TrainedSubject) -> None:
    """`evaluate` gives each row a loss and a baseline, NaN where the outcome is not known yet.

    A regime is judged by the return that ends at each row, which is known; a forecast or a size by
    an outcome that the last row cannot know.
    """
    has_outcome = subject.component.kind != "regime"
    evaluation = subject.judge(_JUDGED_ROWS)
    for name, losses in (("loss", evaluation.loss), ("baseline", evaluation.baseline)):
        shape = getattr(losses, "shape", type(losses).__name__)
        require(shape == (_JUDGED_ROWS,), f"{name} has shape {shape}, expected ({_JUDGED_ROWS},)")
        require(not np.isinf(losses).any(), f"{name} is infinite")
        looks_ahead = has_outcome and not np.isnan(losses[-1])
        require(not looks_ahead, f"{name} of the last row is a number: it looks ahead")
    judged = ~np.isnan(evaluation.loss)
    require(bool(judged.any()), f"no row of {_JUDGED_ROWS} has a loss")
    lacking = judged & np.isnan(evaluation.baseline)
    require(not lacking.any(), f"{lacking.sum()} rows have a loss without a baseline")


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
"""The checks of every component that answers a view, in the order they run."""

TRAINED_CHECKS: dict[str, Callable[[TrainedSubject], None]] = {
    check.__name__: check
    for check in (trains_reproducibly, keeps_safe_artifacts, says_what_it_needs, judges_each_row)
}
"""Further checks of a component that is trained."""


def checks_of(subject: Subject) -> dict[str, Callable[[], None]]:
    """Return the checks that apply to a component, by name."""
    checks: dict[str, Callable[[], None]] = {
        name: partial(check, subject) for name, check in CHECKS.items()
    }
    if not (subject.by_symbol and subject.may_be_silent):
        del checks[silent_where_unknown.__name__]
    if isinstance(subject, TrainedSubject):
        checks |= {name: partial(check, subject) for name, check in TRAINED_CHECKS.items()}
    return checks


def _expect_equal(
    panels: Panels, expected: Panels, when: str, tolerance: float = TOLERANCE
) -> None:
    require(panels.keys() == expected.keys(), f"other panels once {when}: {sorted(panels)}")
    for name, panel in panels.items():
        wanted = expected[name]
        require(panel.shape == wanted.shape, f"{name} has shape {panel.shape} once {when}")
        same_gaps = np.isnan(panel) == np.isnan(wanted)
        require(bool(same_gaps.all()), f"{name} is NaN in other places once {when}")
        off = np.nanmax(np.abs(panel - wanted), initial=0.0)
        scale = max(1.0, np.nanmax(np.abs(wanted), initial=0.0)) if tolerance else 1.0
        require(bool(off <= tolerance * scale), f"{name} changes by {off:.3g} once {when}")
