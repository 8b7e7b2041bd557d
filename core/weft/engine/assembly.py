"""Assembling: builds an engine from settings and installed plugins."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from weft.collect.collector import Collector
from weft.components.base import Component, ComponentConfig
from weft.components.configured import Configured, Policy
from weft.components.contract_checks import checked_component
from weft.components.feature import Feature
from weft.components.needs import FeatureNeed
from weft.components.provider import Provider, SourceKind
from weft.compose.composition import (
    NEEDED,
    Composition,
)
from weft.config.loading import LoadedSettings, place_of_mistakes
from weft.config.resolve import composition_hash, validate_options
from weft.config.settings import Slot
from weft.domain.reconcile import Reconciliation
from weft.domain.signal import Versions
from weft.engine.engine import Engine
from weft.features.engine import FeatureEngine
from weft.foundation.breadcrumbs import Breadcrumbs, take_left_behind
from weft.foundation.calls import Calls
from weft.foundation.clock import Clock, SystemClock
from weft.foundation.errors import ConfigError, MissingDependencyError, PluginError
from weft.foundation.times import SECOND, Interval
from weft.foundation.version import __version__
from weft.learning.artifacts import Artifacts
from weft.learning.champions import Champions
from weft.learning.records import Rules
from weft.learning.trainer import Trainer
from weft.ledger.ledger import Ledger
from weft.market.market import Market
from weft.market.plan import make_plan
from weft.plugins.hookspecs import EngineContext
from weft.plugins.manager import HookManager, build_hooks
from weft.plugins.registry import Registry
from weft.sources.clients import Connections
from weft.store.lake import Lake
from weft.store.store import Store

if TYPE_CHECKING:
    from weft.components.ensemble import Ensemble
    from weft.components.execution import Sink
    from weft.components.layer import Layer
    from weft.components.model import Model, Regime
    from weft.components.portfolio_risk import PortfolioRisk
    from weft.components.risk import Risk, Sizer
    from weft.components.universe import Universe

_log = logging.getLogger(__name__)

_CALLS = "calls"
"""Folder beside that of the models, for notes of the plugin calls under way."""


@dataclass(slots=True)
class _Builder:
    """Builds components one by one, and collects every mistake before it raises."""

    loaded: LoadedSettings
    registry: Registry
    configs: dict[str, ComponentConfig] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def build(self, kind: str, key: str, name: str, slot: Slot) -> Component | None:
        """Return the component of a slot; None after a mistake, or for an optional one."""
        try:
            cls = self.registry.load(kind, slot.use)
            config = validate_options(cls, slot, key, self.loaded.origins)
        except ConfigError as error:
            self.problems += error.problems or [str(error)]
            return None
        except MissingDependencyError as error:
            # `auto` switches a provider on only where its packages are installed.
            if slot.enabled != "auto":
                self._lacks(key, slot, error)
            return None
        except PluginError as error:
            self._lacks(key, slot, error)
            return None
        record = self.registry.find(kind, slot.use)
        try:
            component = checked_component(lambda: cls(config), f"{kind} {name}")
        except PluginError as error:
            self.registry.report_failure(record, error)
            self._lacks(key, slot, error)
            return None
        if isinstance(component, Provider):
            component.key = name
        self.configs[key] = config
        self.plugins[f"{kind}:{name}"] = f"{record.dist} {record.version}"
        self.registry.note_use(record, key)
        return component

    def _lacks(self, key: str, slot: Slot, error: PluginError) -> None:
        if slot.on_error == "degrade":
            self.missing[key] = str(error)
            return
        self.problems.append(f"{key}{self._origin(*key.split('.'), 'use')}: {error}")

    def lacking(self, provider: str) -> str:
        """Return the name of the missing variable or option of a provider: its key, or its path."""
        options = self.configs[f"providers.{provider}"]
        missing = "api_key" if "api_key" in type(options).model_fields else "path"
        path = ("providers", provider, missing)
        origin = self.loaded.origins.at(path)
        return (origin and origin.variable) or ".".join(path)

    def _origin(self, *path: str) -> str:
        """Return the place where a key was set, as messages append it."""
        origin = self.loaded.origins.at(path)
        return f" ({origin.place})" if origin else ""

    def single(self, kind: str, slot: Slot) -> Any:  # noqa: ANN401  # a component of that kind
        """Return the component of a section with a single slot, named by its kind."""
        return self.build(kind, kind, slot.use, slot)

    def needed(self, kind: str, slot: Slot) -> Any:  # noqa: ANN401  # a component of that kind
        """Return the component of a section that every composition needs."""
        for key, value in (("enabled", False), ("on_error", "degrade")):
            if getattr(slot, key) == value:
                problem = f"nothing can be composed without one; leave {key} out"
                self.problems.append(f"{kind}.{key}: {problem}{self._origin(kind, key)}")
        # A None is never used, because `finish` raises first.
        return self.build(kind, kind, slot.use, slot.model_copy(update={"on_error": "fail"}))

    def deadlines(self, section: str, slots: Mapping[str, Slot]) -> dict[str, float]:
        """Return the deadlines that slots set, by key in config."""
        return {
            f"{section}{name}": slot.deadline_seconds
            for name, slot in slots.items()
            if slot.deadline_seconds is not None
        }

    def many(self, kind: str, key: str, slots: Mapping[str, Slot]) -> dict[str, Any]:
        """Return the enabled components of a section, by name."""
        built = {}
        for name, slot in sorted(slots.items()):
            if slot.enabled:
                built[name] = self.build(kind, f"{key}.{name}", name, slot)
            else:
                self.registry.disable(kind, slot.use)
        return {name: component for name, component in built.items() if component is not None}

    def finish(self) -> None:
        """Raise a ConfigError if there was any mistake."""
        if self.problems:
            count = len(self.problems)
            raise ConfigError(
                f"{'one mistake' if count == 1 else f'{count} mistakes'} in the configuration",
                where=place_of_mistakes(self.problems, self.loaded.path),
                problems=self.problems,
            )


def assemble(loaded: LoadedSettings, registry: Registry, clock: Clock | None = None) -> Engine:
    """Return an engine for the given settings.

    Args:
        loaded: settings, and the place of each.
        registry: the installed plugins.
        clock: the machine's clock by default.

    Raises:
        ConfigError: one line per mistake, with its key.
        StorageError: the lake or the ledger cannot be opened.
    """
    clock = clock or SystemClock()
    settings = loaded.settings
    breadcrumbs = _breadcrumbs(Path(settings.storage.models).parent / _CALLS)
    calls = Calls(clock, breadcrumbs)
    hooks = _hooks(loaded, registry, calls)
    composition, make_feature = compose_settings(loaded, registry)
    composition = replace(composition, calls=calls)
    if breadcrumbs is not None:
        breadcrumbs.titles = _titles(composition)
    delay = round(settings.decision_delay_seconds * SECOND)
    plan = make_plan(
        composition.interval,
        composition.base,
        composition.needs,
        make_feature,
        delay,
        composition.horizon_candles,
    )
    features = FeatureEngine(settings.runtime.threads)
    store = Store(Lake(settings.storage.lake), clock)
    sources = [configured.component.source for configured in composition.providers]
    max_age = {name: Interval.parse(age) for name, age in settings.reconcile.max_age.items()}
    reconcile = settings.reconcile
    reconciliation = Reconciliation(reconcile.rule, reconcile.metrics, max_age)
    market = Market(store, sources, plan, make_feature, features, reconciliation)
    cache = Path(settings.storage.cache) if settings.storage.cache else None
    collector = Collector(
        composition.providers,
        composition.base,
        store,
        market,
        clock,
        settings.history_days,
        Connections([configured.component for configured in composition.providers], clock, cache),
    )
    collector.workers.breadcrumbs = breadcrumbs
    ledger = Ledger(settings.storage.ledger, clock)
    artifacts = Artifacts(Path(settings.storage.models))
    champions = Champions(ledger, artifacts, composition.trained_for)
    training = settings.training
    rules = Rules(
        training.shadow_share,
        training.shadow_spans_most,
        training.promote_above,
        training.seed,
        training.keep_unpromoted,
    )
    trainer = Trainer(composition, market, champions, artifacts, ledger, rules, clock=clock)
    engine = Engine(
        composition,
        store,
        ledger,
        market,
        collector,
        features,
        hooks,
        clock,
        champions,
        trainer,
    )
    hooks.engine_ready(EngineContext(settings=settings, plugins=registry.records()))
    return engine


def _titles(composition: Composition) -> dict[str, str]:
    """Return each component's name and distribution, by the name it is called under."""
    titles = {}
    for key, dist in composition.versions.plugins.items():
        kind, _, name = key.partition(":")
        title = f"{kind} {name.rpartition(':')[2]}"
        titles[title] = f"{title} ({dist})"
    return titles


def _breadcrumbs(folder: Path) -> Breadcrumbs | None:
    """Return notes of the plugin calls under way, and warn of those that a crash left behind."""
    try:
        left = take_left_behind(folder)
        breadcrumbs = Breadcrumbs(folder)
    except OSError as error:
        _log.info("%s cannot be written; a crash inside a plugin will not be named", error.filename)
        return None
    if left:
        beside = f", beside {', '.join(left[1:])}" if left[1:] else ""
        _log.warning(
            "the last run ended inside %s%s. If nobody stopped it by hand, look at that plugin, or "
            "switch it off in config.yaml; PYTHONFAULTHANDLER=1 shows where C code crashes",
            left[0],
            beside,
        )
    return breadcrumbs


def compose_settings(
    loaded: LoadedSettings, registry: Registry
) -> "tuple[Composition, _FeatureMaker]":
    """Return the composition that settings describe, touching neither lake nor ledger.

    Raises:
        ConfigError: one line per mistake, with its key.
    """
    settings = loaded.settings
    builder = _Builder(loaded, registry)
    universe: Universe = builder.needed("universe", settings.universe)
    ensemble: Ensemble = builder.needed("ensemble", settings.ensemble)
    risk: Risk = builder.needed("risk", settings.risk)
    sizer: Sizer = builder.needed("sizer", settings.sizer)
    layers: dict[str, Layer] = builder.many("layer", "layers", settings.layers)
    sinks: dict[str, Sink] = builder.many("sink", "sinks", settings.sinks)
    models: dict[str, Model] = builder.many("model", "models", settings.models)
    regime: Configured[Regime] | None = _optional(builder, "regime", settings.regime)
    portfolio_risk: Configured[PortfolioRisk] | None = _optional(
        builder, "portfolio_risk", settings.portfolio_risk
    )
    builder.problems += [
        f"{section}: this version of Weft does not use it yet; leave it out"
        for section in ("allocator", "executor")
        if getattr(settings, section)
    ]
    providers = _providers(builder)
    builder.finish()
    for key, why in builder.missing.items():
        if key.startswith(("sinks.", "providers.", "portfolio_risk")):
            # Signals name missing layers and models only.
            _log.warning("%s is left out: %s", key, why)
    deadline = settings.runtime.deadline_seconds
    make_feature = _FeatureMaker(registry, settings.features)
    composition = Composition(
        interval=Interval.parse(settings.interval),
        base=Interval.parse(settings.base_interval or settings.interval),
        horizon_candles=settings.horizon_candles,
        max_age_candles=settings.max_age_candles,
        max_gross_exposure=settings.max_gross_exposure,
        providers=tuple(
            Configured(p, _policy(name, settings.providers[name], deadline))
            for name, p in providers.items()
        ),
        universe=universe,
        layers=tuple(
            Configured(layer, _policy(name, settings.layers[name], deadline))
            for name, layer in layers.items()
        ),
        ensemble=ensemble,
        risk=risk,
        sizer=sizer,
        sinks=sinks,
        versions=Versions(
            weft=__version__,
            config=composition_hash(settings, builder.configs),
            # What changes no signal is in none: another choice leaves their ids as they are.
            plugins={
                key: plugin
                for key, plugin in sorted(builder.plugins.items())
                if not key.startswith("portfolio_risk:")
            },
            artifacts={},
        ),
        weights={n: slot.weight for n, slot in settings.layers.items() if slot.enabled is True},
        missing=_below("layers", builder.missing),
        deadline_seconds=deadline,
        deadlines={
            **builder.deadlines("", {name: getattr(settings, name) for name in NEEDED}),
            **builder.deadlines("sinks.", settings.sinks),
        },
        models=tuple(
            Configured(model, _policy(name, settings.models[name], deadline))
            for name, model in models.items()
        ),
        regime=regime,
        portfolio_risk=portfolio_risk,
        missing_models={
            k: why for k, why in builder.missing.items() if k.startswith(("models.", "regime"))
        },
    )
    return composition, make_feature


def _below(section: str, missing: Mapping[str, str]) -> dict[str, str]:
    """Return the entries of a section, by their keys without the section's name."""
    under = f"{section}."
    return {k.removeprefix(under): why for k, why in missing.items() if k.startswith(under)}


def _optional(builder: _Builder, kind: str, slot: Slot | None) -> Configured[Any] | None:
    """Return the component of a section that holds one or none."""
    if slot is None or not slot.enabled:
        return None
    component = builder.single(kind, slot)
    deadline = builder.loaded.settings.runtime.deadline_seconds
    return None if component is None else Configured(component, _policy(kind, slot, deadline))


def _hooks(loaded: LoadedSettings, registry: Registry, calls: Calls) -> HookManager:
    """Return the hooks that config lists, or raise where one cannot be registered."""
    settings = loaded.settings
    hooks = build_hooks(registry, settings.hooks, settings.runtime.deadline_seconds, calls)
    if hooks.failures:
        raise ConfigError(
            "not every hook plugin could be registered",
            where="hooks",
            problems=[f"hooks.{failure.plugin}: {failure.error}" for failure in hooks.failures],
        )
    return hooks


def _policy(name: str, slot: Slot, deadline_seconds: float) -> Policy:
    return Policy(name, slot.on_error == "fail", slot.deadline_seconds or deadline_seconds)


def _providers(builder: _Builder) -> dict[str, Provider]:
    """Return the providers that are on, in config order.

    ``auto`` switches a provider on that has its key or path, and a fallback only when no other
    provider is on, so that made-up data is never mixed with real data.
    """
    slots = builder.loaded.settings.providers
    on: dict[str, Provider] = {}
    fallbacks: dict[str, Provider] = {}
    waiting: dict[str, str] = {}
    for name, slot in slots.items():
        if slot.enabled is False:
            builder.registry.disable(Provider.kind, slot.use)
            continue
        built = builder.build(Provider.kind, f"providers.{name}", name, slot)
        if not isinstance(built, Provider):
            continue
        if slot.enabled == "auto" and built.fallback:
            fallbacks[name] = built
        elif slot.enabled is True or built.ready():
            on[name] = built
        else:
            waiting[name] = f"waiting for {builder.lacking(name)}"
    chosen = on or fallbacks
    for name in (on.keys() | fallbacks.keys() | waiting.keys()) - chosen.keys():
        why = waiting.get(name, "waiting: used where no other provider is on")
        builder.registry.note_waiting(Provider.kind, slots[name].use, f"providers.{name}", why)
    for name in slots.keys() - chosen.keys():
        builder.configs.pop(f"providers.{name}", None)
        builder.plugins.pop(f"{Provider.kind}:{name}", None)
    kinds = {p.source_kind for p in chosen.values()}
    if SourceKind.REAL in kinds and len(kinds) > 1:
        unreal = [n for n, p in chosen.items() if p.source_kind is not SourceKind.REAL]
        builder.problems.append(
            f"providers.{unreal[0]}.enabled: made-up data cannot stand beside real data; "
            "set it to auto or false, or switch the real providers off"
        )
    if not chosen and not builder.problems:
        builder.problems.append("providers: none is on; set one's `enabled` to true")
    return chosen


class _FeatureMaker:
    """Builds each feature once for each combination of options."""

    def __init__(self, registry: Registry, slots: Mapping[str, Slot]) -> None:
        self._registry = registry
        self._slots = slots
        self._features: dict[FeatureNeed, Feature] = {}

    def __call__(self, need: FeatureNeed) -> Feature:
        if need not in self._features:
            slot = self._slots.get(need.name)
            cls = self._registry.load(Feature.kind, slot.use if slot else need.name)
            try:
                options = cls.Config.model_validate(dict(need.params))
            except ValidationError as error:
                wrong = error.errors()[0]
                raise ConfigError(
                    f"{'.'.join(map(str, wrong['loc'])) or 'options'}: {wrong['msg']}",
                    where=f"feature {need.name}",
                    hint="The layer or model that asks for it has to ask for something else",
                ) from error
            self._features[need] = cast("Feature", cls(options))
        return self._features[need]
