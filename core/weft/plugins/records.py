"""Records of installed plugins."""

from dataclasses import dataclass
from enum import StrEnum

BUILT_IN = "weft"
"""The distribution whose plugins take precedence over others of the same name."""

IN_PROCESS = "in-process"
"""Distribution name of classes that a program or a test registers."""

KINDS = {
    "provider": "weft.components.provider:Provider",
    "universe": "weft.components.universe:Universe",
    "feature": "weft.components.feature:Feature",
    "layer": "weft.components.layer:Layer",
    "model": "weft.components.model:Model",
    "regime": "weft.components.model:Regime",
    "ensemble": "weft.components.ensemble:Ensemble",
    "sizer": "weft.components.risk:Sizer",
    "allocator": "weft.components.execution:Allocator",
    "risk": "weft.components.risk:Risk",
    "portfolio_risk": "weft.components.portfolio_risk:PortfolioRisk",
    "executor": "weft.components.execution:Executor",
    "sink": "weft.components.execution:Sink",
}
"""The base class of each kind of component, imported when the first of that kind is loaded."""

HOOK = "hook"
"""The kind of a set of hook implementations."""

GROUPS = {f"weft.{kind}s": kind for kind in (*KINDS, HOOK)}
"""The kind behind each group of entry points."""


class Status(StrEnum):
    """Status of a plugin."""

    DISCOVERED = "discovered"
    """Listed from its metadata; not imported."""
    DISABLED = "disabled"
    """Switched off in config."""
    BLOCKED = "blocked"
    """Named in config, but offered by several distributions; none was loaded."""
    INCOMPATIBLE = "incompatible"
    """Written for another version of Weft or of its contracts."""
    MISSING_DEPS = "missing-deps"
    """A package that it imports is not installed."""
    FAILED = "failed"
    """It cannot be imported, or does not fulfil its contract."""
    WAITING = "waiting"
    """Loaded, and waiting for its key or path."""
    ACTIVE = "active"
    """Loaded."""


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin: a component, or a set of hook implementations.

    Attributes:
        kind: layer, provider, ... or hook.
        name: in config.yaml.
        dist: normalised name of its distribution.
        version: of its distribution.
        target: its place, ``module:attribute``.
        status: whether it is loaded.
        error: why it is not loaded; None without an error.
        import_ms: duration of its import in milliseconds.
        used_as: keys in config.yaml that use it, such as ``models.xgboost_majors``.
    """

    kind: str
    name: str
    dist: str
    version: str
    target: str
    status: Status = Status.DISCOVERED
    error: str | None = None
    import_ms: float | None = None
    used_as: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"{self.kind} {self.name} ({self.dist} {self.version})"
