"""Components under test: how the kit calls each kind, and reads the answer as named panels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import numpy as np

from weft.components.base import Component
from weft.components.contract_checks import (
    checked_allocation,
    checked_forecast,
    checked_fusion,
    checked_levels,
    checked_regime,
    checked_scores,
    checked_sizes,
    checked_universe,
)
from weft.components.ensemble import Ensemble
from weft.components.execution import Allocator
from weft.components.feature import Feature, StepFeature
from weft.components.layer import Layer
from weft.components.model import Model, Regime
from weft.components.needs import FeatureNeed, ForecastNeed, MetricNeed, Need, NewsNeed, RegimeNeed
from weft.components.needs import feature as feature_need
from weft.components.risk import Risk, Sizer
from weft.components.trained import Artifact, Evaluation, Trained, Training
from weft.components.universe import Universe
from weft.domain.candles import Candles, candles_from_arrays
from weft.features.bounds import check_bounds
from weft.foundation.arrays import FloatPanel
from weft.market.view import View
from weft.testing.history import History, installed_feature, random_history
from weft.testing.made_up import (
    WEIGHTS,
    decisions_of,
    fusion_of,
    levels_of,
    scores_of,
    sizes_of,
    with_forecasts,
    with_news,
    with_regime,
)

Panels: TypeAlias = Mapping[str, FloatPanel]
Testable: TypeAlias = (
    Layer | Feature | Model | Regime | Ensemble | Risk | Sizer | Universe | Allocator
)
"""The kinds that answer a view."""

_ROWS = 2600
_TRAINING_ROWS = 1500
_HORIZON = 12


@dataclass
class Subject:
    """A component under test.

    Attributes:
        component: with its options.
        needs: what its view has to hold.
        evaluate: returns the answer of the component to a view, as panels of (steps, symbol).
        bounds: lowest and highest value allowed in a panel, by name.
        by_symbol: whether the columns of its panels are the symbols of the view.
        may_be_silent: whether its first panel is NaN where nothing is known, and a number where
            everything is known.
    """

    component: Component
    needs: Sequence[Need]
    evaluate: Callable[[View], Panels]
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_symbol: bool = True
    may_be_silent: bool = True

    @property
    def title(self) -> str:
        """Kind and name."""
        return self.component.title()

    def history(self, seed: int, *, flaws: bool = True, rows: int = _ROWS) -> History:
        """Return a random market with everything the component needs."""
        # The needs of a feature stand behind the need for the feature.
        needs = (*self.needs, *self.component.needs)
        metrics = dict.fromkeys(need.name for need in needs if isinstance(need, MetricNeed))
        history = random_history(seed, rows=rows, metrics=tuple(metrics), flaws=flaws)
        for kind, add in _ADDITIONS.items():
            if any(isinstance(need, kind) for need in self.needs):
                history = add(history, seed)
        return history

    def over(self, history: History, steps: int) -> Panels:
        """Return the answer of the component for the last `steps` rows of a history."""
        return self.evaluate(self.view(history, steps))

    def view(self, history: History, steps: int) -> View:
        """Return the part of a history that the component may see."""
        return self.view_with(self.learned, history, steps)

    def view_with(self, learned: object, history: History, steps: int) -> View:
        """Return the view of a component that was trained to `learned`."""
        return history.view(
            self.needs,
            steps=steps,
            component=self.title,
            make_feature=self._make_feature,
            learned=learned,
        )

    @property
    def learned(self) -> object:
        """The loaded artifact; None for a component that is not trained."""
        return None

    def _make_feature(self, need: FeatureNeed) -> Feature:
        component = self.component
        if isinstance(component, Feature) and need in self.needs:
            return component
        return installed_feature(need)


@dataclass
class TrainedSubject(Subject):
    """A component under test that is trained first, once, on a random market.

    A component that learns from decisions is trained on made-up ones.
    """

    @property
    def trained(self) -> Trained:
        """The component, as one that is trained."""
        return cast("Trained", self.component)

    @cached_property
    def artifact(self) -> Artifact:
        """The artifact of the training."""
        return self.train()

    @cached_property
    def learned(self) -> object:
        """The artifact, as the component loads it."""
        return self.trained.load(self.artifact)

    def train(self, rows: int = _TRAINING_ROWS) -> Artifact:
        """Train the component on the same random market every time."""
        history = self.history(seed=77)
        view = self.view_with(None, history, rows)
        return self.trained.fit(view, self._training(view, history))

    def judge(self, rows: int) -> Evaluation:
        """Return the losses of the artifact on the last rows of another random market."""
        history = self.history(seed=78)
        view = self.view(history, rows)
        return self.trained.evaluate(view, self._training(view, history))

    def _training(self, view: View, history: History) -> Training:
        decisions = decisions_of(view, history) if self.trained.learns_from_decisions else None
        return Training(np.random.default_rng(7), horizon=_HORIZON, decisions=decisions)


_ADDITIONS: Mapping[type[Need], Callable[[History, int], History]] = {
    NewsNeed: with_news,
    RegimeNeed: with_regime,
    ForecastNeed: with_forecasts,
}


def subject_of(component: Testable) -> Subject:
    """Return how the kit tests a component.

    Raises:
        TypeError: a class instead of a component, or a kind with checks of another form.
    """
    for kind, make in _SUBJECTS.items():
        if isinstance(component, kind):
            subject = make(component)
            return TrainedSubject(**vars(subject)) if isinstance(component, Trained) else subject
    raise TypeError(_not_testable(component))


def _not_testable(component: object) -> str:
    if isinstance(component, type):
        name = component.__name__
        return f"expected a component, got the class {name}: write {name}()"
    if not isinstance(component, Component):
        return f"expected a component, got a {type(component).__name__}"
    kind = component.kind
    return f"{component.title()}: check_{kind}() and parametrize_{kind}_checks() test it"


def _layer_subject(layer: Layer) -> Subject:
    def evaluate(view: View) -> Panels:
        scores = checked_scores(layer.score(view), view, layer.title())
        return {"score": scores.score, "confidence": scores.confidence, **scores.evidence}

    return Subject(
        layer, layer.needs, evaluate, {"score": (-100.0, 100.0), "confidence": (0.0, 1.0)}
    )


def _feature_subject(feature: Feature) -> Subject:
    need = feature_need(feature.name, **feature.config.model_dump())

    @cache
    def stay_in_bounds() -> None:
        if isinstance(feature, StepFeature):
            check_bounds(feature, _candles(random_history(9, rows=_ROWS)))

    def evaluate(view: View) -> Panels:
        stay_in_bounds()
        return {output: view.feature(need, output=output) for output in feature.outputs}

    return Subject(feature, [need], evaluate)


def _candles(history: History) -> Candles:
    rows = np.arange(history.rows, dtype=np.int64)
    times = history.first_close + rows * history.interval.micros
    return candles_from_arrays(history.interval, times, history.instruments, dict(history.candles))


def _model_subject(model: Model) -> Subject:
    def evaluate(view: View) -> Panels:
        forecast = checked_forecast(model.predict(view), view, model.title())
        quantiles = {f"quantile {level:g}": panel for level, panel in forecast.quantiles.items()}
        chance = forecast.probability_up
        return {"probability_up": chance, "mean": forecast.mean, **quantiles, **forecast.evidence}

    return Subject(model, model.needs, evaluate, {"probability_up": (0.0, 1.0)})


def _regime_subject(regime: Regime) -> Subject:
    def evaluate(view: View) -> Panels:
        state = checked_regime(regime.detect(view), view, regime.title())
        multiplier = state.position_multiplier[:, None]
        return {"probability": state.probability, "position_multiplier": multiplier}

    bounds = {"probability": (0.0, 1.0), "position_multiplier": (0.0, 1.0)}
    return Subject(regime, regime.needs, evaluate, bounds, by_symbol=False)


def _universe_subject(universe: Universe) -> Subject:
    def evaluate(view: View) -> Panels:
        members = checked_universe(universe.members(view), view, universe.title())
        return {"members": members.astype(np.float64)}

    return Subject(universe, universe.needs, evaluate, may_be_silent=False)


def _ensemble_subject(ensemble: Ensemble) -> Subject:
    def evaluate(view: View) -> Panels:
        scores = scores_of(view)
        answer = ensemble.fuse(view, MappingProxyType(scores), MappingProxyType(WEIGHTS))
        fusion = checked_fusion(answer, view, ensemble.title(), scores)
        return {
            "score": fusion.score,
            "confidence": fusion.confidence,
            "direction": fusion.direction.astype(np.float64),
            **{f"weight of {name}": panel for name, panel in fusion.weights.items()},
        }

    return Subject(ensemble, ensemble.needs, evaluate, may_be_silent=False)


def _risk_subject(risk: Risk) -> Subject:
    def evaluate(view: View) -> Panels:
        fusion = fusion_of(view)
        levels = checked_levels(risk.levels(view, fusion), view, risk.title(), fusion.direction)
        priced = {"stop_loss": levels.stop_loss, "take_profit": levels.take_profit}
        return {"entry": levels.entry, **priced, **levels.figures}

    return Subject(risk, risk.needs, evaluate)


def _sizer_subject(sizer: Sizer) -> Subject:
    def evaluate(view: View) -> Panels:
        fusion = fusion_of(view)
        answer = sizer.size(view, fusion, levels_of(view, fusion))
        sizes = checked_sizes(answer, view, sizer.title())
        return {"size": sizes.fraction, "full size": sizes.unreduced, **sizes.evidence}

    return Subject(sizer, sizer.needs, evaluate, may_be_silent=False)


def _allocator_subject(allocator: Allocator) -> Subject:
    def evaluate(view: View) -> Panels:
        fusion = fusion_of(view)
        answer = allocator.allocate(view, fusion, sizes_of(view, fusion))
        return {"allocation": checked_allocation(answer, view, allocator.title())}

    return Subject(allocator, allocator.needs, evaluate, may_be_silent=False)


_SUBJECTS: Mapping[type[Component], Callable[[Any], Subject]] = {
    Layer: _layer_subject,
    Feature: _feature_subject,
    Model: _model_subject,
    Regime: _regime_subject,
    Universe: _universe_subject,
    Ensemble: _ensemble_subject,
    Risk: _risk_subject,
    Sizer: _sizer_subject,
    Allocator: _allocator_subject,
}
"""The kinds that answer a view, and how the kit tests each."""
