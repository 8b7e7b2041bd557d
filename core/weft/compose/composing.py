"""Composing: turns a view into decisions by calling the components in order, without I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from weft.components.base import Component
from weft.components.configured import Policy
from weft.components.contract_checks import (
    checked_forecast,
    checked_fusion,
    checked_levels,
    checked_regime,
    checked_scores,
    checked_sizes,
    checked_universe,
)
from weft.components.ensemble import Fusion
from weft.components.layer import Layer, Scores
from weft.components.model import Forecast, Model, RegimeState, TrustedForecast
from weft.components.risk import Levels, Sizes
from weft.components.trained import NOT_TRAINED, LoadedArtifact
from weft.compose.composition import Composition
from weft.compose.gross_limit import once_per_asset, within_gross
from weft.foundation.arrays import BoolPanel
from weft.foundation.errors import NotTrainedError
from weft.market.view import View

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Composed:
    """Decisions on every decision row of a view; panels are (steps, symbol).

    Attributes:
        view: the data they rest on.
        universe: which symbols the universe rule chose.
        scores: of each layer that answered, by name.
        missing: layers without an answer, and why, by name.
        fusion: of the scores.
        levels: entry, stop loss, take profit, and figures of risk.
        sizes: fractions of equity, and the evidence behind them.
        regime: state of the market; None without a regime, or while it is not trained.
        forecasts: forecast of each model that answered, by name.
        missing_models: models, regime or sizer without an answer or an artifact, and why, by key
            in config.
        lost: layers, models or regime that failed or overran when they were called, and why, by
            key in config: ``layers.technical``.
        artifacts: digest of each artifact in use, by the component's key in config.
        not_recorded: why the signals do not go into the ledger; None where they do.
    """

    view: View
    universe: BoolPanel
    scores: Mapping[str, Scores]
    missing: Mapping[str, str]
    fusion: Fusion
    levels: Levels
    sizes: Sizes
    regime: RegimeState | None
    forecasts: Mapping[str, TrustedForecast]
    missing_models: Mapping[str, str]
    lost: Mapping[str, str]
    artifacts: Mapping[str, str]
    not_recorded: str | None = None


def compose(
    composition: Composition,
    view: View,
    learned: Mapping[str, LoadedArtifact] = MappingProxyType({}),
    problems: Mapping[str, str] = MappingProxyType({}),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> Composed:
    """Return the decisions of a composition on the decision rows of a view.

    The same view, options and artifacts give the same result to the last bit: it depends on no
    clock, no random number and no earlier call.

    Args:
        composition: the components.
        view: the data.
        learned: artifacts in use as of the first decision row, by the component's key in config:
            ``models.transformer``, ``regime``.
        problems: why a component has no artifact, or not its latest, by key.
        skipped: layers, models or regime to count as lost instead of calling them, and why, by
            key: a replay skips those that the recorded composition lost.

    Raises:
        ComponentError: a required component failed or overran its deadline.
    """
    composition = composition.for_rows(view.steps)
    parts = _Parts(
        composition,
        learned,
        skipped,
        dict(composition.missing),
        {**composition.missing_models, **problems},
    )
    call, deadline = composition.calls.call, composition.deadline
    rule, ensemble = composition.universe, composition.ensemble
    risk = composition.risk

    chosen = call(
        rule.title(), lambda: rule.members(parts.shown_to(view, rule)), deadline("universe")
    )
    members = checked_universe(chosen, view, rule.title())
    view = view.with_universe(members)
    state = parts.regime(view)
    view = view.with_regime(state)
    forecasts = parts.forecasts(view)
    view = view.with_forecasts(forecasts)
    scores = parts.scores(view)

    fused = call(
        ensemble.title(),
        lambda: ensemble.fuse(
            parts.shown_to(view, ensemble, "ensemble"),
            MappingProxyType(scores),
            MappingProxyType(composition.weights),
        ),
        deadline("ensemble"),
    )
    fusion = checked_fusion(fused, view, ensemble.title(), scores)
    answer = call(
        risk.title(),
        lambda: risk.levels(parts.shown_to(view, risk, "risk"), fusion),
        deadline("risk"),
    )
    levels = checked_levels(answer, view, risk.title(), fusion.direction)
    sizes = parts.sizes(view, fusion, levels)
    acts = (fusion.direction != 0) & np.isfinite(levels.entry) & members
    sizes = once_per_asset(sizes, acts, fusion.direction, view.instruments)
    return Composed(
        view=view,
        universe=members,
        scores=scores,
        missing=parts.missing,
        fusion=fusion,
        levels=levels,
        sizes=within_gross(sizes, acts, composition.max_gross_exposure),
        regime=state,
        forecasts=forecasts,
        missing_models=parts.missing_models,
        lost=parts.lost,
        artifacts={key: artifact.digest for key, artifact in sorted(learned.items())},
    )


@dataclass(slots=True)
class _Parts:
    """Calls the components that may be missing: regime, models, layers and a trained sizer."""

    composition: Composition
    learned: Mapping[str, LoadedArtifact]
    skipped: Mapping[str, str]
    missing: dict[str, str]
    missing_models: dict[str, str]
    lost: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, why in self.skipped.items():
            self._lose(key, why)
        for key in self.composition.trained.keys() - self.learned.keys():
            self.missing_models.setdefault(key, NOT_TRAINED)

    def shown_to(self, view: View, component: Component, key: str = "") -> View:
        """Return the part of a view that a component declared, with its loaded artifact."""
        ready = self.learned[key].ready if key in self.learned else None
        return view.restricted(component.needs, component.title(), ready)

    def regime(self, view: View) -> RegimeState | None:
        """Return the state of the market; None without a regime or its artifact."""
        configured = self.composition.regime
        if configured is None or "regime" not in self.learned:
            return None
        regime, title = configured.component, configured.component.title()
        seen = self.shown_to(view, regime, "regime")
        state = self._answer(
            "regime",
            title,
            lambda: checked_regime(regime.detect(seen), seen, title),
            configured.policy,
        )
        return state and state.shrunk_by(self.learned["regime"].trust)

    def sizes(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        """Return sizes; those of a trained sizer are blended with untrained ones by its trust."""
        sizer, deadline = self.composition.sizer, self.composition.deadline("sizer")

        def sized(seen: View) -> Sizes:
            sizes = self.composition.calls.call(
                sizer.title(), lambda: sizer.size(seen, fusion, levels), deadline
            )
            return checked_sizes(sizes, view, sizer.title())

        sizes = sized(self.shown_to(view, sizer, "sizer"))
        if "sizer" not in self.learned:
            return sizes
        try:
            plain = sized(view.restricted(sizer.needs, sizer.title()))
        except NotTrainedError:
            # This sizer has no untrained sizes to blend with.
            return sizes
        return sizes.shrunk_by(self.learned["sizer"].trust, plain)

    def forecasts(self, view: View) -> dict[str, TrustedForecast]:
        """Return the forecast of each trained model, by name."""
        forecasts = {}
        for configured in self.composition.models:
            key, title = f"models.{configured.policy.name}", f"model {configured.policy.name}"
            if key not in self.learned:
                continue
            model = configured.component
            predict = partial(_predict, model, self.shown_to(view, model, key), title)
            forecast = self._answer(key, title, predict, configured.policy)
            if forecast is not None:
                artifact = self.learned[key]
                forecasts[configured.policy.name] = TrustedForecast(
                    forecast, artifact.trust, artifact.digest
                )
        return forecasts

    def scores(self, view: View) -> dict[str, Scores]:
        """Return the scores of each layer that answers, by name."""
        answers = {}
        for configured in self.composition.layers:
            name = configured.policy.name
            title = f"layer {name}"
            seen = self.shown_to(view, configured.component, f"layers.{name}")
            score = partial(_score, configured.component, seen, title)
            scores = self._answer(f"layers.{name}", title, score, configured.policy)
            if scores is not None:
                answers[name] = scores
        return answers

    def _answer(self, key: str, title: str, function: Callable[[], T], policy: Policy) -> T | None:
        """Return a component's answer; None where it is skipped, or may be missing and failed."""
        if key in self.skipped:
            return None
        calls = self.composition.calls
        if policy.required:
            return calls.call(title, function, policy.deadline_seconds)
        outcome = calls.attempt(title, function, policy.deadline_seconds)
        if outcome.value is None:
            self._lose(key, outcome.failure or "gave no reason")
        return outcome.value

    def _lose(self, key: str, why: str) -> None:
        """Note that a component gave no answer."""
        self.lost[key] = why
        if key.startswith("layers."):
            self.missing[key.removeprefix("layers.")] = why
        else:
            self.missing_models[key] = why


def _predict(model: Model, view: View, title: str) -> Forecast:
    return checked_forecast(model.predict(view), view, title)


def _score(layer: Layer, view: View, title: str) -> Scores:
    return checked_scores(layer.score(view), view, title)
