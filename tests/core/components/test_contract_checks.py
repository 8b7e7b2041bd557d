"""Answers of components: each wrong one is refused by name, and what passes belongs to the host."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from weft import Forecast, Fusion, Levels, RegimeState, Scores, Sizes
from weft.components.contract_checks import (
    checked_feature,
    checked_forecast,
    checked_fusion,
    checked_levels,
    checked_regime,
    checked_scores,
    checked_sizes,
    checked_universe,
)
from weft.foundation.arrays import is_read_only
from weft.foundation.errors import ComponentError
from weft.market.view import View
from weft.testing import random_history

STEPS, SYMBOLS = 3, 4
SHAPE = (STEPS, SYMBOLS)
LONG = np.ones(SHAPE, dtype=np.int8)


def full(value: float) -> Any:
    return np.full(SHAPE, value)


def view() -> View:
    return random_history(0, rows=STEPS, symbols=SYMBOLS).view([], steps=STEPS)


def universe() -> Any:
    return np.ones(SHAPE, dtype=np.bool_)


def scores() -> Scores:
    return Scores(full(50.0), full(0.5), {"change": full(0.1)})


def forecast() -> Forecast:
    return Forecast(full(0.0), full(0.5), {0.05: full(-1.0), 0.95: full(1.0)}, {"spread": full(2)})


def regime() -> RegimeState:
    chances = np.full((STEPS, 2), 0.5)
    return RegimeState(("up", "down"), chances, np.full((2, 2), 0.5), np.ones(2))


def fusion() -> Fusion:
    return Fusion(full(80.0), full(0.4), LONG, {"one": full(0.25), "two": full(0.75)}, False)


def levels() -> Levels:
    return Levels(full(100.0), full(90.0), full(120.0), {"var_99": full(0.1)})


def sizes() -> Sizes:
    return Sizes(full(0.1), {"kelly": full(0.2)})


def feature() -> Mapping[str, Any]:
    return {"line": np.zeros((STEPS + 2, SYMBOLS)), "signal": full(1.0)}


Check = Callable[[object], object]
CHECKS: dict[str, tuple[Callable[[], Any], Check]] = {
    "universe": (universe, lambda answer: checked_universe(answer, view(), "x")),
    "scores": (scores, lambda answer: checked_scores(answer, view(), "x")),
    "forecast": (forecast, lambda answer: checked_forecast(answer, view(), "x")),
    "regime": (regime, lambda answer: checked_regime(answer, view(), "x")),
    "fusion": (fusion, lambda answer: checked_fusion(answer, view(), "x", ["one", "two"])),
    "levels": (levels, lambda answer: checked_levels(answer, view(), "x", LONG)),
    "sizes": (sizes, lambda answer: checked_sizes(answer, view(), "x")),
    "feature": (feature, lambda answer: checked_feature(answer, ["line", "signal"], view(), "x")),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_a_sound_answer_passes(kind: str) -> None:
    sound, check = CHECKS[kind]
    check(sound())


async def _later() -> None:
    """What a method written `async def` by mistake returns."""


@pytest.mark.parametrize("kind", CHECKS)
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: None, "None"),
        (lambda: "LONG", "a str"),
        (lambda: 0.5, "a float"),
        (lambda: [[0.0]], "a list"),
        (_later, "a coroutine"),
    ],
)
def test_no_kind_of_component_may_answer_something_else(
    kind: str, answer: Callable[[], object], said: str
) -> None:
    with pytest.raises(ComponentError, match=f"^x: returned {said}") as caught:
        CHECKS[kind][1](answer())
    assert "expected" in caught.value.message
    assert caught.value.hint


def with_cell(value: float, fill: float = 0.0) -> Any:
    panel = full(fill)
    panel[1, 2] = value
    return panel


WRONG: list[tuple[str, dict[str, Any], str]] = [
    # Arrays that are none, of another shape, or of something else than numbers.
    ("scores", {"score": np.zeros((STEPS, 1))}, r"score as a panel of \(3, 1\), expected \(3, 4\)"),
    ("scores", {"score": [[0.0] * SYMBOLS] * STEPS}, "a list as score, expected a NumPy array"),
    ("scores", {"score": np.ma.MaskedArray(full(0.0))}, "a MaskedArray as score"),
    ("scores", {"score": full(0.0).astype(object)}, "score of dtype object, expected numbers"),
    ("scores", {"score": full(0.0).astype(complex)}, "score of dtype complex128"),
    ("scores", {"confidence": np.full(SHAPE, "0.5")}, "confidence of dtype <U3"),
    ("scores", {"evidence": [full(1.0)]}, "a list as its evidence, expected a mapping"),
    ("scores", {"evidence": {1: full(1.0)}}, "evidence under the key 1, expected a text"),
    ("scores", {"evidence": {"change": 0.1}}, "a float as evidence 'change'"),
    # Numbers out of bounds.
    ("scores", {"score": with_cell(101.0)}, "score of 101 for COIN2USDT, expected -100 to 100"),
    ("scores", {"score": with_cell(np.inf)}, "score of inf for COIN2USDT"),
    ("scores", {"confidence": with_cell(-0.1)}, "confidence of -0.1 for COIN2USDT"),
    ("scores", {"confidence": with_cell(np.nan)}, "confidence of NaN with a score, for COIN2USDT"),
    ("forecast", {"probability_up": with_cell(1.5)}, "probability_up of 1.5"),
    ("forecast", {"mean": with_cell(-np.inf)}, "mean of -inf for COIN2USDT, expected a finite"),
    (
        "forecast",
        {"quantiles": {0.05: full(1.0), 0.95: full(0.0)}},
        "quantiles 0.05 and 0.95 cross",
    ),
    ("forecast", {"quantiles": {"0.05": full(1.0)}}, "quantile at level '0.05'"),
    ("regime", {"names": ["up", "down"]}, "expected a tuple of texts"),
    ("regime", {"names": ("up", "up")}, "two of them alike"),
    ("regime", {"probability": np.full((STEPS, 3), 1 / 3)}, r"probability as a panel of \(3, 3\)"),
    ("regime", {"probability": np.full((STEPS, 2), 0.6)}, "probability with rows that do not add"),
    ("regime", {"multipliers": np.array([0.5, 1.5])}, r"multipliers \[0.5 1.5\], expected 2"),
    # An ensemble that contradicts itself.
    ("fusion", {"score": full(-80.0)}, r"direction LONG with a score on the other side \(-80\)"),
    ("fusion", {"direction": full(1.0)}, "direction of dtype float64, expected whole numbers"),
    ("fusion", {"direction": np.full(SHAPE, 257)}, "direction of 257, expected -1, 0 or 1"),
    ("fusion", {"score": with_cell(np.nan)}, "score that is not a number, for COIN2USDT"),
    ("fusion", {"confidence": full(1.01)}, "confidence of 1.01 for"),
    ("fusion", {"calibrated": "yes"}, "'yes' as `calibrated`, expected True or False"),
    ("fusion", {"weights": None}, "None as its weights"),
    ("fusion", {"weights": {"one": full(1.0)}}, r"weights of \['one'\], expected those of"),
    ("fusion", {"weights": {"one": full(7.0), "two": full(7.0)}}, "weight of one of 7"),
    ("fusion", {"weights": {"one": full(0.7), "two": full(0.7)}}, r"do not add up to 1 \(1.4\)"),
    # Levels on the wrong side, missing, or no prices.
    ("levels", {"stop_loss": full(101.0)}, r"stop_loss on the wrong side .* of a LONG \(101\)"),
    ("levels", {"take_profit": full(99.0)}, r"take_profit on the wrong side .* of a LONG \(99\)"),
    ("levels", {"stop_loss": with_cell(np.nan, 90.0)}, "entry without a stop_loss, for COIN2USDT"),
    ("levels", {"entry": with_cell(0.0, 100.0)}, r"entry that is no price \(0\), for COIN2USDT"),
    ("levels", {"take_profit": full(np.inf)}, "take_profit of inf"),
    ("levels", {"figures": {"var_99": np.zeros(SYMBOLS)}}, "figures 'var_99' as a panel"),
    ("sizes", {"fraction": with_cell(-0.1)}, "size of -0.1 for COIN2USDT, expected 0 or more"),
    ("sizes", {"fraction": full(np.inf)}, "size of inf"),
    ("sizes", {"full": full(0.05)}, r"size above its full size \(0.1\), for COIN0USDT"),
    ("sizes", {"full": full(np.nan)}, "size above its full size"),
    ("sizes", {"full": full(np.inf)}, "full size of inf"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_a_wrong_part_is_refused_with_its_name_what_came_and_what_was_expected(
    kind: str, changes: dict[str, Any], said: str
) -> None:
    sound, check = CHECKS[kind]
    with pytest.raises(ComponentError, match=said) as caught:
        check(replace(sound(), **changes))
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.ones(SHAPE, dtype=np.int64), "members of dtype int64, expected True and False"),
        (np.ones(SYMBOLS, dtype=np.bool_), r"members as a panel of \(4,\)"),
        ({"line": full(0.0)}, r"the outputs \['line'\], expected \['line', 'signal'\]"),
        ({"line": full(0.0), "signal": np.zeros((2, 4))}, r"'signal' as a panel of \(2, 4\)"),
    ],
)
def test_universes_and_features_are_checked_as_well(answer: object, said: str) -> None:
    kind = "feature" if isinstance(answer, dict) else "universe"
    with pytest.raises(ComponentError, match=said):
        CHECKS[kind][1](answer)


def test_no_layer_and_no_opinion_is_an_answer() -> None:
    nothing = Fusion(full(0.0), full(0.0), np.zeros(SHAPE, dtype=np.int8), {}, False)
    assert checked_fusion(nothing, view(), "x", []).weights == {}
    silent = {"one": full(0.0), "two": full(0.0)}
    checked_fusion(replace(nothing, weights=silent), view(), "x", ["one", "two"])
    checked_scores(Scores(full(np.nan), full(np.nan)), view(), "x")
    neutral = np.zeros(SHAPE, dtype=np.int8)
    checked_levels(Levels(full(1.0), full(np.nan), full(np.nan)), view(), "x", neutral)


def test_a_short_has_its_levels_the_other_way_round() -> None:
    placed = Levels(full(100.0), full(110.0), full(80.0))
    checked_levels(placed, view(), "x", -LONG)
    with pytest.raises(ComponentError, match="wrong side of the entry of a SHORT"):
        checked_levels(levels(), view(), "x", -LONG)


def arrays_in(answer: object) -> list[Any]:
    if isinstance(answer, np.ndarray):
        return [answer]
    parts: list[Any] = list(answer.values()) if isinstance(answer, Mapping) else []
    if hasattr(answer, "__dataclass_fields__"):
        parts = [getattr(answer, name) for name in answer.__dataclass_fields__]
    return [array for part in parts for array in arrays_in(part)]


@pytest.mark.parametrize("kind", CHECKS)
def test_what_a_component_keeps_and_changes_later_changes_no_answer(kind: str) -> None:
    sound, check = CHECKS[kind]
    kept = sound()
    checked = check(kept)
    expected = [array.copy() for array in arrays_in(checked)]
    assert expected
    for array in arrays_in(kept):
        array[...] = 0
    for array, before in zip(arrays_in(checked), expected, strict=True):
        assert_array_equal(array, before)
        assert is_read_only(array)
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            array.setflags(write=True)


def test_whole_numbers_and_small_floats_become_floats() -> None:
    said = checked_scores(Scores(np.full(SHAPE, 5), full(0.5).astype(np.float32)), view(), "x")
    assert str(said.score.dtype) == str(said.confidence.dtype) == "float64"
