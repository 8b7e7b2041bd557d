"""The checks of portfolio risks: what they find, and that sound ones pass."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from weft import candles
from weft.components.portfolio_risk import (
    PortfolioEstimate,
    PortfolioLosses,
    PortfolioRisk,
    PositionRisk,
)
from weft.foundation.times import Interval
from weft.market.view import View
from weft.testing import check_portfolio_risk, parametrize_with_checks


class Sound(PortfolioRisk):
    """Loses each position's size times its last absolute return."""

    name = "sound"
    needs = (candles(warmup=0),)

    def rows(self, interval: Interval) -> int:
        return 10

    def moved(self, view: View, symbol: str) -> float:
        close = view.candles().close[:, view.symbols.index(symbol)]
        return float(abs(close[-1] / close[-2] - 1.0))

    def measure(self, view: View, positions: Mapping[str, float]) -> PortfolioEstimate:
        lost = {s: abs(share) * self.moved(view, s) for s, share in positions.items()}
        known = {symbol: loss for symbol, loss in lost.items() if np.isfinite(loss)}
        missing = {symbol: "no return" for symbol in lost if symbol not in known}
        if not known:
            return PortfolioEstimate(None, left_out=missing)
        total = sum(known.values())
        parts = {symbol: PositionRisk(loss) for symbol, loss in known.items()}
        losses = PortfolioLosses(view.horizon, {0.95: total}, {0.95: total})
        return PortfolioEstimate(losses, parts, left_out=missing)


class Random(Sound):
    name = "random"

    def moved(self, view: View, symbol: str) -> float:
        return float(np.random.rand())  # noqa: NPY002  # the mistake


class Forgets(Sound):
    name = "forgets"

    def measure(self, view: View, positions: Mapping[str, float]) -> PortfolioEstimate:
        return super().measure(view, dict(list(positions.items())[:1]))


class Crowded(Sound):
    name = "crowded"

    def moved(self, view: View, symbol: str) -> float:
        return super().moved(view, symbol) * len(view.symbols)


class Guesses(Sound):
    name = "guesses"

    def moved(self, view: View, symbol: str) -> float:
        return float(np.nan_to_num(super().moved(view, symbol)))


class Explodes(Sound):
    name = "explodes"

    def moved(self, view: View, symbol: str) -> float:
        moved = super().moved(view, symbol)
        return moved * moved / moved


class Writes(Sound):
    name = "writes"

    def measure(self, view: View, positions: Mapping[str, float]) -> PortfolioEstimate:
        estimate = super().measure(view, positions)
        if isinstance(positions, dict):
            positions.clear()
        return estimate


class Opens(Sound):
    name = "opens"

    def moved(self, view: View, symbol: str) -> float:
        with suppress(OSError):
            Path("positions.csv").read_text()
        return super().moved(view, symbol)


def failures(risk: PortfolioRisk) -> set[str]:
    # This module imports pytest, and no package that counts as heavy.
    return {one.name for one in check_portfolio_risk(risk).results if not one.passed}


def test_a_sound_portfolio_risk_passes() -> None:
    assert failures(Sound()) - {"imports_light"} == set()


@pytest.mark.parametrize(
    ("bad", "check"),
    [
        (Random(), "deterministic"),
        (Forgets(), "answers_for_each_position"),
        (Crowded(), "ignores_other_symbols"),
        (Guesses(), "leaves_out_the_unknown"),
        (Explodes(), "stays_finite"),
        (Writes(), "leaves_inputs_alone"),
        (Opens(), "asks_the_view_alone"),
    ],
)
def test_a_portfolio_risk_that_breaks_the_contract_is_found(bad: PortfolioRisk, check: str) -> None:
    assert check in failures(bad)


def test_an_excused_failure_passes_with_its_reason() -> None:
    excused = {"leaves_out_the_unknown": "takes it for cash", "imports_light": "a test"}
    report = check_portfolio_risk(Guesses(), expected_failures=excused)
    assert report.passed


def test_the_checks_by_rows_name_the_check_of_portfolio_risks() -> None:
    with pytest.raises(TypeError, match=r"check_portfolio_risk\(\) and parametrize_"):
        parametrize_with_checks([Sound()])  # type: ignore[list-item]  # the mistake
