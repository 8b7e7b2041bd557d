"""The conformance kit catches every way of cheating it is meant to catch, and no honest layer."""

from collections.abc import Iterator
from itertools import count
from typing import ClassVar

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from weft import Layer, Scores, StepFeature, View, candles, metric, step
from weft.components.feature import Bar
from weft.foundation.arrays import FloatPanel, Floats
from weft.testing import check_feature, check_layer

WINDOW = 20


def squeezed(panel: FloatPanel) -> FloatPanel:
    return np.asarray(100 * np.tanh(panel), dtype=np.float64)


class Honest(Layer):
    """Log return over a window."""

    name = "honest"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        path = np.log(view.candles().close)
        return view.scores(squeezed(10 * (path[WINDOW:] - path[:-WINDOW])))


class HonestAverage(Layer):
    """Mean over a trailing window, with the warm-up it takes."""

    name = "honest_average"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        mean = sliding_window_view(close, WINDOW, axis=0).mean(axis=-1)
        return view.scores(squeezed(close[-len(mean) :] / mean - 1))


class NextReturn(Layer):
    """Scores a row by the candle that comes after it."""

    name = "next_return"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        path = np.log(view.candles().close)
        ahead = np.vstack([path[1:] - path[:-1], np.zeros((1, path.shape[1]))])
        return view.scores(np.where(np.isnan(path), np.nan, squeezed(100 * ahead)))


class CentredWindow(Layer):
    """Smooths with a window that reaches ten candles ahead."""

    name = "centred_window"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        padded = np.vstack([close, np.repeat(close[-1:], WINDOW // 2, axis=0)])
        mean = sliding_window_view(padded, WINDOW, axis=0).mean(axis=-1)
        return view.scores(squeezed(close[-len(mean) :] / mean - 1))


class ScaledByEverything(Layer):
    """Standardises by the mean and spread of all rows, the later ones included."""

    name = "scaled_by_everything"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        path = np.log(view.candles().close)
        change = path[WINDOW:] - path[:-WINDOW]
        known = ~np.isnan(change)
        total = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, change, 0).sum(axis=0) / total
        spread = np.sqrt(np.where(known, (change - mean) ** 2, 0).sum(axis=0) / total) + 1e-9
        return view.scores(squeezed((change - mean) / spread))


class FilledBackwards(Layer):
    """Fills holes with the next candle that comes."""

    name = "filled_backwards"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        close = view.candles().close[::-1]
        rows = np.where(np.isnan(close), 0, np.arange(len(close))[:, None])
        filled = np.take_along_axis(close, np.maximum.accumulate(rows), axis=0)[::-1]
        path = np.log(filled)
        return view.scores(squeezed(10 * (path[WINDOW:] - path[:-WINDOW])))


class ShortWarmup(Layer):
    """Runs an exponential average over a warm-up too short for it."""

    name = "short_warmup"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        mean = close.copy()
        for row in range(1, len(close)):
            before = np.where(np.isnan(mean[row - 1]), close[row], mean[row - 1])
            mean[row] = before + 0.05 * (close[row] - before)
        return view.scores(squeezed(close / mean - 1))


class Random(Layer):
    """Draws from the global random state."""

    name = "random"
    needs: ClassVar = [candles(warmup=0)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        noise = np.random.uniform(-1, 1, close.shape)  # noqa: NPY002  # the fault to be caught
        return view.scores(np.where(np.isnan(close), np.nan, noise))


class Remembers(Layer):
    """Answers by how often it was asked before."""

    name = "remembers"
    needs: ClassVar = [candles(warmup=0)]
    calls: ClassVar[Iterator[int]] = count()

    def score(self, view: View) -> Scores:
        close = view.candles().close
        return view.scores(np.where(np.isnan(close), np.nan, next(self.calls) % 7))


class ZeroForUnknown(Layer):
    """Has an opinion on what nothing is known of."""

    name = "zero_for_unknown"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        path = np.log(view.candles().close)
        return view.scores(np.nan_to_num(squeezed(10 * (path[WINDOW:] - path[:-WINDOW]))))


class ByPosition(Layer):
    """Favours the first column."""

    name = "by_position"
    needs: ClassVar = [candles(warmup=0)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        favour = np.arange(close.shape[1], dtype=np.float64)
        return view.scores(np.where(np.isnan(close), np.nan, favour))


class Unbounded(Layer):
    """Leaves the range of a score when prices jump."""

    name = "unbounded"
    needs: ClassVar = [candles(warmup=WINDOW)]

    def score(self, view: View) -> Scores:
        path = np.log(view.candles().close)
        return view.scores(100 * (path[WINDOW:] - path[:-WINDOW]))


class LastKnown(Layer):
    """Takes the last value a metric had for the present one, however old that is."""

    name = "last_known"
    needs: ClassVar = [candles(warmup=0), metric("fear_greed", warmup=300)]

    def score(self, view: View) -> Scores:
        values = view.metric("fear_greed").values
        rows = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
        filled = np.take_along_axis(values, np.maximum.accumulate(rows), axis=0)[-view.steps :]
        close = view.candles().close[-view.steps :]
        return view.scores(np.where(np.isnan(close), np.nan, squeezed(filled)))


class CountsByAge(Layer):
    """Counts a source that has stopped for what the age of its last value says."""

    name = "counts_by_age"
    needs: ClassVar = [candles(warmup=0), metric("fear_greed", warmup=300)]

    def score(self, view: View) -> Scores:
        age = view.metric("fear_greed").age_seconds[-view.steps :]
        close = view.candles().close[-view.steps :]
        return view.scores(np.where(np.isnan(close + age), np.nan, 1.0))


CHEATS: dict[type[Layer], set[str]] = {
    NextReturn: {"prefix_invariance", "future_poison", "steps_agree"},
    CentredWindow: {"prefix_invariance", "future_poison", "steps_agree"},
    ScaledByEverything: {"prefix_invariance", "future_poison", "steps_agree"},
    FilledBackwards: {"prefix_invariance", "steps_agree"},
    ShortWarmup: {"steps_agree"},
    Random: {"deterministic"},
    Remembers: {"deterministic"},
    ZeroForUnknown: {"silent_where_unknown"},
    ByPosition: {"ignores_column_order"},
    Unbounded: {"in_range"},
    LastKnown: {"stale_is_unknown"},
    CountsByAge: {"stale_is_unknown"},
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheating_layer_is_caught(cheat: type[Layer]) -> None:
    report = check_layer(cheat())
    failed = {result.name for result in report.results if not result.passed}
    assert failed >= CHEATS[cheat], report
    assert not report.passed
    with pytest.raises(AssertionError, match=cheat.name):
        report.raise_if_failed()


@pytest.mark.parametrize("honest", [Honest, HonestAverage])
def test_an_honest_layer_is_not_accused(honest: type[Layer]) -> None:
    # Its module is this test, which pytest may import, but a bare interpreter may not.
    excuse = {"imports_light": "a test module cannot be imported by itself"}
    check_layer(honest(), expected_failures=excuse).raise_if_failed()


def test_an_excuse_covers_only_the_check_it_names() -> None:
    report = check_layer(NextReturn(), expected_failures={"prefix_invariance": "by design"})
    assert not report.passed


class TooShort(StepFeature):
    """A slow average that claims to forget its start in five candles."""

    name = "too_short"
    outputs = ("average",)
    warmup = 5
    state_size = 2

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # static
        """Take one candle."""
        state[1] += (0.01 if state[0] > 0.0 else 1.0) * (bar.close - state[1])
        state[0] = 1.0
        out[0] = state[1]


def test_a_feature_whose_warmup_is_too_short_still_answers_alike_wherever_it_starts() -> None:
    """The calendar fixes the start, so a short warm-up costs accuracy, never agreement."""
    report = check_feature(TooShort())
    results = {result.name: result.passed for result in report.results}
    assert results["steps_agree"]
    assert results["prefix_invariance"]
