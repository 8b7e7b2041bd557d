"""Composing: from a view to signals, by calling the components in their order. Pure."""

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
    """What a composition says on every decision row of a view; panels are (steps, symbol).

    Attributes:
        view: what was known.
        universe: which symbols were chosen.
        scores: what each layer that answered said.
        missing: layers that did not answer, and why.
        fusion: what the ensemble made of them.
        levels: entry, stop loss, take profit, and what can be lost.
        sizes: fractions of equity, and what stands behind them.
        regime: where the market stands; None where nobody says.
        outlooks: what each model that answered forecasts.
        silent: models, regime or sizer that did not answer or are not trained, and why.
        lost: layers, models or regime that were called and gave no answer, and why, by key in
            config: ``layers.technical``.
        artifacts: digest of each artifact that was used, by the component's key in config.
        not_recorded: why its signals do not go into the ledger; None where they do.
    """

    view: View
    universe: BoolPanel
    scores: Mapping[str, Scores]
    missing: Mapping[str, str]
    fusion: Fusion
    levels: Levels
    sizes: Sizes
    regime: RegimeState | None
    outlooks: Mapping[str, TrustedForecast]
    silent: Mapping[str, str]
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
    """Return what a composition says on the decision rows of a view.

    The same view, options and artifacts give the same result to the last bit: no clock, no
    random number and nothing remembered from call to call goes in.

    Args:
        composition: the components.
        view: what was known.
        learned: what the trained ones have learnt by the first decision row, by their keys in
            config: ``models.transformer``, ``regime``.
        problems: why some have learnt nothing, or not what they should have, by key.
        skipped: layers, models or regime that are not called but count as lost, and why, by key:
            those that a composition to be made again had lost.

    Raises:
        ComponentError: a component that must not be missing failed.
    """
    composition = composition.for_rows(view.steps)
    parts = _Parts(
        composition, learned, skipped, dict(composition.missing), {**composition.silent, **problems}
    )
    call, deadline = composition.calls.call, composition.deadline
    rule, ensemble = composition.universe, composition.ensemble
    risk = composition.risk

    chosen = call(rule.title(), lambda: rule.members(parts.sees(view, rule)), deadline("universe"))
    members = checked_universe(chosen, view, rule.title())
    view = view.with_universe(members)
    state = parts.regime(view)
    view = view.with_regime(state)
    outlooks = parts.outlooks(view)
    view = view.with_forecasts(outlooks)
    scores = parts.scores(view)

    fused = call(
        ensemble.title(),
        lambda: ensemble.fuse(
            parts.sees(view, ensemble, "ensemble"),
            MappingProxyType(scores),
            MappingProxyType(composition.weights),
        ),
        deadline("ensemble"),
    )
    fusion = checked_fusion(fused, view, ensemble.title(), scores)
    answer = call(
        risk.title(), lambda: risk.levels(parts.sees(view, risk, "risk"), fusion), deadline("risk")
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
        outlooks=outlooks,
        silent=parts.silent,
        lost=parts.lost,
        artifacts={key: one.digest for key, one in sorted(learned.items())},
    )


@dataclass(slots=True)
class _Parts:
    """Asks the components of a composition that come in numbers, or may be missing."""

    composition: Composition
    learned: Mapping[str, LoadedArtifact]
    skipped: Mapping[str, str]
    missing: dict[str, str]
    silent: dict[str, str]
    lost: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, why in self.skipped.items():
            self._lose(key, why)
        for key in self.composition.trained.keys() - self.learned.keys():
            self.silent.setdefault(key, NOT_TRAINED)

    def sees(self, view: View, component: Component, key: str = "") -> View:
        """Return a view as a component may see it, with what it has learnt."""
        ready = self.learned[key].ready if key in self.learned else None
        return view.restricted(component.needs, component.title(), ready)

    def regime(self, view: View) -> RegimeState | None:
        """Return where the market stands; None where nobody says."""
        configured = self.composition.regime
        if configured is None or "regime" not in self.learned:
            return None
        regime, title = configured.component, configured.component.title()
        seen = self.sees(view, regime, "regime")
        state = self._answer(
            "regime",
            title,
            lambda: checked_regime(regime.detect(seen), seen, title),
            configured.policy,
        )
        return state and state.listened_to(self.learned["regime"].trust)

    def sizes(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        """Return what to hold; of one that is trained, as far as it is trusted."""
        sizer, deadline = self.composition.sizer, self.composition.deadline("sizer")

        def sized(seen: View) -> Sizes:
            sizes = self.composition.calls.call(
                sizer.title(), lambda: sizer.size(seen, fusion, levels), deadline
            )
            return checked_sizes(sizes, view, sizer.title())

        sizes = sized(self.sees(view, sizer, "sizer"))
        if "sizer" not in self.learned:
            return sizes
        try:
            plain = sized(view.restricted(sizer.needs, sizer.title()))
        except NotTrainedError:
            # It holds nothing without what it learnt, so that there is nothing to lean on.
            return sizes
        return sizes.listened_to(self.learned["sizer"].trust, plain)

    def outlooks(self, view: View) -> dict[str, TrustedForecast]:
        """Return what the models that are trained forecast."""
        found = {}
        for configured in self.composition.models:
            key, title = f"models.{configured.policy.name}", f"model {configured.policy.name}"
            if key not in self.learned:
                continue
            model = configured.component
            predict = partial(_predict, model, self.sees(view, model, key), title)
            forecast = self._answer(key, title, predict, configured.policy)
            if forecast is not None:
                known = self.learned[key]
                found[configured.policy.name] = TrustedForecast(forecast, known.trust, known.digest)
        return found

    def scores(self, view: View) -> dict[str, Scores]:
        """Return what the layers say."""
        found = {}
        for configured in self.composition.layers:
            name = configured.policy.name
            title = f"layer {name}"
            seen = self.sees(view, configured.component, f"layers.{name}")
            score = partial(_score, configured.component, seen, title)
            said = self._answer(f"layers.{name}", title, score, configured.policy)
            if said is not None:
                found[name] = said
        return found

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
            self.silent[key] = why


def _predict(model: Model, view: View, title: str) -> Forecast:
    return checked_forecast(model.predict(view), view, title)


def _score(layer: Layer, view: View, title: str) -> Scores:
    return checked_scores(layer.score(view), view, title)
