"""A composition: the components one config.yaml chose, checked and ready to be called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from weft.components.base import Component
from weft.components.configured import Configured
from weft.components.ensemble import Ensemble
from weft.components.execution import Sink
from weft.components.layer import Layer
from weft.components.model import Model, Regime
from weft.components.needs import CandleNeed, Need
from weft.components.portfolio_risk import PortfolioRisk
from weft.components.provider import Provider, SourceKind
from weft.components.risk import Risk, Sizer
from weft.components.trained import Trained
from weft.components.universe import Universe
from weft.domain.signal import Versions
from weft.foundation.calls import Calls
from weft.foundation.times import Interval

C = TypeVar("C", bound=Component)

COVERAGE_ROWS = 200
"""Decision rows over which a signal's coverage is counted."""

ROWS_OF_A_DEADLINE = 64
"""Decision rows up to which a deadline of the settings holds as it is."""

NEEDED = ("universe", "ensemble", "risk", "sizer")
"""Keys in config of the components that every composition needs."""


@dataclass(frozen=True, slots=True)
class Composition:
    """The components of one config.yaml, and how they are used.

    Attributes:
        interval: the decision interval.
        base: interval of the candles that are fetched; coarser ones are joined from them.
        horizon_candles: how far ahead signals look.
        max_age_candles: symbols whose latest candle is older get no signal.
        max_gross_exposure: largest sum of the sizes of one row, as a fraction of equity.
        providers: the preferred ones first.
        universe: chooses the symbols.
        layers: by name, so that the order of installation changes nothing.
        ensemble: fuses the layers' scores.
        risk: sets levels.
        sizer: sets sizes.
        sinks: carry signals out, by name.
        versions: of Weft, the settings and the plugins, for every signal.
        weights: base weight of every enabled layer, the missing ones included.
        missing: optional layers that could not be loaded, and why, by name.
        portfolio_risk: measures what positions lose together; None for none.
        models: by name.
        regime: detects the state of the market; None for none.
        missing_models: optional models or regime that could not be loaded, and why, by key in
            config.
        deadline_seconds: for components whose slot sets none.
        deadlines: set in the slots of the four in `NEEDED` and of sinks, by key in config.
        calls: calls the components, and remembers which of them hang.
    """

    interval: Interval
    base: Interval
    horizon_candles: int
    max_age_candles: int
    max_gross_exposure: float
    providers: tuple[Configured[Provider], ...]
    universe: Universe
    layers: tuple[Configured[Layer], ...]
    ensemble: Ensemble
    risk: Risk
    sizer: Sizer
    sinks: Mapping[str, Sink]
    versions: Versions
    weights: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float = 20.0
    models: tuple[Configured[Model], ...] = ()
    regime: Configured[Regime] | None = None
    portfolio_risk: Configured[PortfolioRisk] | None = None
    missing_models: Mapping[str, str] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)
    calls: Calls = field(default_factory=Calls, repr=False, compare=False)

    def deadline(self, key: str) -> float:
        """Return the seconds for one call of the component under a key of `deadlines`."""
        return self.deadlines.get(key, self.deadline_seconds)

    @property
    def trained_for(self) -> dict[str, object]:
        """Return what the card of an artifact must state for this composition to use it."""
        return {"interval": self.interval.name, "horizon_candles": self.horizon_candles}

    @property
    def trained(self) -> dict[str, Trained]:
        """Return every trained component by its key in config, such as ``models.transformer``."""
        slots: dict[str, Component] = {
            f"models.{model.policy.name}": model.component for model in self.models
        }
        if self.regime is not None:
            slots["regime"] = self.regime.component
        slots |= {f"layers.{layer.policy.name}": layer.component for layer in self.layers}
        slots |= {"ensemble": self.ensemble, "risk": self.risk, "sizer": self.sizer}
        return {key: part for key, part in slots.items() if isinstance(part, Trained)}

    def for_rows(self, rows: int) -> "Composition":
        """Return this composition with deadlines for a view of `rows` decision rows.

        The deadlines of the settings hold for up to `ROWS_OF_A_DEADLINE` rows; a longer view gets
        proportionally more time.
        """
        if rows <= ROWS_OF_A_DEADLINE:
            return self
        return self._with_deadlines(lambda seconds: seconds * rows / ROWS_OF_A_DEADLINE)

    def unhurried(self) -> "Composition":
        """Return this composition with an hour for each call, for long history and replays."""
        return self._with_deadlines(lambda _: 3600.0)

    def _with_deadlines(self, seconds: Callable[[float], float]) -> "Composition":
        def patient(part: Configured[C]) -> Configured[C]:
            policy = replace(part.policy, deadline_seconds=seconds(part.policy.deadline_seconds))
            return replace(part, policy=policy)

        return replace(
            self,
            layers=tuple(patient(layer) for layer in self.layers),
            models=tuple(patient(model) for model in self.models),
            regime=None if self.regime is None else patient(self.regime),
            deadline_seconds=seconds(self.deadline_seconds),
            deadlines={key: seconds(deadline) for key, deadline in self.deadlines.items()},
        )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Return the needs of all components, and the candles behind a signal's data status."""
        asking: list[Component] = [self.universe, self.ensemble, self.risk, self.sizer]
        asking += [configured.component for configured in self.layers]
        asking += [configured.component for configured in self.models]
        for single in (self.regime, self.portfolio_risk):
            asking += [] if single is None else [single.component]
        needs = [need for component in asking for need in component.needs]
        return (*needs, CandleNeed(None, COVERAGE_ROWS))

    @property
    def data_kind(self) -> SourceKind:
        """Return the kind of the data: synthetic or sandbox as soon as one provider is."""
        kinds = {configured.component.source_kind for configured in self.providers}
        unreal = (SourceKind.SYNTHETIC, SourceKind.SANDBOX)
        return next((kind for kind in unreal if kind in kinds), SourceKind.REAL)
