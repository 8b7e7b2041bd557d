"""Checks of portfolio risks: what positions in several symbols can lose together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from weft.components.contract_checks import checked_portfolio_estimate
from weft.components.portfolio_risk import PortfolioEstimate, PortfolioRisk
from weft.foundation.calls import call
from weft.market.view import View
from weft.testing.history import History, random_history
from weft.testing.report import (
    Checks,
    ConformanceReport,
    parametrize,
    require_light_import,
    run_checks,
)
from weft.testing.watching import digests_of, watching

if TYPE_CHECKING:
    import pytest

_DEADLINE_SECONDS = 20.0
_SPARE_ROWS = 200
_FRACTIONS: Final = (0.5, -0.3, 0.2, -0.1)


def check_portfolio_risk(
    risk: PortfolioRisk, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a portfolio risk against its contract. It measures positions in random markets.

    Args:
        risk: with options under which it answers within seconds.
        expected_failures: names of checks it is known to fail, and why that is right.
    """
    return run_checks(risk.title(), _bound(risk), expected_failures)


def parametrize_portfolio_risk_checks(risks: Sequence[PortfolioRisk]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each portfolio risk and check.

    The test takes one argument, ``check``, and calls it.
    """
    return parametrize((risk.name, _bound(risk)) for risk in risks)


def answers_for_each_position(risk: PortfolioRisk) -> None:
    """Each position is measured or left out, and the answer keeps to the contract."""
    for seed, flaws in ((1, False), (2, True)):
        history = _history(risk, seed, flaws=flaws)
        for positions in (_positions(history), _one_position(history)):
            _measure(risk, history, positions)


def ignores_the_future(risk: PortfolioRisk) -> None:
    """Replacing later rows by another market changes no bit of the answer."""
    history = _history(risk, 3, rows=50)
    known = history.rows - 50
    other = history.noisy_after(known, np.random.default_rng(0)).cut(known)
    positions = _positions(history)
    _expect_equal(
        _measure(risk, history.cut(known), positions),
        _measure(risk, other, positions),
        "once the future was replaced",
    )


def deterministic(risk: PortfolioRisk) -> None:
    """The same view and positions give the same bits, whatever the global random state."""
    history = _history(risk, 4)
    positions = _positions(history)
    first = _measure(risk, history, positions)
    np.random.seed(1)  # noqa: NPY002  # the global state that must not matter
    _expect_equal(first, _measure(risk, history, positions), "the second time")


def ignores_other_symbols(risk: PortfolioRisk) -> None:
    """Columns of symbols without a position change no bit of the answer."""
    history = _history(risk, 5)
    positions = dict(list(_positions(history).items())[:2])
    fewer = history.columns(np.array([0, 1, 3]))
    _expect_equal(
        _measure(risk, history, positions),
        _measure(risk, fewer, positions),
        "without a symbol that has no position",
    )


def leaves_out_the_unknown(risk: PortfolioRisk) -> None:
    """A symbol without any candle is left out with a reason, and the others are measured."""
    history = _history(risk, 6, flaws=False)
    unknown = history.after(0, lambda p: np.where(np.arange(p.shape[1]) == 1, np.nan, p))
    estimate = _measure(risk, unknown, _positions(unknown))
    symbol = unknown.instruments[1].symbol
    if not estimate.left_out.get(symbol):
        raise AssertionError(f"measured {symbol}, which has no candle, or left it out unexplained")


def stays_finite(risk: PortfolioRisk) -> None:
    """Markets that do not move, explode or are tiny give finite figures, or leave positions out."""
    history = _history(risk, 7, flaws=False)
    for market in (
        history.after(0, np.ones_like),
        history.after(history.rows - 20, lambda panel: panel * 1e6),
        history.after(0, lambda panel: panel * 1e-9),
    ):
        _measure(risk, market, _positions(market))


def leaves_inputs_alone(risk: PortfolioRisk) -> None:
    """Neither the view nor the positions are written to."""
    history = _history(risk, 8)
    view, positions = _view(risk, history), _positions(history)
    handed = dict(positions)
    before = digests_of(view)
    _answer(risk, view, handed)
    if digests_of(view) != before or handed != positions:
        raise AssertionError("wrote to the view or to the positions that it was handed")


def asks_the_view_alone(risk: PortfolioRisk) -> None:
    """No file, host or program is asked: nothing proves when their content was known."""
    history = _history(risk, 9)
    view, positions = _view(risk, history), _positions(history)
    _answer(risk, view, positions)
    with watching() as watch:
        _answer(risk, view, positions)
    if watch.events:
        raise AssertionError(f"{watch.events[0]} while it measured")


def imports_light(risk: PortfolioRisk) -> None:
    """Importing the portfolio risk's module imports none of the heavy packages."""
    require_light_import(type(risk).__module__)


PORTFOLIO_RISK_CHECKS: Final[Mapping[str, Callable[[PortfolioRisk], None]]] = {
    check.__name__: check
    for check in (
        answers_for_each_position,
        ignores_the_future,
        deterministic,
        ignores_other_symbols,
        leaves_out_the_unknown,
        stays_finite,
        leaves_inputs_alone,
        asks_the_view_alone,
        imports_light,
    )
}
"""Every check of a portfolio risk by name, in the order they run."""


def _bound(risk: PortfolioRisk) -> Checks:
    return {name: partial(check, risk) for name, check in PORTFOLIO_RISK_CHECKS.items()}


def _history(risk: PortfolioRisk, seed: int, *, flaws: bool = True, rows: int = 0) -> History:
    """Return a random market with as many rows as the component looks back over, and spare ones."""
    interval = random_history(seed, rows=2).interval
    return random_history(seed, rows=rows + risk.rows(interval) + _SPARE_ROWS, flaws=flaws)


def _view(risk: PortfolioRisk, history: History) -> View:
    steps = risk.rows(history.interval)
    return history.view(list(risk.needs), steps=steps, component=risk.title())


def _positions(history: History) -> dict[str, float]:
    symbols = (instrument.symbol for instrument in history.instruments)
    return dict(zip(symbols, _FRACTIONS, strict=True))


def _one_position(history: History) -> dict[str, float]:
    return dict(list(_positions(history).items())[2:3])


def _measure(
    risk: PortfolioRisk, history: History, positions: Mapping[str, float]
) -> PortfolioEstimate:
    answer = _answer(risk, _view(risk, history), positions)
    return checked_portfolio_estimate(answer, positions, risk.title())


def _answer(risk: PortfolioRisk, view: View, positions: Mapping[str, float]) -> object:
    """Return the unchecked answer; an exception of the component's becomes a ComponentError."""
    return call(risk.title(), lambda: risk.measure(view, positions), _DEADLINE_SECONDS)


def _expect_equal(one: PortfolioEstimate, other: PortfolioEstimate, when: str) -> None:
    for field in fields(PortfolioEstimate):
        if getattr(one, field.name) != getattr(other, field.name):
            raise AssertionError(f"{field.name} of the answer differs {when}")
