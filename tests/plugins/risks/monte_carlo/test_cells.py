"""What a cell takes from the shared paths, and what it is fitted to."""

import numpy as np
import pytest

from weft.foundation.arrays import FloatPanel
from weft_plugins.risks.monte_carlo.barriers import NO_JUMPS, Table, shapes_around
from weft_plugins.risks.monte_carlo.cells import first_passage, losses
from weft_plugins.risks.monte_carlo.fits import Fits, Spans, fit_cells
from weft_plugins.risks.monte_carlo.merton import fit_merton
from weft_plugins.risks.monte_carlo.mixtures import UNCERTAINTIES
from weft_plugins.risks.monte_carlo.tails import expected_shortfall, value_at_risk
from weft_plugins.risks.monte_carlo.uncertainty import uncertainty_of

PATHS = 2230
ENDS = np.sort(np.random.default_rng(0).standard_t(3, PATHS))
TAIL = PATHS // 20 + 2
LEVELS = np.geomspace(1.0, 16.0, 5)
COUNT = len(UNCERTAINTIES)
WIDER = 1.0 + np.arange(COUNT)[:, None]
TABLE = Table(
    worst=ENDS[:TAIL] * WIDER,
    best=ENDS[-TAIL:] * WIDER,
    paths=PATHS,
    falls=np.array([1.0, 3.0]) * WIDER,
    rises=np.array([1.5, 4.0]) * WIDER,
    distances=LEVELS,
    down_first=np.full((COUNT, 5, 5), 0.4),
    up_first=np.full((COUNT, 5, 5), 0.3),
    both=np.full((COUNT, 5, 5), 0.1),
    wick_above=1.0,
    wick_below=1.0,
)


@pytest.mark.parametrize("long", [True, False])
@pytest.mark.parametrize(("uncertainty", "times"), [(0.0, 1.0), (0.0875, 1.5), (0.7, 5.0), (2, 5)])
def test_losses_are_those_of_all_paths_at_the_cells_width(
    long: bool, uncertainty: float, times: float
) -> None:
    stated = np.array([0.001, 0.02, 0.1])
    found = losses(TABLE, long, stated, np.full(3, uncertainty))
    # Paths are wider by this much at that uncertainty.
    for k, width in enumerate(stated * times):
        lost = -np.expm1(width * ENDS) if long else np.expm1(width * ENDS)
        for percent in (95, 99):
            level = percent / 100
            # 5 % of 2,230 paths are 111.5: the loss at the edge counts by half.
            assert found[f"var_{percent}"][k] == pytest.approx(value_at_risk(lost, level))
            assert found[f"cvar_{percent}"][k] == pytest.approx(
                expected_shortfall(lost, level), rel=1e-9
            )
        wider = -np.expm1(3 * width * ENDS) if long else np.expm1(3 * width * ENDS)
        assert found["stress_3x_var_99"][k] == pytest.approx(value_at_risk(wider, 0.99))
        depth = width * (3.0 if long else 4.0)
        fallen = -np.expm1(-depth) if long else np.expm1(depth)
        assert found["drawdown_95"][k] == pytest.approx(fallen)


def test_within_one_candle_the_stop_comes_first() -> None:
    two, one = np.array([2.0, 2.0]), np.ones(2)
    stopped, reached = first_passage(
        TABLE, np.array([1.0, -1.0]), one, np.array([0.0, 0.3]), two, two, one, one
    )
    np.testing.assert_allclose(stopped, [0.5, 0.4])
    np.testing.assert_allclose(reached, [0.3, 0.4])


def fitted(close: FloatPanel, volatility: FloatPanel, steps: int, index: int, spans: Spans) -> Fits:
    """What cells of markets that never close are like."""
    change = np.full_like(close, np.nan)
    change[1:] = np.log(close[1:] / close[:-1])
    shut = np.zeros(close.shape, dtype=np.bool_)
    pace = np.ones((steps, close.shape[1]))
    return fit_cells(
        change, shut, np.where(np.isnan(close), np.nan, volatility), pace, index, spans
    )


def test_a_cell_is_fitted_to_returns_over_the_volatility_a_candle_before() -> None:
    rng = np.random.default_rng(1)
    rows, index, window, refit = 900, 100_005, 300, 24
    volatility = np.exp(0.3 * rng.normal(size=(rows, 1))) * 0.01
    jumped = (rng.random((rows, 1)) < 0.05) * rng.normal(0, 6.0, (rows, 1))
    change = (rng.normal(size=(rows, 1)) + jumped) * np.vstack([volatility[:1], volatility[:-1]])
    close = 100 * np.exp(np.cumsum(change, axis=0))
    steps = 40
    found = fitted(close, volatility, steps, index, Spans(window, 500, 12, refit))
    scaled = np.log(close[1:] / close[:-1]) / volatility[:-1]
    for row in range(steps):
        at = index - (steps - 1 - row)
        stop = len(scaled) - (index - at // refit * refit)
        fit = fit_merton(scaled[stop - window : stop, 0])
        now = volatility[rows - steps + row, 0]
        assert fit.intensity > 0.0
        assert found.intensity[row, 0] == pytest.approx(fit.intensity)
        assert found.jump_deviation[row, 0] == pytest.approx(
            fit.jump_deviation / fit.cumulants[1] ** 0.5 * now
        )
        assert found.deviation[row, 0] == now
        past = slice(stop - 500, stop)
        known = uncertainty_of(np.diff(np.log(close[:, 0]))[past], volatility[1:, 0][past], 12)
        assert found.uncertainty[row, 0] == pytest.approx(known, rel=1e-9)
        weights = {shape: panel[row, 0] for shape, panel in found.weights.items()}
        around = shapes_around(fit)
        assert {s: w for s, w in weights.items() if w > 0} == pytest.approx(around)


def test_what_is_unknown_has_no_weight() -> None:
    rng = np.random.default_rng(2)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (600, 3)), axis=0))
    volatility = np.full((600, 3), 0.01)
    close[-1, 0] = np.nan
    volatility[-2, 1] = 0.0
    close[:-40, 2] = np.nan
    found = fitted(close, volatility, 3, 1000, Spans(200, 300, 12, 1))
    np.testing.assert_array_equal(
        found.known, [[True, True, False], [True, False, False], [False, True, False]]
    )
    np.testing.assert_array_equal(found.weights[NO_JUMPS], found.known.astype(float))
    for panel in (found.deviation, found.uncertainty):
        np.testing.assert_array_equal(np.isfinite(panel), found.known)
