"""Schema of config.yaml. Options of components are validated later, against their Config."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from weft.domain.reconcile import Rule
from weft.foundation.times import SECOND, Interval


def _interval(text: str) -> str:
    return Interval.parse(text).name


IntervalText: TypeAlias = Annotated[str, AfterValidator(_interval)]
PositiveSeconds: TypeAlias = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Base of the fixed sections: unknown keys are refused, values are frozen."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class Slot(Section):
    """A place in the composition: the component that fills it, and the component's options.

    Attributes:
        use: the component, ``name`` or ``distribution:name``; by default the key of the slot, where
            a section holds several slots.
        enabled: whether the component is used.
        on_error: ``fail`` stops the start, or the composition, when the component cannot be
            loaded or does not answer; ``degrade`` continues without it, and every signal names it
            as missing. Universe, ensemble, risk and sizer cannot be left out or degraded.
        deadline_seconds: time limit of one call; None for ``runtime.deadline_seconds``.
    """

    model_config = ConfigDict(extra="allow")

    use: str = Field(min_length=1, description="name of an installed component")
    enabled: bool | Literal["auto"] = True
    on_error: Literal["fail", "degrade"] = "fail"
    deadline_seconds: PositiveSeconds | None = None

    @property
    def options(self) -> dict[str, Any]:
        """All other keys of the section: the options of the component."""
        return dict(self.model_extra or {})

    @field_validator("enabled")
    @classmethod
    def _auto_is_for_providers(cls, value: bool | Literal["auto"]) -> bool | Literal["auto"]:  # noqa: FBT001  # pydantic calls it
        if value == "auto" and not issubclass(cls, ProviderSlot):
            raise ValueError("only providers can be `auto`; write true or false")
        return value

    def __repr_args__(self) -> Any:  # noqa: ANN401  # the type is private to pydantic
        # Options may hold secrets, and only the component defines which.
        return [(name, getattr(self, name)) for name in type(self).model_fields]


class ProviderSlot(Slot):
    """A provider; ``auto`` enables it when the path or key it needs is set."""

    enabled: bool | Literal["auto"] = "auto"


class LayerSlot(Slot):
    """A layer and its base weight, which its confidence scales; only ratios of weights matter."""

    weight: float = Field(default=1.0, ge=0)


class TrainedSlot(Slot):
    """A component that can be trained.

    Attributes:
        retrain: interval of retraining while serving; None for never.
    """

    retrain: IntervalText | None = None


class FeatureSlot(Slot):
    """Chooses a distribution where several offer a feature of one name."""

    @model_validator(mode="before")
    @classmethod
    def _only_use(cls, section: object) -> object:
        others = sorted(section.keys() - {"use"}) if isinstance(section, Mapping) else ()
        if others:
            raise ValueError(
                f"a feature takes only `use` here, not {', '.join(map(str, others))}; "
                "the component that needs the feature sets its options"
            )
        return section


class Storage(Section):
    """Where data and signals are stored.

    Attributes:
        lake: folder of the Delta tables.
        ledger: SQLAlchemy URL of the ledger.
        models: folder of artifacts.
        cache: folder of cached API responses; None for no cache.
    """

    lake: str = Field(min_length=1)
    # The URL of a database server contains its password.
    ledger: str = Field(min_length=1, repr=False)
    models: str = Field(min_length=1)
    cache: str | None = Field(default=None, min_length=1)


class Reconcile(Section):
    """How several sources of one metric are reconciled.

    Attributes:
        rule: see `weft.domain.reconcile.Rule`.
        metrics: rules of single metrics, by name.
        max_age: age from which a value of a metric counts as unknown, by name: ``4d``.
    """

    rule: Rule = Rule.PRIORITY
    metrics: dict[str, Rule] = {}
    max_age: dict[str, IntervalText] = {}


class TrainingSection(Section):
    """How models are trained, judged and promoted.

    Attributes:
        shadow_share: share of the rows held out from training to judge the result.
        shadow_spans_most: largest number of held-out spans, each one horizon long.
        promote_above: number of standard errors by which a new artifact must beat the champion on
            rows later than the training data of both.
        keep_unpromoted: number of artifacts of each component to keep that were never promoted,
            the newest; older ones are deleted after a training.
        seed: seed of all random numbers in a training.
        scheduled: whether components with `retrain` are retrained while serving.
    """

    shadow_share: float = Field(default=0.2, gt=0.0, lt=0.9)
    shadow_spans_most: int = Field(default=120, ge=12)
    promote_above: float = Field(default=1.0, ge=0.0)
    keep_unpromoted: int = Field(default=5, ge=0)
    seed: int = Field(default=7, ge=0)
    scheduled: bool = True


class Server(Section):
    """The API."""

    host: str = "127.0.0.1"
    port: int = Field(default=8300, ge=1, le=65535)
    token: SecretStr | None = None
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")


class SandboxSection(Section):
    """The made-up market of `--sandbox`.

    Attributes:
        port: port on 127.0.0.1; if it is in use, the following ports are tried. 0 for any free
            port.
    """

    port: int = Field(default=8390, ge=0, le=65535)


class Runtime(Section):
    """How composing runs; it changes no result.

    Attributes:
        threads: threads that compute features; 0 for one per core.
        deadline_seconds: default time limit of one call of a component.
        wait_seconds: how long the live service waits for missing candles after a decision is due.
    """

    threads: int = Field(default=0, ge=0)
    deadline_seconds: PositiveSeconds = 20.0
    wait_seconds: float = Field(default=60.0, ge=0)


class Settings(Section):
    """One composition and where it runs. `weft.config.loading.load_settings` returns it.

    Attributes:
        interval: the decision interval.
        base_interval: length of the candles to fetch; None for the decision interval.
        horizon_candles: how far ahead signals look.
        history_days: how far back the first update fetches.
        max_age_candles: a symbol whose latest candle is older gets no signal.
        max_gross_exposure: largest sum of the sizes of one decision row, long and short alike, as
            a fraction of equity.
        decision_delay_seconds: time from a close to its decision; facts that become known in
            between count.
        hooks: hook plugins to notify, ``name`` or ``distribution:name``.
    """

    interval: IntervalText = "1h"
    base_interval: IntervalText | None = None
    horizon_candles: int = Field(default=12, ge=1, le=10_000)
    history_days: int = Field(default=400, ge=1)
    max_age_candles: int = Field(default=3, ge=1)
    max_gross_exposure: float = Field(default=1.0, gt=0)
    decision_delay_seconds: float = Field(default=0.0, ge=0)
    universe: Slot
    providers: dict[str, ProviderSlot] = {}
    features: dict[str, FeatureSlot] = {}
    layers: dict[str, LayerSlot] = {}
    models: dict[str, TrainedSlot] = {}
    regime: TrainedSlot | None = None
    ensemble: TrainedSlot
    risk: TrainedSlot
    sizer: TrainedSlot
    portfolio_risk: Slot | None = None
    allocator: Slot | None = None
    executor: Slot | None = None
    sinks: dict[str, Slot] = {}
    hooks: tuple[str, ...] = ()
    reconcile: Reconcile = Reconcile()
    training: TrainingSection = TrainingSection()
    storage: Storage
    server: Server = Server()
    sandbox: SandboxSection = SandboxSection()
    runtime: Runtime = Runtime()

    @field_validator("providers", "features", "layers", "models", "sinks", mode="before")
    @classmethod
    def _use_is_the_key(cls, section: object) -> object:
        if not isinstance(section, Mapping):
            return section
        return {
            key: {"use": key} | dict(slot or {})
            if slot is None or isinstance(slot, Mapping)
            else slot
            for key, slot in section.items()
        }

    @field_validator("base_interval")
    @classmethod
    def _base_divides(cls, base: str | None, info: ValidationInfo) -> str | None:
        interval = info.data.get("interval")
        if base is None or interval is None:
            return base
        if Interval.parse(interval).micros % Interval.parse(base).micros:
            raise ValueError(f"{base} candles do not add up to {interval}, the decision interval")
        return base

    @field_validator("decision_delay_seconds")
    @classmethod
    def _delay_within_the_interval(cls, delay: float, info: ValidationInfo) -> float:
        interval = info.data.get("interval")
        if interval is not None and delay * SECOND >= Interval.parse(interval).micros:
            raise ValueError(f"a decision is taken before the next {interval} candle closes")
        return delay

    def slot(self, key: str) -> Slot:
        """Return the slot under a key such as ``risk`` or ``layers.technical``.

        Raises:
            KeyError: there is none.
        """
        section, _, name = key.partition(".")
        value = getattr(self, section, None)
        value = value.get(name) if name and isinstance(value, dict) else value
        if not isinstance(value, Slot):
            raise KeyError(key)
        return value


def _has(annotation: object, wanted: type) -> bool:
    if isinstance(annotation, type):
        return issubclass(annotation, wanted)
    return any(_has(part, wanted) for part in getattr(annotation, "__args__", ()))


SINGLE_SLOTS = tuple(
    name
    for name, info in Settings.model_fields.items()
    if _has(info.annotation, Slot) and not _has(info.annotation, str)
)
"""Sections that hold one component."""

SLOT_MAPS = tuple(
    name
    for name, info in Settings.model_fields.items()
    if _has(info.annotation, Slot) and _has(info.annotation, str)
)
"""Sections that hold components by name."""


def may_be_null(section: str) -> bool:
    """Return whether null is a meaningful value of a section."""
    info = Settings.model_fields.get(section)
    return info is not None and type(None) in getattr(info.annotation, "__args__", ())
