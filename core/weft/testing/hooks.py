"""Checks of hook plugins: modules or objects with implementations of the hooks."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Final

from weft.config.loading import load_settings
from weft.plugins.checks import check_class
from weft.plugins.discovery import discover
from weft.plugins.hookspecs import CompositionContext, EngineContext
from weft.plugins.manager import HookManager
from weft.plugins.registry import Registry
from weft.testing.delivery import sample_signals
from weft.testing.report import (
    ConformanceReport,
    parametrize,
    require,
    require_light_import,
    run_checks,
)

if TYPE_CHECKING:
    import pytest


def check_hook(
    plugin: object, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a hook plugin against the specifications of its hooks.

    Args:
        plugin: the module or object that its entry point names.
        expected_failures: names of checks that fail, and why that is right.
    """
    return run_checks(f"hook {_name(plugin)}", _checks(plugin), expected_failures)


def parametrize_hook_checks(plugins: Sequence[object]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each hook plugin and check.

    The test takes one argument, ``check``, and calls it.
    """
    return parametrize((_name(plugin), _checks(plugin)) for plugin in plugins)


def registers(plugin: object) -> None:
    """Each implementation has the name and the arguments of a hook, and is a plain function."""
    _manager(plugin)


def brings_components(plugin: object) -> None:
    """The classes of `weft_components` are complete components."""
    manager = _manager(plugin)
    registry = Registry(())
    for _, classes in manager.components():
        registry.add(classes, dist=_name(plugin))
        for cls in classes:
            check_class(registry.find(cls.kind, cls.name), cls)
    _require_no_failure(manager)


def takes_engine(plugin: object) -> None:
    """`weft_engine_ready` takes the settings and the installed plugins."""
    manager = _manager(plugin)
    with TemporaryDirectory(prefix="weft-check-") as folder:
        # An empty file, so that the config.yaml of the working directory plays no part.
        config = Path(folder) / "config.yaml"
        config.write_text("{}\n")
        settings = load_settings(config, environ={}).settings
    manager.engine_ready(EngineContext(settings=settings, plugins=discover()))
    _require_no_failure(manager)


def takes_signals(plugin: object) -> None:
    """`weft_signals_composed` takes signals of every direction, and a composition without any."""
    manager = _manager(plugin)
    context = CompositionContext(as_of="2026-01-01T00:00:00Z", data="synthetic", config="c0ffee")
    for signals in (sample_signals(), ()):
        manager.signals_composed(signals, context)
    _require_no_failure(manager)


def imports_light(plugin: object) -> None:
    """Importing the module of the plugin imports none of the heavy packages."""
    require_light_import(_name(plugin))


HOOK_CHECKS: Final[Mapping[str, Callable[[object], None]]] = {
    check.__name__: check
    for check in (registers, brings_components, takes_engine, takes_signals, imports_light)
}
"""The checks of a hook plugin by name, in the order they run."""


def _checks(plugin: object) -> dict[str, Callable[[], None]]:
    return {name: partial(check, plugin) for name, check in HOOK_CHECKS.items()}


def _manager(plugin: object) -> HookManager:
    """Return a manager with the plugin registered.

    Raises:
        PluginError: an implementation does not match a hook.
    """
    manager = HookManager()
    manager.register(_name(plugin), plugin)
    return manager


def _name(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__


def _require_no_failure(manager: HookManager) -> None:
    lines = [f"{failure.hook}: {failure.error}" for failure in manager.failures]
    require(not lines, "; ".join(lines))
