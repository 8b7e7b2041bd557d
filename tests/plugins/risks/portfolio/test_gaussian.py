"""The built-in portfolio risk keeps to its contract, and measures what closed forms say."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from weft.components.portfolio_risk import PortfolioEstimate
from weft.domain.instruments import describe
from weft.foundation.errors import NoDataError
from weft.foundation.times import Interval
from weft.testing import parametrize_portfolio_risk_checks
from weft.testing.history import History
from weft_plugins.risks.portfolio.gaussian import Gaussian

H1 = Interval.parse("1h")


@parametrize_portfolio_risk_checks([Gaussian(Gaussian.Config(days=20, paths=2000))])
def test_the_built_in_portfolio_risk_keeps_to_its_contract(check: Callable[[], None]) -> None:
    check()


def coins(*closes: np.ndarray) -> History:
    """Return hourly candles without wicks."""
    close = np.stack(closes, axis=1)
    candles = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    names = tuple(describe(f"{letter}USDT") for letter in "ABCD"[: len(closes)])
    return History(H1, names, candles, {})


def measured(horizon: int, risk: Gaussian | None = None) -> PortfolioEstimate:
    """Return the estimate for a long and a short in independent coins of 1 % an hour."""
    risk = risk or Gaussian()
    returns = 0.01 * np.random.default_rng(0).standard_normal((2, risk.rows(H1)))
    history = coins(*100.0 * np.exp(np.cumsum(returns, axis=1)))
    view = history.view(list(risk.needs), steps=history.rows, horizon=horizon)
    return risk.measure(view, {"AUSDT": 0.1, "BUSDT": -0.1})


@pytest.mark.parametrize("horizon", [1, 12, 48])
def test_losses_are_those_of_the_horizon_that_they_name(horizon: int) -> None:
    losses = measured(horizon).losses
    assert losses is not None
    assert losses.horizon == horizon
    deviation = 0.1 * 0.01 * np.sqrt(2.0 * horizon)
    for level in (0.95, 0.99):
        assert losses.value_at_risk[level] == pytest.approx(deviation * norm.ppf(level), rel=0.1)


def test_a_seed_fixes_the_figures_and_another_changes_them() -> None:
    first, other = (Gaussian(Gaussian.Config(seed=seed)) for seed in (0, 1))
    assert measured(12, first) == measured(12)
    assert measured(12, other).losses != measured(12).losses


def test_too_short_a_window_is_refused_with_the_option_to_raise() -> None:
    risk = Gaussian(Gaussian.Config(days=2))
    history = coins(np.full(risk.rows(H1), 100.0))
    view = history.view(list(risk.needs), steps=history.rows)
    with pytest.raises(NoDataError, match=r"48 returns of 1h candles.*portfolio_risk\.days"):
        risk.measure(view, {"AUSDT": 1.0})
