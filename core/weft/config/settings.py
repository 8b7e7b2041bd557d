"""The shape of config.yaml. Options of components are checked later, against their own Config."""

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
    """A place in the composition, the component that fills it, and that component's options.

    Attributes:
        use: the component, ``name`` or ``distribution:name``; where a section holds several
            slots it is the slot's key unless written otherwise.
        enabled: whether it takes part.
        on_error: ``fail`` stops the start, or the composition, when the component cannot be
            loaded or does not answer; ``degrade`` goes on without it, and every signal says so.
            Universe, ensemble, risk and sizer are needed: neither this nor ``enabled: false``.
        deadline_seconds: time for one call; None for ``runtime.deadline_seconds``.
    """

    model_config = ConfigDict(extra="allow")

    use: str = Field(min_length=1, description="name of an installed component")
    enabled: bool | Literal["auto"] = True
    on_error: Literal["fail", "degrade"] = "fail"
    deadline_seconds: PositiveSeconds | None = None

    @property
    def options(self) -> dict[str, Any]:
        """All other keys of the section, as written: the options of the component."""
        return dict(self.model_extra or {})

    @field_validator("enabled")
    @classmethod
    def _auto_is_for_providers(cls, value: bool | Literal["auto"]) -> bool | Literal["auto"]:  # noqa: FBT001  # pydantic calls it
        if value == "auto" and not issubclass(cls, ProviderSlot):
            raise ValueError("only providers can be `auto`; write true or false")
        return value

    def __repr_args__(self) -> Any:  # noqa: ANN401  # pydantic keeps the type to itself
        # Options may hold secrets, and only the component knows which.
        return [(name, getattr(self, name)) for name in type(self).model_fields]


class ProviderSlot(Slot):
    """A provider; ``auto`` switches it on when it has the path or key it needs."""

    enabled: bool | Literal["auto"] = "auto"


class LayerSlot(Slot):
    """A layer, and its weight before its own confidence; only ratios of weights matter."""

    weight: float = Field(default=1.0, ge=0)


class TrainedSlot(Slot):
    """A component that may be one that is trained.

    Attributes:
        retrain: how often it is trained anew while serving; None for never.
    """

    retrain: IntervalText | None = None


class FeatureSlot(Slot):
    """Which distribution's feature a name stands for, where several offer one."""

    @model_validator(mode="before")
    @classmethod
    def _only_use(cls, section: object) -> object:
        others = sorted(section.keys() - {"use"}) if isinstance(section, Mapping) else ()
        if others:
            raise ValueError(
                f"a feature takes only `use` here, not {', '.join(map(str, others))}; "
                "whoever asks for it gives its options"
            )
        return section


class Storage(Section):
    """Where data and signals are kept.

    Attributes:
        lake: folder of the Delta tables.
        ledger: SQLAlchemy URL of the ledger.
        models: folder of what the models were trained to.
        cache: folder of the answers of APIs; None to keep none.
    """

    lake: str = Field(min_length=1)
    # A URL of a database server carries its password.
    ledger: str = Field(min_length=1, repr=False)
    models: str = Field(min_length=1)
    cache: str | None = Field(default=None, min_length=1)


class Reconcile(Section):
    """How several sources of one metric become one.

    Attributes:
        rule: see `weft.domain.reconcile.Rule`.
        metrics: rules of single metrics, by name.
        max_age: age from which on a value of a metric is unknown, by name: ``4d``.
    """

    rule: Rule = Rule.PRIORITY
    metrics: dict[str, Rule] = {}
    max_age: dict[str, IntervalText] = {}


class TrainingSection(Section):
    """How models are trained, judged and taken into use.

    Attributes:
        shadow_share: share of the rows that is kept from a training, to judge it on.
        shadow_spans_most: spans of these at most, each as long as signals look ahead.
        promote_above: standard errors by which a new artifact has to be better than the one in
            use, on rows that came after both were trained.
        keep_unpromoted: artifacts of each component that are kept though they were never taken
            into use, the newest; older ones are removed after a training.
        seed: of everything random in a training.
        scheduled: whether components with `retrain` are trained anew while serving.
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
        port: where it listens on 127.0.0.1; the ports after it are tried where it is taken. 0 for
            any free one.
    """

    port: int = Field(default=8390, ge=0, le=65535)


class Runtime(Section):
    """How composing runs; changes no number.

    Attributes:
        threads: for computing features; 0 for one for each core.
        deadline_seconds: time for one call of a component that sets none itself.
        wait_seconds: how long after a decision is due live waits for candles still missing.
    """

    threads: int = Field(default=0, ge=0)
    deadline_seconds: PositiveSeconds = 20.0
    wait_seconds: float = Field(default=60.0, ge=0)


class Settings(Section):
    """One composition and where it runs. Get it with `weft.config.loading.load_settings`.

    Attributes:
        interval: the decision interval.
        base_interval: candles that are fetched; None for the decision interval.
        horizon_candles: how far ahead signals look.
        history_days: how far back a first update reaches.
        max_age_candles: symbols whose latest candle is older get no signal.
        max_gross_exposure: most that the sizes of one instant's signals add up to, long and short
            alike, as a fraction of the equity.
        decision_delay_seconds: how long after a close its decision is taken; what becomes known
            in between counts.
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
        found = getattr(self, section, None)
        found = found.get(name) if name and isinstance(found, dict) else found
        if not isinstance(found, Slot):
            raise KeyError(key)
        return found


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
    """Return whether null means something for a section, rather than that nothing is said."""
    info = Settings.model_fields.get(section)
    return info is not None and type(None) in getattr(info.annotation, "__args__", ())
