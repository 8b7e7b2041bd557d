"""Signals as bytes: equal ones alike, others not, and never a number that JSON does not have."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import sample_signal
from weft.domain.signal import (
    DataProvenance,
    Direction,
    ForecastReport,
    LayerReport,
    LayerStatus,
    RegimeReport,
    Report,
    Signal,
    Versions,
    number,
    to_json,
    with_id,
    with_rounded_figures,
)

finite = st.floats(allow_nan=False, allow_infinity=False).map(number)
maybe = st.one_of(st.none(), finite)
names = st.text(st.characters(codec="utf-8"), max_size=8)
texts = st.dictionaries(names, names, max_size=3)

layers = st.builds(
    LayerReport,
    name=names,
    score=maybe,
    weight=finite,
    confidence=maybe,
    status=st.sampled_from(LayerStatus),
    evidence=st.dictionaries(names, maybe, max_size=3),
)
figures = st.dictionaries(names, maybe, max_size=2)
forecasts = st.builds(
    ForecastReport,
    model=names,
    artifact=names,
    trust=finite,
    probability_up=maybe,
    mean=maybe,
    quantiles=figures,
    evidence=figures,
)
regimes = st.builds(
    RegimeReport,
    name=names,
    trust=st.floats(0.0, 1.0),
    probability=figures,
    change_probability=maybe,
    expected_duration=maybe,
    position_multiplier=maybe,
    artifact=names,
)
signals = st.builds(
    Signal,
    id=st.just(""),
    symbol=names,
    as_of=names,
    interval=names,
    horizon=names,
    direction=st.sampled_from(Direction),
    score=finite,
    confidence=finite,
    calibrated=st.booleans(),
    entry=maybe,
    stop_loss=maybe,
    take_profit=maybe,
    risk_reward=maybe,
    position_size=finite,
    layers=st.lists(layers, max_size=3).map(tuple),
    missing_layers=texts,
    forecasts=st.lists(forecasts, max_size=2).map(tuple),
    regime=st.none() | regimes,
    risk=figures,
    sizing=figures,
    missing_models=texts,
    data=st.builds(
        DataProvenance,
        names,
        names,
        names,
        st.none() | names,
        maybe,
        finite,
        st.lists(names, max_size=2).map(tuple),
        st.dictionaries(names, finite, max_size=2),
    ),
    versions=st.builds(Versions, names, names, texts, texts),
)

PLAIN = replace(sample_signal(), id="")


def other(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    changes: list[tuple[type, Callable[[Any], Any]]] = [
        (bool, lambda v: not v),
        (Enum, lambda v: next(member for member in type(v) if member is not v)),
        (str, lambda v: v + "x"),
        (float, lambda v: math.nextafter(v, math.inf)),
        (tuple, lambda v: v[:-1]),
        (dict, lambda v: {**v, "another": "x"}),
    ]
    return next(change(value) for kind, change in changes if isinstance(value, kind))


def changed(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """This dataclass with each one field in it changed, however deep."""
    made: list[tuple[str, Any]] = []
    for field in fields(value):
        inner, where = getattr(value, field.name), f"{path}{field.name}"
        if field.name == "id":
            continue
        if is_dataclass(inner):
            made += [(w, replace(value, **{field.name: v})) for w, v in changed(inner, where + ".")]
        else:
            made.append((where, replace(value, **{field.name: other(inner)})))
    return made


def read(text: bytes) -> Any:
    """JSON by the standard library, which would let NaN and infinities through."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(signals)
def test_a_signal_reads_back_as_it_was(signal: Signal) -> None:
    assert read(signal.to_json()) == read(json.dumps(signal.to_dict()).encode())
    assert read(signal.to_json())["score"] == signal.score


@given(signals)
def test_equal_signals_have_equal_ids_and_equal_bytes(signal: Signal) -> None:
    def backwards(mapping: Mapping[str, str]) -> dict[str, str]:
        return dict(reversed(list(mapping.items())))

    shuffled = replace(
        signal,
        missing_layers=backwards(signal.missing_layers),
        versions=replace(signal.versions, plugins=backwards(signal.versions.plugins)),
    )
    assert shuffled == signal
    assert with_id(shuffled) == with_id(signal)
    assert with_id(shuffled).to_json() == with_id(signal).to_json()


@given(signals)
def test_an_id_is_not_part_of_what_it_names(signal: Signal) -> None:
    named = with_id(signal)
    assert with_id(named) == named
    assert with_id(replace(signal, id="anything")) == named
    assert replace(named, id="") == signal
    assert len(named.id) == 32


@given(signals, signals)
def test_signals_that_differ_have_different_ids(one: Signal, two: Signal) -> None:
    assert (with_id(one).id == with_id(two).id) == (one == two)


@pytest.mark.parametrize(("where", "signal"), changed(PLAIN))
def test_any_field_changed_makes_another_id(where: str, signal: Signal) -> None:
    assert with_id(signal).id != with_id(PLAIN).id, where


def test_a_layer_changed_makes_another_id() -> None:
    for where, layer in changed(PLAIN.layers[0]):
        assert with_id(replace(PLAIN, layers=(layer,))).id != with_id(PLAIN).id, where


def test_the_bytes_of_a_signal_are_fixed() -> None:
    """Whoever stored an id can check it with any later Weft, or with any JSON library."""
    by_others = json.dumps(PLAIN.to_dict(), sort_keys=True, separators=(",", ":"))
    assert PLAIN.to_json() == by_others.encode()
    assert with_id(PLAIN).id == hashlib.sha256(by_others.encode()).hexdigest()[:32]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_becomes_null(value: float) -> None:
    assert number(value) is None
    assert number(np.float64(value)) is None
    assert read(to_json({"score": value})) == {"score": None}
    assert read(replace(PLAIN, score=value).to_json())["score"] is None


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_finite_number_stays_what_it_is(value: float) -> None:
    assert number(value) == value
    assert type(number(np.float64(value))) is float
    assert read(to_json([number(value)])) == [value]


def test_what_json_has_no_word_for_is_refused() -> None:
    with pytest.raises(TypeError):
        to_json({"when": object()})
    assert to_json(MappingProxyType({"b": 1, "a": 2})) == b'{"a":2,"b":1}'


def test_minus_zero_is_zero_for_it_equals_it() -> None:
    assert math.copysign(1.0, number(-0.0) or 0.0) == 1.0
    assert to_json(number(-0.0)) == to_json(0.0)


@given(signals)
def test_rounding_a_second_time_changes_nothing(signal: Signal) -> None:
    rounded = with_rounded_figures(signal)
    assert with_rounded_figures(rounded) == rounded


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_figures_keep_nine_digits(value: float) -> None:
    kept = with_rounded_figures(replace(PLAIN, score=value)).score
    assert kept == float(Decimal(value).__format__(".8e"))
    assert kept == pytest.approx(value, rel=5.01e-9)


def test_every_figure_is_rounded_and_nothing_else_changes() -> None:
    third = 1.0 / 3.0
    layer = replace(PLAIN.layers[0], score=third, evidence={"rsi": third, "none": None})
    signal = replace(PLAIN, entry=None, layers=(layer,), risk={"var_99": third})
    found = with_rounded_figures(signal)
    assert found.layers[0].score == found.risk["var_99"] == 0.333333333
    assert found.layers[0].evidence == {"rsi": 0.333333333, "none": None}
    assert replace(found, layers=(layer,), risk={"var_99": third}) == signal


def test_a_report_is_json_as_well() -> None:
    report = Report("2026-01-01T00:00:00Z", "real", (with_id(PLAIN),), {"ETHUSDT": "no candle"})
    found = read(report.to_json())
    assert found["signals"][0]["id"] == with_id(PLAIN).id
    assert found["omitted"] == {"ETHUSDT": "no candle"}
    assert list(found) == sorted(found)
