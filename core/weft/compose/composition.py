"""A composition: the components one config.yaml chose, checked and ready to be called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weft.components.ensemble import Ensemble
from weft.components.execution import Sink
from weft.components.layer import Layer
from weft.components.model import Model, Regime
from weft.components.needs import CandleNeed, Need
from weft.components.provider import Provider, SourceKind
from weft.components.risk import Risk, Sizer
from weft.components.trained import Trained
from weft.components.universe import Universe
from weft.domain.signal import Versions
from weft.foundation.times import Interval

if TYPE_CHECKING:
    from weft.components.base import Component


COVERAGE_ROWS = 200
"""Decision rows over which a signal's coverage is counted."""

ROWS_OF_A_DEADLINE = 64
"""Decision rows that a deadline of the settings is for."""


@dataclass(frozen=True, slots=True)
class Placed:
    """How a component is used, apart from its own options.

    Attributes:
        name: its key in config.yaml.
        required: whether its failure stops the composition; otherwise the signal says so.
        deadline_seconds: time it has for one call.
    """

    name: str
    required: bool = True
    deadline_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer and how it is used."""

    layer: Layer
    place: Placed


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A model and how it is used."""

    model: Model
    place: Placed


@dataclass(frozen=True, slots=True)
class PlacedRegime:
    """A regime and how it is used."""

    regime: Regime
    place: Placed


@dataclass(frozen=True, slots=True)
class PlacedProvider:
    """A provider and how it is used."""

    provider: Provider
    place: Placed


NEEDED = ("universe", "ensemble", "risk", "sizer")
"""Keys in config of the components without which nothing can be composed."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Everything an engine needs to know to compose.

    Attributes:
        interval: the decision interval.
        base: candles that are fetched; coarser ones are joined from them.
        horizon_candles: how far ahead signals look.
        max_age_candles: symbols whose latest candle is older get no signal.
        max_gross_exposure: most that the sizes of one row's signals add up to, of the equity.
        providers: in the order of their preference.
        universe: chooses the symbols.
        layers: in the order of their names, so that installing order changes nothing.
        ensemble: fuses them.
        risk: sets levels.
        sizer: sets sizes.
        sinks: carry signals out, by name.
        versions: what goes into every signal.
        weights: base weight of every enabled layer, the missing ones included.
        missing: layers that could not be loaded and may be missing, and why.
        models: in the order of their names.
        regime: tells the state of the market; None for none.
        silent: models or a regime that could not be loaded and may be missing, and why.
        deadline_seconds: for components without a deadline of their own.
        deadlines: those of the four in `NEEDED` and of sinks that have one, by key in config.
    """

    interval: Interval
    base: Interval
    horizon_candles: int
    max_age_candles: int
    max_gross_exposure: float
    providers: tuple[PlacedProvider, ...]
    universe: Universe
    layers: tuple[PlacedLayer, ...]
    ensemble: Ensemble
    risk: Risk
    sizer: Sizer
    sinks: Mapping[str, Sink]
    versions: Versions
    weights: Mapping[str, float]
    missing: Mapping[str, str] = field(default_factory=dict)
    deadline_seconds: float = 20.0
    models: tuple[PlacedModel, ...] = ()
    regime: PlacedRegime | None = None
    silent: Mapping[str, str] = field(default_factory=dict)
    deadlines: Mapping[str, float] = field(default_factory=dict)

    def deadline(self, key: str) -> float:
        """Return the seconds one call has of what stands under a key of `deadlines`."""
        return self.deadlines.get(key, self.deadline_seconds)

    @property
    def made_for(self) -> dict[str, object]:
        """What an artifact has to have been trained for, as it stands on its card."""
        return {"interval": self.interval.name, "horizon_candles": self.horizon_candles}

    @property
    def trained(self) -> dict[str, Trained]:
        """Every component that is trained, by its key in config: ``models.transformer``."""
        slots: dict[str, Component] = {f"models.{m.place.name}": m.model for m in self.models}
        if self.regime is not None:
            slots["regime"] = self.regime.regime
        slots |= {f"layers.{placed.place.name}": placed.layer for placed in self.layers}
        slots |= {"ensemble": self.ensemble, "risk": self.risk, "sizer": self.sizer}
        return {key: one for key, one in slots.items() if isinstance(one, Trained)}

    def for_rows(self, rows: int) -> "Composition":
        """Return this composition with deadlines for a view of so many decision rows.

        The deadlines of the settings are for up to `ROWS_OF_A_DEADLINE` rows; a longer view gets
        proportionally more time.
        """
        if rows <= ROWS_OF_A_DEADLINE:
            return self
        return self._with_deadlines(lambda seconds: seconds * rows / ROWS_OF_A_DEADLINE)

    def unhurried(self) -> "Composition":
        """Return this composition with an hour for each call: for history, which may take long."""
        return self._with_deadlines(lambda _: 3600.0)

    def _with_deadlines(self, seconds: Callable[[float], float]) -> "Composition":
        def place(one: Placed) -> Placed:
            return replace(one, deadline_seconds=seconds(one.deadline_seconds))

        regime = self.regime
        return replace(
            self,
            layers=tuple(replace(one, place=place(one.place)) for one in self.layers),
            models=tuple(replace(one, place=place(one.place)) for one in self.models),
            regime=None if regime is None else replace(regime, place=place(regime.place)),
            deadline_seconds=seconds(self.deadline_seconds),
            deadlines={key: seconds(own) for key, own in self.deadlines.items()},
        )

    @property
    def needs(self) -> tuple[Need, ...]:
        """What all components together ask the view for, and what a signal says of its data."""
        asking: list[Component] = [self.universe, self.ensemble, self.risk, self.sizer]
        asking += [placed.layer for placed in self.layers]
        asking += [placed.model for placed in self.models]
        asking += [self.regime.regime] if self.regime is not None else []
        needs = [need for component in asking for need in component.needs]
        return (*needs, CandleNeed(None, COVERAGE_ROWS))

    @property
    def data_kind(self) -> SourceKind:
        """What the data is: synthetic or sandbox as soon as one provider is."""
        kinds = {placed.provider.source_kind for placed in self.providers}
        unreal = (SourceKind.SYNTHETIC, SourceKind.SANDBOX)
        return next((kind for kind in unreal if kind in kinds), SourceKind.REAL)
