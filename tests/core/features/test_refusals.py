"""The engine: what it refuses, what it says then, and panels at the edge of what it takes."""

from dataclasses import replace

import numpy as np
import pytest

from tests.core.features.steps import (
    BLOCK_START,
    Echo,
    Mean,
    columns,
    compute_all,
    live_panel,
    panel,
)
from weft.components.feature import Bar, step
from weft.domain.candles import FIELDS
from weft.features.engine import FeatureEngine
from weft.foundation.arrays import Floats
from weft.foundation.errors import ComponentError, DataError


def test_more_rows_than_there_are() -> None:
    with pytest.raises(DataError, match="echo: 11 rows are wanted of a panel of 10"):
        FeatureEngine(1).panels(Echo(), panel(columns(10)), 11)


def test_compile_names_each_feature_as_it_is_ready() -> None:
    ready: list[str] = []
    FeatureEngine(1).compile([Mean(), Echo()], ready.append)
    assert ready == ["mean", "echo"]


def test_candles_whose_panels_do_not_fit() -> None:
    candles = panel(columns(10))
    for wrong in ({"high": candles.high[:9]}, {"presence": candles.presence[:, :2]}):
        with pytest.raises(DataError, match="candles: panels and times of one shape expected, got"):
            FeatureEngine(1).panels(Echo(), replace(candles, **wrong), 10)


class Raises(Mean):
    """Raises at one price."""

    name = "raises"

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        if bar.close == 7.0:
            raise ValueError
        state[0] += 1.0
        state[1] += bar.close
        out[0] = state[1]
        out[1] = state[0]


def test_a_step_that_raises_is_named_and_harms_no_other() -> None:
    values = columns(60)
    values["close"][40, 1] = 7.0
    candles = panel(values, BLOCK_START - 20)
    engine = FeatureEngine(1)
    for end in range(30, 60):
        newest = live_panel(candles, end)
        for feature in (Raises(), Mean()):
            if feature.name == "raises" and end > 40:
                with pytest.raises(ComponentError, match="feature raises: the compiled step"):
                    engine.panels(feature, newest, 1)
                continue
            for _ in range(2):
                found = engine.panels(feature, newest, 1)
                np.testing.assert_array_equal(
                    np.array(list(found.values())), compute_all(feature, newest, 1)
                )


def test_panels_that_are_not_contiguous() -> None:
    values = columns(60)
    candles = panel(values)
    turned = replace(
        candles, high=np.asfortranarray(candles.high), close=np.asfortranarray(candles.close)
    )
    found = FeatureEngine(1).panels(Echo(), turned, 60)
    for name in FIELDS:
        np.testing.assert_array_equal(found[name], values[name])


def test_no_rows_of_a_panel_that_grows() -> None:
    candles = panel(columns(60), BLOCK_START - 20)
    engine = FeatureEngine(1)
    for end in range(20, 60):
        assert engine.panels(Mean(), live_panel(candles, end), 0)["mean"].shape == (0, 3)
    found = engine.panels(Mean(), live_panel(candles, 60), 2)["mean"]
    np.testing.assert_array_equal(found, compute_all(Mean(), candles, 2)[0])


def test_no_symbols_and_no_rows() -> None:
    engine = FeatureEngine(2)
    assert engine.panels(Mean(), panel(columns(10, symbols=0)), 10)["mean"].shape == (10, 0)
    assert engine.panels(Mean(), panel(columns(10)), 0)["mean"].shape == (0, 3)
