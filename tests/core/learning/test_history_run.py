"""Decisions over a long history: the same numbers for any block size."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from tests.support import ALONE, fetch, make_engine
from weft import Artifact, Evaluation, Forecast, Layer, Model, Scores, Training, View, candles
from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.model import Regime, RegimeState
from weft.components.needs import Need, feature, forecasts, regime
from weft.components.risk import Levels, Sizer, Sizes
from weft.components.trained import ComposedDecisions, LoadedArtifact, Trained
from weft.compose.composing import Composed, compose
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ComponentError
from weft.foundation.times import HOUR, parse_time, to_datetime
from weft.learning.champions import ActiveArtifacts
from weft.learning.history_run import ROWS_AT_ONCE, compose_history

START = parse_time("2025-09-01T00:00:00Z")
ROWS = 2900
LAST = START + ROWS * HOUR
LATE_FROM = 1300
COMPOSED = 2500
VOLATILITY = feature("volatility", window=48)
NEEDS = (candles(warmup=0), VOLATILITY, forecasts(), regime())
IN_USE = ActiveArtifacts(
    {
        "models.drifting": LoadedArtifact("aa" * 16, 0.5, 0.7),
        "regime": LoadedArtifact("bb" * 16, 0.02, 1.0),
    },
    {},
)
_PRICES = ("entry", "stop_loss", "take_profit")


class Untrained(Trained):
    """A component that is used without a training."""

    def fit(self, view: View, training: Training) -> Artifact:
        raise NotImplementedError

    def load(self, artifact: Artifact) -> Any:
        raise NotImplementedError


class Drifting(Untrained, Model):
    """Model that forecasts a share of the last day's return, and fails on some rows."""

    name = "drifting"
    fails_from: ClassVar[int | None] = None

    class Config(ComponentConfig):
        """Options."""

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=24)]

    def predict(self, view: View) -> Forecast:
        if Drifting.fails_from is not None and view.times[0] >= Drifting.fails_from:
            raise ComponentError("cannot say", where="model drifting")
        close = np.log(view.candles().close)
        mean = view.learned * (close[-view.steps :] - close[-view.steps - 24 : -24])
        chance = 1.0 / (1.0 + np.exp(-50.0 * mean))
        return Forecast(mean, chance, {0.1: mean - 0.02, 0.9: mean + 0.02}, {"doubt": mean**2})


class Waving(Untrained, Regime):
    """Regime by the last return of the first symbol."""

    name = "waving"

    class Config(ComponentConfig):
        """Options."""

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=1)]

    def detect(self, view: View) -> RegimeState:
        close = view.candles().close[:, 0]
        rose = 1.0 / (1.0 + np.exp(-np.diff(np.log(close))[-view.steps :] / view.learned))
        chances = np.stack([rose, 1.0 - rose], axis=1)
        return RegimeState(("up", "down"), chances, np.eye(2) * 0.8 + 0.1, np.array([1.0, 0.5]))

    def evaluate(self, view: View, training: Training) -> Evaluation:
        raise NotImplementedError


class Counting(Layer):
    """Layer without scores that records the rows of its views."""

    name = "counting"
    steps: ClassVar[list[int]] = []

    class Config(ComponentConfig):
        """Options."""

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=0)]

    def score(self, view: View) -> Scores:
        Counting.steps.append(view.steps)
        return view.scores(np.full((view.steps, len(view.symbols)), np.nan))


class Noting(Trained, Sizer):
    """Sizer that holds nothing and records its training data."""

    name = "noting"
    learns_from_decisions = True
    seen: ClassVar[list[tuple[View, ComposedDecisions]]] = []
    judged: ClassVar[list[ComposedDecisions]] = []

    class Config(ComponentConfig):
        """Options."""

    @property
    def needs(self) -> Sequence[Need]:
        return NEEDS

    def fit(self, view: View, training: Training) -> Artifact:
        assert training.decisions is not None
        Noting.seen.append((view, training.decisions))
        training.progress(1, 2)
        training.progress(2, 2)
        return Artifact({}, {"number": len(Noting.seen)})

    def load(self, artifact: Artifact) -> bool:
        return True

    def evaluate(self, view: View, training: Training) -> Evaluation:
        assert training.decisions is not None
        Noting.judged.append(training.decisions)
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.6 + noise, np.full(view.steps, 0.7))

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(np.zeros(fusion.score.shape))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Three old coins and one listed late, hourly, with a model, a regime and four layers."""
    folder = tmp_path_factory.mktemp("market")
    (folder / "candles").mkdir()
    rng = np.random.default_rng(5)
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "UNIUSDT"):
        first = LATE_FROM if symbol == "UNIUSDT" else 0
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, ROWS)))
        opened = np.concatenate([[100.0], close[:-1]])
        frame = {
            "open_time": [to_datetime(START + n * HOUR) for n in range(ROWS)],
            "open": opened,
            "high": np.maximum(opened, close) * 1.002,
            "low": np.minimum(opened, close) * 0.998,
            "close": close,
            "volume": rng.uniform(1.0, 100.0, ROWS),
        }
        pl.DataFrame(frame)[first:].write_parquet(folder / "candles" / f"{symbol}.parquet")
    options = [
        item for item in ALONE if item.split(".")[1].split("=")[0] not in {"ml", "correlation"}
    ]
    options = [item for item in options if not item.startswith(("regime", "sizer"))]
    options += ["layers.ml.enabled=true", "layers.correlation.enabled=true"]
    options += ["layers.counting.weight=0.1", "models.drifting.on_error=degrade"]
    options += ["regime.use=waving", "sizer.use=noting", f"providers.files.path={folder}/candles"]
    extra = [Drifting, Waving, Counting, Noting]
    return fetch(make_engine(folder, *options, extra=extra, clock=SimulatedClock(LAST)))


@pytest.fixture(autouse=True)
def _as_it_was() -> None:
    Drifting.fails_from = None
    Counting.steps.clear()
    Noting.seen.clear()
    Noting.judged.clear()


@pytest.fixture(scope="module")
def complete(engine: Engine) -> Composed:
    """Decisions on one view of all rows."""
    view = engine.market.view(LAST, COMPOSED)
    return compose(engine.composition, view, IN_USE.learned, IN_USE.problems)


def by_blocks(
    engine: Engine, at_once: int, active: ActiveArtifacts = IN_USE
) -> tuple[View, ComposedDecisions]:
    return compose_history(
        engine.composition,
        engine.market,
        LAST,
        COMPOSED,
        needs=NEEDS,
        active=active,
        at_once=at_once,
    )


def panels(view: View, fusion: Fusion, levels: Levels) -> dict[str, np.ndarray]:
    """Return all panels of view and decisions, by name."""
    state, outlook = view.regime(), view.forecasts()["drifting"]
    assert state is not None
    output = outlook.forecast
    return {
        "score": fusion.score,
        "confidence": fusion.confidence,
        "direction": fusion.direction,
        **{name: getattr(levels, name) for name in _PRICES},
        "universe": view.universe,
        "regime": state.probability,
        "mean": output.mean,
        "probability_up": output.probability_up,
        **{f"quantile {level}": panel for level, panel in output.quantiles.items()},
        **{f"evidence {name}": panel for name, panel in output.evidence.items()},
        "volatility": view.feature(VOLATILITY),
        "close": view.candles().close[-view.steps :],
    }


def same(item: np.ndarray, other: np.ndarray) -> bool:
    assert item.dtype == other.dtype
    return np.array_equal(item, other, equal_nan=item.dtype == np.float64)


@pytest.mark.parametrize("at_once", [COMPOSED, 1024, 333])
def test_blocks_equal_one_view_of_all_rows(
    engine: Engine, complete: Composed, at_once: int
) -> None:
    view, decisions = by_blocks(engine, at_once)
    reports = panels(view, decisions.fusion, decisions.levels)
    expected = panels(complete.view, complete.fusion, complete.levels)
    assert reports.keys() == expected.keys()
    assert np.count_nonzero(expected["direction"]) > 500
    late = view.symbols.index("UNIUSDT")
    listed = COMPOSED - ROWS + LATE_FROM
    for name, panel in reports.items():
        if panel.shape[1] == len(view.symbols):
            old = [column for column in range(len(view.symbols)) if column != late]
            assert same(panel[:, old], expected[name][:, old]), name
            assert same(panel[listed:, late], expected[name][listed:, late]), name
        else:
            assert same(panel, expected[name]), name
    outlook, expected_outlook = (v.forecasts()["drifting"] for v in (view, complete.view))
    assert (outlook.trust, outlook.artifact) == (0.7, expected_outlook.artifact)
    state, expected_state = view.regime(), complete.view.regime()
    assert state is not None
    assert expected_state is not None
    assert state.names == expected_state.names
    assert same(state.transition, expected_state.transition)
    assert decisions.fusion.calibrated is complete.fusion.calibrated


def test_symbol_is_blank_before_the_block_of_its_listing(engine: Engine) -> None:
    at_once = 300
    view, decisions = by_blocks(engine, at_once)
    late = view.symbols.index("UNIUSDT")
    listed = COMPOSED - ROWS + LATE_FROM
    listed -= view.interval.index(int(view.times[listed])) % at_once
    reports = panels(view, decisions.fusion, decisions.levels)
    for name in ("score", "confidence", "direction", "universe"):
        assert not reports[name][:listed, late].any(), name
    for name in (*_PRICES, "mean"):
        assert np.isnan(reports[name][:listed, late]).all(), name
    assert reports["universe"][-1, late]


def test_blocks_have_at_most_the_given_rows(engine: Engine) -> None:
    by_blocks(engine, 1000)
    assert sum(Counting.steps) == COMPOSED
    # All blocks except the first and the last are full calendar blocks.
    assert set(Counting.steps[1:-1]) == {1000}
    assert max(Counting.steps) == 1000


def test_rows_do_not_depend_on_the_span(engine: Engine) -> None:
    view, decisions = by_blocks(engine, 600)
    earlier = compose_history(
        engine.composition,
        engine.market,
        LAST - 50 * HOUR,
        COMPOSED,
        needs=NEEDS,
        active=IN_USE,
        at_once=600,
    )
    reports = panels(view, decisions.fusion, decisions.levels)
    before = panels(earlier[0], earlier[1].fusion, earlier[1].levels)
    for name, panel in reports.items():
        assert same(panel[:-50], before[name][50:]), name


def test_failed_block_of_a_model_has_nan_forecasts(engine: Engine) -> None:
    rows = engine.composition.interval.index(LAST) % 600 + 1
    Drifting.fails_from = LAST - (rows - 1) * HOUR
    view, _ = by_blocks(engine, 600)
    output = view.forecasts()["drifting"].forecast
    assert np.isnan(output.mean[-rows:]).all()
    assert np.isfinite(output.mean[:-rows, 0]).all()


def test_untrained_history_has_no_forecasts_and_no_regime(engine: Engine) -> None:
    view, decisions = by_blocks(engine, 1000, ActiveArtifacts({}, {}))
    assert view.forecasts() == {}
    assert view.regime() is None
    assert np.count_nonzero(decisions.fusion.direction) > 500


def test_sizer_trains_on_a_history_of_blocks(engine: Engine) -> None:
    reports: list[tuple[float, Mapping[str, float]]] = []

    def progress(done: float, total: float, **figures: float) -> None:
        reports.append((done / total, figures))

    trial = engine.trainer.train("sizer", LAST, progress)
    span = trial.span
    *blocks, shadow = Counting.steps
    assert sum(blocks) == span.rows > ROWS_AT_ONCE >= max(blocks)
    assert shadow == span.shadow_rows
    view, decisions = Noting.seen[0]
    assert (int(view.times[0]), view.as_of) == (span.first, span.trained_to)
    output = compose(engine.composition, engine.market.view(span.trained_to, span.rows))
    for name in _PRICES:
        assert same(getattr(decisions.levels, name), getattr(output.levels, name)), name
    assert same(decisions.fusion.direction[:, 0], output.fusion.direction[:, 0])
    # Composing is the first half of the progress, learning the second.
    done = [share for share, _ in reports]
    assert done[: len(blocks)] == [half / span.rows / 2 for half in np.cumsum(blocks)]
    assert done[len(blocks) - 1 :] == [0.5, 0.75, 1.0]
    assert reports[len(blocks) - 1][1] == {"composed": 1.0}


def test_challenger_and_champion_are_judged_on_rows_composed_once(engine: Engine) -> None:
    engine.trainer.train("sizer", LAST)
    Noting.judged.clear()
    Counting.steps.clear()
    trial = engine.trainer.train("sizer", LAST)
    assert trial.against is not None
    assert Noting.judged[0] is Noting.judged[1]
    assert Counting.steps.count(trial.span.shadow_rows) == 1
