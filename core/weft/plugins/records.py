"""What is known about each installed plugin."""

from dataclasses import dataclass
from enum import StrEnum

BUILT_IN = "weft"
"""The distribution whose plugins need no `use: dist:name`, whatever else is installed."""

IN_PROCESS = "in-process"
"""Stands for the distribution of classes that a program or a test brings itself."""

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
    """How far a plugin has come."""

    DISCOVERED = "discovered"
    """Its metadata was seen; nothing of it was imported."""
    DISABLED = "disabled"
    """Config names it and switches it off."""
    BLOCKED = "blocked"
    """Config names it, and another distribution offers the same; neither was taken."""
    INCOMPATIBLE = "incompatible"
    """Written for another version of Weft or of its contracts."""
    MISSING_DEPS = "missing-deps"
    """Something it imports is not installed."""
    FAILED = "failed"
    """It could not be imported, or is not what it should be."""
    WAITING = "waiting"
    """Loaded and in order, and not used until it has what it needs."""
    ACTIVE = "active"
    """Loaded and in order."""


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin: a component, or a set of hook implementations.

    Attributes:
        kind: layer, provider, ... or hook.
        name: how config.yaml calls it.
        dist: the distribution that brings it, normalised.
        version: that distribution's version.
        target: where it is, ``module:attribute``.
        status: how far it has come.
        error: why it came no further.
        import_ms: time its import took, in milliseconds.
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
        """What messages call it."""
        return f"{self.kind} {self.name} ({self.dist} {self.version})"
