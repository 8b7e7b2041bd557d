"""Answers of portfolio risks: what the contract refuses, and that answers are copied."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from weft.components.contract_checks import checked_portfolio_estimate
from weft.components.portfolio_risk import (
    CorrelationRepair,
    PortfolioEstimate,
    PortfolioLosses,
    PositionRisk,
)
from weft.foundation.errors import ComponentError

POSITIONS = {"AUSDT": 0.5, "BUSDT": -0.2, "CUSDT": 0.1}
LOSSES = PortfolioLosses(12, {0.95: 0.02, 0.99: 0.03}, {0.95: 0.025, 0.99: 0.04}, {0.5: 0.01})
SOUND = PortfolioEstimate(
    losses=LOSSES,
    positions={"AUSDT": PositionRisk(0.03, 0.01, 500), "BUSDT": PositionRisk(-0.005)},
    left_out={"CUSDT": "too few returns"},
    stresses={"volatility_2x": replace(LOSSES, horizon=1)},
    shocks={"crash": -0.1},
    repair=CorrelationRepair(False, 0.1, 0.0, 0.0),
    basis={"rows": 500, "since": "2024-01-01T00:00:00Z", "decay": 0.97, "weekends": True},
    notes=("normal returns",),
)


def checked(answer: object) -> PortfolioEstimate:
    return checked_portfolio_estimate(answer, POSITIONS, "portfolio_risk test")


def test_a_sound_answer_passes_unchanged() -> None:
    assert checked(SOUND) == SOUND
    nothing = PortfolioEstimate(None, left_out=dict.fromkeys(POSITIONS, "no returns"))
    assert checked(nothing) == nothing


def test_an_answer_is_copied_and_read_only() -> None:
    shocks = {"crash": 0.1}
    answer = checked(replace(SOUND, shocks=shocks))
    shocks["crash"] = 0.2
    assert answer.shocks == {"crash": 0.1}
    with pytest.raises(TypeError):
        answer.shocks["crash"] = 0.3  # type: ignore[index]  # the mistake


def test_numbers_of_numpy_become_floats() -> None:
    shortfall: dict[float, Any] = {0.95: np.float32(0.025)}
    losses = PortfolioLosses(12, {0.95: np.float64(0.02)}, shortfall)
    answer = checked(replace(SOUND, losses=losses))
    assert answer.losses is not None
    assert type(answer.losses.value_at_risk[0.95]) is float
    assert type(answer.losses.expected_shortfall[0.95]) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"losses": 0.02}, "returned a float, expected PortfolioLosses"),
        ({"losses": replace(LOSSES, horizon=0)}, "horizon of 0, expected decision rows, 1 or more"),
        (
            {"losses": PortfolioLosses("12h", {}, {})},  # type: ignore[arg-type]  # the mistake
            "horizon of '12h', expected decision rows",
        ),
        ({"losses": replace(LOSSES, value_at_risk={95: 0.02})}, "at level 95, expected a number"),
        ({"losses": replace(LOSSES, value_at_risk={0.95: 0.02})}, "expected the same ones"),
        (
            {"losses": replace(LOSSES, value_at_risk={0.95: 0.03, 0.99: 0.02})},
            "0.03 at 0.95 and 0.02 at 0.99, expected one that does not fall",
        ),
        (
            {"losses": replace(LOSSES, expected_shortfall={0.95: 0.01, 0.99: 0.04})},
            "expected_shortfall of 0.01 below the value_at_risk of 0.02 at 0.95",
        ),
        (
            {"losses": replace(LOSSES, drawdown={0.5: float("nan")})},
            "returned nan as losses: drawdown, expected a finite number",
        ),
        ({"losses": None}, "returned no losses with 2 measured positions"),
        ({"contribution_level": 0.9}, "expected the expected_shortfall of None at 0.9"),
        ({"contribution_level": 0.99}, "add up to 0.025, expected the expected_shortfall of 0.04"),
        ({"left_out": {}}, r"answered for \['AUSDT', 'BUSDT'\], expected each of"),
        ({"left_out": {"CUSDT": "", "AUSDT": ""}}, r"\['AUSDT', 'AUSDT', 'BUSDT', 'CUSDT'\]"),
        ({"positions": {"AUSDT": 0.03, "BUSDT": -0.005}}, "expected PositionRisk"),
        (
            {"positions": {"AUSDT": PositionRisk(0.025, -1.0), "BUSDT": PositionRisk(0.0)}},
            "volatility of -1 for position 'AUSDT', expected 0 or more",
        ),
        ({"stresses": [LOSSES]}, "returned a list as its stresses, expected a mapping"),
        ({"shocks": {"crash": float("inf")}}, "returned inf as shock 'crash'"),
        ({"shocks": {"crash": True}}, "returned True as shock 'crash'"),
        ({"basis": {"rows": np.arange(3)}}, "as 'rows' of its basis, expected a text or a number"),
        ({"repair": "none"}, "returned a str, expected CorrelationRepair"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ComponentError, match=message):
        checked(replace(SOUND, **changes))


def test_an_answer_of_another_type_is_refused() -> None:
    with pytest.raises(ComponentError, match="returned None, expected PortfolioEstimate"):
        checked(None)
