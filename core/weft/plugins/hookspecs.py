"""The hooks: through them a plugin adds components in code, and is notified of events.

To implement a hook, decorate a function of the same name with `hookimpl`, name its module or object
in the entry-point group ``weft.hooks``, and list it under `hooks` in config.yaml. An implementation
may take fewer arguments than the hook. Hooks register and notify; their results enter no signal.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weft.components.base import Component
    from weft.config.settings import Settings
    from weft.domain.signal import Signal
    from weft.plugins.records import PluginRecord

PROJECT: Final = "weft"

hookspec = pluggy.HookspecMarker(PROJECT)
"""Marks a hook that plugins may implement."""

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's implementation of a hook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineContext:
    """An engine that is ready to compose.

    Attributes:
        settings: of the engine.
        plugins: all installed plugins with their status.
    """

    settings: "Settings"
    plugins: "tuple[PluginRecord, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositionContext:
    """A composition whose signals were recorded.

    Attributes:
        as_of: the decision row, ISO 8601 UTC.
        data: kind of its data: real, synthetic or sandbox.
        config: digest of every setting that can change a signal.
    """

    as_of: str
    data: str
    config: str


@hookspec
def weft_components() -> "Sequence[type[Component]]":
    """Return component classes without an entry point.

    Called once, while plugins are loaded. The classes take part when config.yaml names them.
    """
    return ()


@hookspec
def weft_engine_ready(context: EngineContext) -> None:
    """Notify that an engine is built and can compose."""


@hookspec
def weft_signals_composed(signals: "Sequence[Signal]", context: CompositionContext) -> None:
    """Notify of new signals, after they were written to the ledger."""
