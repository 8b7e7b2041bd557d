"""A typed interface to pluggy: registers and calls hook plugins one by one."""

import inspect
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pluggy

from weft.foundation.calls import Calls
from weft.foundation.errors import PluginError
from weft.plugins import hookspecs
from weft.plugins.hookspecs import CompositionContext, EngineContext
from weft.plugins.registry import Registry

if TYPE_CHECKING:
    from weft.domain.signal import Signal

_log = logging.getLogger(__name__)

_MOST_FAILURES_KEPT = 100
_DEADLINE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class HookFailure:
    """A hook plugin that was not registered, or an implementation that failed.

    Attributes:
        plugin: as config names it.
        hook: the hook that was called, None where the plugin was not registered.
        error: what happened.
    """

    plugin: str
    hook: str | None
    error: str


@dataclass(frozen=True, slots=True)
class _Answer:
    plugin: str
    value: Any


class HookManager:
    """Registers and calls hook implementations. Build it with `build_hooks`.

    An implementation that raises or overruns its deadline is logged and listed in `failures`;
    the others are called nevertheless.

    Args:
        deadline_seconds: time for one implementation's answer.
        calls: calls the implementations, and remembers which of them hang.
    """

    def __init__(
        self, deadline_seconds: float = _DEADLINE_SECONDS, calls: Calls | None = None
    ) -> None:
        self._calls = calls or Calls()
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._deadline_seconds = deadline_seconds
        self._failures: deque[HookFailure] = deque(maxlen=_MOST_FAILURES_KEPT)

    @property
    def failures(self) -> tuple[HookFailure, ...]:
        """The latest failures, oldest first."""
        return tuple(self._failures)

    @property
    def plugins(self) -> tuple[str, ...]:
        """Names of the registered plugins, in calling order."""
        return tuple(name for name, plugin in self._manager.list_name_plugin() if plugin)

    def register(self, name: str, plugin: object) -> None:
        """Register all hook implementations of a plugin, or none.

        Raises:
            PluginError: it implements no hook or an unknown hook, takes an unknown argument, or is
                asynchronous or a wrapper.
        """
        problem = None
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            problem = self._fault(plugin)
        except (pluggy.PluginValidationError, ValueError) as error:
            problem = " ".join(str(error).split())
        if problem is not None:
            if self._manager.has_plugin(name) and self._manager.get_plugin(name) is plugin:
                self._manager.unregister(plugin)
            raise PluginError(
                problem,
                where=f"hook {name}",
                hint="Compare it with weft.plugins.hookspecs; it was not registered",
            )

    def components(self) -> tuple[tuple[str, Sequence[Any]], ...]:
        """Return the component classes of each plugin, with its name."""
        offers = []
        for answer in self._call("weft_components"):
            if isinstance(answer.value, list | tuple):
                offers.append((answer.plugin, answer.value))
            else:
                name = type(answer.value).__name__
                problem = f"returned {name}, expected a list of component classes"
                self.note_failure(answer.plugin, "weft_components", problem)
        return tuple(offers)

    def engine_ready(self, context: EngineContext) -> None:
        """Notify of an engine that can compose."""
        for _ in self._call("weft_engine_ready", context=context):
            pass

    def signals_composed(self, signals: "Sequence[Signal]", context: CompositionContext) -> None:
        """Notify of recorded signals."""
        for _ in self._call("weft_signals_composed", signals=signals, context=context):
            pass

    def note_failure(self, plugin: str, hook: str | None, error: str) -> None:
        """Log and list a failure."""
        _log.error("hook plugin %s: %s", plugin, error)
        self._failures.append(HookFailure(plugin, hook, error))

    def _call(self, hook: str, **given: object) -> Iterator[_Answer]:
        """Call each implementation separately, in the order of registration.

        The call of pluggy stops at the first exception and loses the other answers.
        """
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        rank = {name: position for position, name in enumerate(self.plugins)}
        for impl in sorted(implementations, key=lambda impl: rank[impl.plugin_name]):
            # A copy for each, because a plugin could write to the dicts of a signal.
            answer = partial(impl.function, *(deepcopy(given[name]) for name in impl.argnames))
            name = f"{impl.plugin_name}.{hook}"
            outcome = self._calls.attempt(name, answer, self._deadline_seconds)
            if outcome.failure is not None:
                self.note_failure(impl.plugin_name, hook, outcome.failure)
            else:
                yield _Answer(impl.plugin_name, outcome.value)

    def _fault(self, plugin: object) -> str | None:
        callers = self._manager.get_hookcallers(plugin) or []
        if not callers:
            return "implements no hook; mark its functions with @weft.hookimpl"
        for caller in callers:
            for impl in caller.get_hookimpls():
                if inspect.iscoroutinefunction(impl.function):
                    return f"{caller.name} is async, and would never be awaited"
                if impl.wrapper or impl.hookwrapper:
                    return f"{caller.name} is a wrapper; hooks here only notify"
        return None


def build_hooks(
    registry: Registry,
    uses: Iterable[str],
    deadline_seconds: float = _DEADLINE_SECONDS,
    calls: Calls | None = None,
) -> HookManager:
    """Return a manager with the hook plugins that config lists, and register their components.

    A plugin that cannot be loaded or registered is recorded in the registry and listed in
    `failures`; the others are registered nevertheless. The caller decides whether to start.

    Args:
        registry: loads the plugins, and registers the classes of `weft_components`.
        uses: ``name`` or ``distribution:name``, as in `hooks` of config.yaml.
        deadline_seconds: time for one implementation's answer.
        calls: calls the implementations; None for calls of their own.
    """
    manager = HookManager(deadline_seconds, calls)
    records = {}
    for use in dict.fromkeys(uses):
        try:
            plugin = registry.load_hook(use)
            records[use] = registry.find("hook", use)
            manager.register(use, plugin)
        except PluginError as error:
            manager.note_failure(use, None, str(error))
            if use in records:
                registry.report_failure(records.pop(use), error)
    for use, classes in manager.components():
        record = records[use]
        try:
            registry.add(classes, record.dist, record.version)
        except PluginError as error:
            manager.note_failure(use, "weft_components", str(error))
    return manager
