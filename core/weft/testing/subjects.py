"""Components under test: how each is asked, and how its answer is read as named panels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from weft.components.base import Component
from weft.components.contract_checks import (
    checked_forecast,
    checked_fusion,
    checked_levels,
    checked_regime,
    checked_scores,
    checked_sizes,
    checked_universe,
)
from weft.components.ensemble import Ensemble
from weft.components.feature import Feature, StepFeature
from weft.components.layer import Layer
from weft.components.model import Model, Regime
from weft.components.needs import FeatureNeed, ForecastNeed, MetricNeed, Need, NewsNeed, RegimeNeed
from weft.components.needs import feature as feature_need
from weft.components.risk import Risk, Sizer
from weft.components.trained import Artifact, Trained, Training
from weft.components.universe import Universe
from weft.domain.candles import Candles, candles_from_arrays
from weft.features.bounds import check_bounds
from weft.foundation.arrays import FloatPanel
from weft.market.view import View
from weft.testing.history import History, installed_feature, random_history
from weft.testing.inputs import WEIGHTS, fusion_of, levels_of, scores_of
from weft.testing.made_up import with_forecasts, with_news, with_regime

Panels: TypeAlias = Mapping[str, FloatPanel]
Testable: TypeAlias = Layer | Feature | Model | Regime | Ensemble | Risk | Sizer | Universe

_ROWS = 2600


@dataclass
class Subject:
    """A component under test, and how its answer is read as named panels.

    Attributes:
        component: what is tested.
        needs: what its view has to hold.
        evaluate: its answer to a view, as panels of (steps, symbol).
        bounds: lowest and highest value allowed in a panel, by name.
        by_symbol: whether the columns of its panels are the view's.
        may_be_silent: whether its first panel is NaN where nothing is known, and a number where
            everything is.
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
        """Return a random market with everything the component asks for."""
        # What a feature itself needs stands behind the need for the feature.
        needs = (*self.needs, *self.component.needs)
        metrics = dict.fromkeys(need.name for need in needs if isinstance(need, MetricNeed))
        history = random_history(seed, rows=rows, metrics=tuple(metrics), flaws=flaws)
        for kind, add in _ADDITIONS.items():
            if any(isinstance(need, kind) for need in self.needs):
                history = add(history, seed)
        return history

    def over(self, history: History, steps: int) -> Panels:
        """Return the component's answer for the last `steps` rows of a history."""
        return self.evaluate(self.view(history, steps))

    def view(self, history: History, steps: int) -> View:
        """Return what the component may see of a history."""
        return history.view(
            self.needs,
            steps=steps,
            component=self.title,
            make_feature=self._make_feature,
            learned=self.learned,
        )

    @property
    def learned(self) -> object:
        """What it was trained to; None for what is not trained."""
        return None

    def _make_feature(self, need: FeatureNeed) -> Feature:
        own = self.component
        if isinstance(own, Feature) and need in self.needs:
            return own
        return installed_feature(need)


@dataclass
class TrainedSubject(Subject):
    """A component under test that is trained first, once, on a random market."""

    component: Model | Regime

    @cached_property
    def artifact(self) -> Artifact:
        """What it was trained to."""
        return self.train()

    @cached_property
    def learned(self) -> object:
        """Its artifact, made ready for use."""
        return self.component.load(self.artifact)

    def train(self, rows: int = 1500) -> Artifact:
        """Train it on the same random market as every time."""
        history = self.history(seed=77)
        view = history.view(
            self.needs, steps=rows, component=self.title, make_feature=self._make_feature
        )
        return self.component.fit(view, Training(np.random.default_rng(7), horizon=12))


_ADDITIONS: Mapping[type[Need], Callable[[History, int], History]] = {
    NewsNeed: with_news,
    RegimeNeed: with_regime,
    ForecastNeed: with_forecasts,
}


def subject_of(component: Testable) -> Subject:
    """Return how a component is tested.

    Raises:
        TypeError: a class instead of a component, or of a kind that the kit does not test so.
    """
    for kind, make in _SUBJECTS.items():
        if isinstance(component, kind):
            return make(component)
    raise TypeError(_not_testable(component))


def _not_testable(component: object) -> str:
    if isinstance(component, type):
        name = component.__name__
        return f"expected a component, got the class {name}: write {name}()"
    if not isinstance(component, Component):
        return f"expected a component, got a {type(component).__name__}"
    where = {
        "provider": "check_provider() and parametrize_provider_checks() test it",
        "sink": "check_sink() tests it",
        "portfolio_risk": "check_portfolio_risk() tests it",
    }
    nothing = "nothing calls it in this version of Weft, so there is nothing to test it by"
    return f"{component.title()}: {where.get(component.kind, nothing)}"


def _layer_subject(layer: Layer) -> Subject:
    def evaluate(view: View) -> Panels:
        scores = checked_scores(layer.score(view), view, f"layer {layer.name}")
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
        said = checked_forecast(model.predict(view), view, f"model {model.name}")
        quantiles = {f"quantile {level:g}": panel for level, panel in said.quantiles.items()}
        return {
            "probability_up": said.probability_up,
            "mean": said.mean,
            **quantiles,
            **said.evidence,
        }

    return TrainedSubject(model, model.needs, evaluate, {"probability_up": (0.0, 1.0)})


def _regime_subject(regime: Regime) -> Subject:
    def evaluate(view: View) -> Panels:
        state = checked_regime(regime.detect(view), view, f"regime {regime.name}")
        multiplier = state.position_multiplier[:, None]
        return {"probability": state.probability, "position_multiplier": multiplier}

    bounds = {"probability": (0.0, 1.0), "position_multiplier": (0.0, 1.0)}
    return TrainedSubject(regime, regime.needs, evaluate, bounds, by_symbol=False)


def _universe_subject(universe: Universe) -> Subject:
    def evaluate(view: View) -> Panels:
        members = checked_universe(universe.members(view), view, universe.title())
        return {"members": members.astype(np.float64)}

    return Subject(universe, universe.needs, evaluate, may_be_silent=False)


def _ensemble_subject(ensemble: Ensemble) -> Subject:
    def evaluate(view: View) -> Panels:
        scores = scores_of(view)
        said = ensemble.fuse(view, MappingProxyType(scores), MappingProxyType(WEIGHTS))
        fusion = checked_fusion(said, view, ensemble.title(), scores)
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
    if isinstance(sizer, Trained):
        raise TypeError(
            f"{sizer.title()}: the kit trains models and regimes alone; test its parts, and the "
            "sizes it holds once it is trained"
        )

    def evaluate(view: View) -> Panels:
        fusion = fusion_of(view)
        sizes = checked_sizes(
            sizer.size(view, fusion, levels_of(view, fusion)), view, sizer.title()
        )
        return {"size": sizes.fraction, "full size": sizes.unreduced, **sizes.evidence}

    return Subject(sizer, sizer.needs, evaluate, may_be_silent=False)


_SUBJECTS: Mapping[type[Component], Callable[[Any], Subject]] = {
    Layer: _layer_subject,
    Feature: _feature_subject,
    Model: _model_subject,
    Regime: _regime_subject,
    Universe: _universe_subject,
    Ensemble: _ensemble_subject,
    Risk: _risk_subject,
    Sizer: _sizer_subject,
}
"""How each kind is tested that answers a view."""
