"""The view: what it shows a component, what it keeps back, and what it refuses."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from weft.components.feature import Feature, PanelFeature
from weft.components.needs import CandleNeed, FeatureNeed, MetricNeed, Need
from weft.components.needs import feature as feature_need
from weft.domain.candles import FIELDS, Candles, aggregate, candles_from_arrays
from weft.domain.instruments import Instrument
from weft.features.engine import FeatureEngine
from weft.foundation.arrays import FloatPanel, Times
from weft.foundation.errors import ComponentError, DataError
from weft.foundation.times import HOUR, Interval, parse_time
from weft.market.data import MarketData
from weft.market.metrics import MetricPanel
from weft.market.plan import make_plan
from weft.market.view import View
from weft_plugins.features.momentum import Rsi

M30, H1, H4 = (Interval.parse(name) for name in ("30m", "1h", "4h"))
ROWS, COLUMNS = 20_000, 3
LAST = parse_time("2024-03-01T13:00:00Z")
COINS = tuple(
    Instrument(symbol=s, base=s[:3], quote="USDT") for s in ("AAAUSDT", "BBBUSDT", "CCCUSDT")
)
RSI = feature_need("rsi", window=5)


class Change(PanelFeature):
    """Change of the close over two rows: a panel feature with a declared warm-up."""

    name = "change"
    outputs: ClassVar[tuple[str, ...]] = ("change", "members")
    asked: Sequence[int] = ()

    @property
    def needs(self) -> Sequence[Need]:
        return (CandleNeed(None, 2), RSI)

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        close = view.candles().close
        view.feature(RSI)
        return {"change": close[2:] - close[:-2], "members": view.universe.astype(np.float64)}


class OneRowShort(Change):
    name = "short"
    outputs = ("change",)

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        return {"change": view.candles().close[3:]}


class NoFeatureAtAll(Feature):
    name = "none"
    outputs = ("none",)


MADE: dict[str, Callable[[], Feature]] = {
    "change": lambda: Change(Change.Config()),
    "short": lambda: OneRowShort(OneRowShort.Config()),
    "none": lambda: NoFeatureAtAll(NoFeatureAtAll.Config()),
}


def make_feature(need: FeatureNeed) -> Feature:
    if need.name in MADE:
        return MADE[need.name]()
    return Rsi(Rsi.Config.model_validate(dict(need.params)))


CLOSE = np.exp(np.random.default_rng(3).normal(0, 0.01, (ROWS, COLUMNS)).cumsum(axis=0)) * 100
CLOSE[-40:-38, 1] = np.nan


def base_panel(rows: int, last: int = LAST) -> Candles:
    """The last rows of one fixed market of half-hour candles."""
    stop = ROWS - (LAST - last) // M30.micros
    kept = CLOSE[stop - rows : stop]
    columns = {name: kept * (1 + 0.001 * k) for k, name in enumerate(FIELDS)}
    times = last - np.arange(rows - 1, -1, -1, dtype=np.int64) * M30.micros
    return candles_from_arrays(M30, times, COINS, columns)


def told(name: str, rows: Times) -> MetricPanel:
    """A metric that counts cells."""
    shape = (len(rows), COLUMNS)
    values = np.arange(len(rows) * COLUMNS, dtype=np.float64).reshape(shape)
    zeros, ones = np.zeros(shape), np.ones(shape, dtype=np.int8)
    return MetricPanel(name, rows, values, zeros, ones, np.full(shape, np.nan))


def view_of(*needs: Need, steps: int = 1, last: int = LAST) -> View:
    """A view as the market makes it, at a one-hour decision interval over half-hour candles."""
    plan = make_plan(H1, M30, needs, make_feature)
    first = last - (steps - 1) * HOUR
    base = base_panel(plan.base_rows(first, last, sessions=False), last)
    candles = {M30: base}
    for interval in plan.intervals:
        if interval != M30:
            opened = plan.first_open(interval, first, sessions=False)
            start = (opened - int(base.times[0])) // M30.micros + 1
            candles[interval] = aggregate(base.slice(start, len(base)), interval)
    metrics = {name: partial(told, name) for name in plan.metrics}
    data = MarketData(H1, COINS, candles, metrics, make_feature, FeatureEngine(1))
    return View(data, steps, needs, "layer test")


def test_a_view_says_what_it_is_about() -> None:
    view = view_of(steps=3)
    assert (view.interval, view.steps, view.as_of) == (H1, 3, LAST)
    assert view.times.tolist() == [LAST - 2 * HOUR, LAST - HOUR, LAST]
    assert view.symbols == ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    assert view.instruments == COINS
    assert view.universe.shape == (3, COLUMNS)
    assert view.universe.all()


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("interval", ["30m", "1h", "4h"])
def test_candles_are_the_warmup_and_the_rows_since_the_first_decision(
    interval: str, steps: int
) -> None:
    wanted = Interval.parse(interval)
    found = view_of(CandleNeed(wanted, 6), CandleNeed(None, 50), steps=steps).candles(interval)
    if wanted == H1:
        assert len(found) == 50 + steps  # the neediest declaration counts
    else:
        first = wanted.floor(LAST - (steps - 1) * HOUR)
        assert found.times[6] == first
        assert found.times[-1] == wanted.floor(LAST)


def test_candles_of_the_decision_interval_are_the_ones_meant_when_none_is_named() -> None:
    view = view_of(CandleNeed(None, 3))
    assert_array_equal(view.candles().close, view.candles("60m").close)


def test_a_view_without_needs_shows_everything_loaded() -> None:
    view = view_of(CandleNeed(None, 10), MetricNeed("funding_rate", 4))
    everything = View(view._data, 1)
    assert len(everything.candles()) == 11
    assert len(everything.metric("funding_rate").times) == 1


def test_a_metric_is_cut_to_its_declared_warmup() -> None:
    view = view_of(MetricNeed("a", 4), MetricNeed("a", 2), MetricNeed("b", 0), steps=2)
    a, b = view.metric("a"), view.metric("b")
    assert (len(a.times), len(a.values), len(a.age_seconds)) == (6, 6, 6)
    assert a.times[-2:].tolist() == view.times.tolist() == b.times.tolist()
    assert a.values[-1].tolist() == [15.0, 16.0, 17.0]


def test_a_warmup_longer_than_the_panel_gives_the_whole_panel() -> None:
    view = view_of(MetricNeed("a", 2), steps=2)
    asking = View(view._data, 2, [MetricNeed("a", 10**6)])
    assert len(asking.metric("a").times) == len(view._data.candles[H1])


@pytest.mark.parametrize(
    "ask",
    [
        lambda view: view.candles(),
        lambda view: view.candles("4h"),
        lambda view: view.candles("5m"),
        lambda view: view.metric("funding_rate"),
        lambda view: view.feature("rsi", window=6),
        lambda view: view.feature("rsi", window=5, lookback=3),
        lambda view: view.feature("rsi", window=5, interval="4h"),
        lambda view: view.frame("AAAUSDT"),
    ],
)
def test_what_was_not_declared_is_refused_with_the_declaration_to_add(
    ask: Callable[[View], object],
) -> None:
    view = view_of(CandleNeed(M30, 1), FeatureNeed("rsi", (("window", 5),), None, 2))
    with pytest.raises(ComponentError, match=r"layer test.*does not declare.*Add .* to its needs"):
        ask(view)


def test_arrays_of_a_view_refuse_to_be_written_to() -> None:
    view = view_of(CandleNeed(H4, 2), MetricNeed("a", 1), RSI, feature_need("change"), steps=2)
    candles, metric = view.candles("4h"), view.metric("a")
    members = view.with_universe(np.ones((2, COLUMNS), dtype=np.bool_)).universe
    for array in (
        candles.close,
        candles.times,
        candles.presence,
        metric.values,
        metric.age_seconds,
        view.times,
        view.feature(RSI),
        view.feature("change"),
        members,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[-1] = 0


# Features


@given(st.integers(1, 5), st.integers(0, 30), st.integers(0, 8))
@settings(max_examples=25)
def test_rows_of_a_view_are_the_views_of_its_rows(steps: int, back: int, lookback: int) -> None:
    """Many steps at once say for each row what one step at that row says: bit for bit."""
    last = LAST - back * HOUR
    for interval in (None, "30m", "4h"):
        rsi = feature_need("rsi", interval=interval, lookback=lookback, window=5)
        change = feature_need("change", lookback=lookback)
        whole = view_of(rsi, change, steps=steps, last=last)
        assert whole.feature(rsi).shape == (steps + lookback, COLUMNS)
        for step in range(steps):
            one = view_of(rsi, change, last=last - (steps - 1 - step) * HOUR)
            for need in (rsi, change):
                assert_array_equal(
                    whole.feature(need)[step : step + lookback + 1], one.feature(need)
                )


def test_a_coarse_feature_reaches_each_decision_row_as_the_last_candle_closed() -> None:
    rsi = feature_need("rsi", interval="4h", window=5)
    found = view_of(rsi, steps=9).feature(rsi)[:, 0]
    changed = [k for k in range(1, 9) if found[k] != found[k - 1]]
    closes = [LAST - (8 - k) * HOUR for k in changed]
    assert closes
    assert all(H4.floor(close) == close for close in closes)


def test_a_feature_asked_for_by_a_feature_on_more_rows_keeps_its_own_rows() -> None:
    change = feature_need("change", lookback=4)
    view = view_of(change, RSI, steps=2)
    assert view.feature(change).shape == (6, COLUMNS)
    assert view.feature(RSI).shape == (2, COLUMNS)
    assert_array_equal(view_of(RSI, steps=2).feature(RSI), view.feature(RSI))


def test_a_panel_feature_sees_the_universe_once_it_is_chosen() -> None:
    need = feature_need("change")
    view = view_of(need, RSI, steps=2)
    assert view.feature(need, output="members").all()
    rsi = view.feature(RSI)
    members = np.array([[True, False, True]] * 2)
    chosen = view.with_universe(members)
    assert_array_equal(chosen.feature(need, output="members"), members)
    assert chosen.feature(RSI) is rsi  # over candles alone, and so not computed again
    assert view.feature(need, output="members").all()


def test_the_universe_is_not_known_on_rows_before_the_decision_rows() -> None:
    need = feature_need("change", lookback=1)
    chosen = view_of(need, steps=2).with_universe(np.ones((2, COLUMNS), dtype=np.bool_))
    with pytest.raises(ComponentError, match="universe on rows before"):
        chosen.feature(need)


def test_an_unknown_output_is_told_with_the_known_ones() -> None:
    view = view_of(feature_need("change"))
    with pytest.raises(ComponentError, match=r"no output 'chnge'.*change, members"):
        view.feature("change", output="chnge")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("short", r"returned .change. as a panel of \(1, 3\), expected"),
        ("none", "neither a PanelFeature nor"),
    ],
)
def test_a_feature_that_breaks_its_contract_is_named(name: str, message: str) -> None:
    need = FeatureNeed(name, (), None, 0)
    with pytest.raises(ComponentError, match=message) as caught:
        view_of(need, steps=2).feature(need)
    assert name in str(caught.value)


# What people and components make of it


def test_a_frame_holds_the_candles_that_traded() -> None:
    view = view_of(CandleNeed(M30, 60))
    frame = view.frame("BBBUSDT", "30m")
    panel = view.candles("30m")
    assert frame.columns == ["close_time", *FIELDS]
    assert frame.schema["close_time"] == pl.Datetime("us", "UTC")
    assert len(frame) == len(panel) - 2
    traded = ~np.isnan(panel.close[:, 1])
    assert frame["close_time"].to_physical().to_list() == panel.times[traded].tolist()
    assert_array_equal(frame["high"].to_numpy(), panel.high[traded, 1])


def test_a_frame_of_an_unknown_symbol_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(DataError, match="Did you mean AAAUSDT"):
        view_of(CandleNeed(None, 1)).frame("AAAUSD")


@given(st.integers(1, 6), st.integers(0, 5), st.integers(0, 6))
def test_align_gives_each_decision_row_the_last_value_known_by_then(
    steps: int, warmup: int, kept: int
) -> None:
    view = view_of(CandleNeed(H4, warmup), steps=steps)
    candles = view.candles("4h")
    kept = min(kept, len(candles))
    values = np.arange(kept * COLUMNS, dtype=np.float64).reshape(kept, COLUMNS)
    found = view.align(values, candles)
    times = candles.times[len(candles) - kept :].tolist()
    for row, instant in enumerate(view.times.tolist()):
        known = [k for k, time in enumerate(times) if time <= instant]
        expected = values[known[-1]] if known else np.full(COLUMNS, np.nan)
        assert_array_equal(found[row], expected)


def test_scores_are_cut_to_the_decision_rows() -> None:
    view = view_of(steps=2)
    panel = np.arange(15.0).reshape(5, COLUMNS)
    scores = view.scores(panel, evidence={"twice": panel * 2})
    assert_array_equal(scores.score, panel[3:])
    assert_array_equal(scores.confidence, np.ones((2, COLUMNS)))
    assert_array_equal(scores.evidence["twice"], panel[3:] * 2)
    assert_array_equal(view.scores(panel, confidence=panel / 20).confidence, panel[3:] / 20)
    assert_array_equal(view.scores(panel, confidence=0.5).confidence, np.full((2, COLUMNS), 0.5))


@pytest.mark.parametrize("shape", [(1, COLUMNS), (2, COLUMNS + 1), (6,), (2, COLUMNS, 1)])
def test_scores_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ComponentError, match=r"layer test.*has shape"):
        view_of(steps=2).scores(np.zeros(shape))


def test_a_restricted_view_names_the_component_it_is_for() -> None:
    view = view_of(CandleNeed(None, 9)).restricted([CandleNeed(None, 2)], "layer other")
    assert len(view.candles()) == 3
    with pytest.raises(ComponentError, match="layer other"):
        view.metric("a")
