import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weft.components.execution import Sink
from weft.config.loading import load_settings
from weft.domain.signal import Signal
from weft.foundation.errors import PluginError
from weft.plugins.discovery import discover
from weft.plugins.hookspecs import CompositionContext, EngineContext, hookimpl
from weft.plugins.manager import HookManager, build_hooks
from weft.plugins.records import Status
from weft.plugins.registry import Registry

Install = Callable[..., Path]

CONTEXT = CompositionContext(as_of="2025-01-01T00:00:00Z", data="synthetic", config="0" * 16)


class Quiet(Sink):
    name = "quiet"

    async def emit(self, signals: object) -> None:
        """Say nothing."""


class Listener:
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @hookimpl
    def weft_engine_ready(self, context: EngineContext) -> None:
        self.heard.append(context)

    @hookimpl
    def weft_signals_composed(
        self, signals: tuple[Signal, ...], context: CompositionContext
    ) -> None:
        self.heard.append((signals, context))


class Raising:
    @hookimpl
    def weft_signals_composed(self) -> None:
        raise ValueError("out of order")


class Hanging:
    @hookimpl
    def weft_signals_composed(self) -> None:
        time.sleep(5)


def manager_with(deadline_seconds: float = 30.0, **plugins: object) -> HookManager:
    manager = HookManager(deadline_seconds)
    for name, plugin in plugins.items():
        manager.register(name, plugin)
    return manager


def test_listeners_hear_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listener = Listener()
    manager = manager_with(listener=listener)
    ready = EngineContext(settings=load_settings(environ={}).settings, plugins=discover())
    manager.engine_ready(ready)
    manager.signals_composed((), CONTEXT)
    assert listener.heard == [ready, ((), CONTEXT)]
    assert manager.failures == ()


def test_an_implementation_may_take_fewer_arguments() -> None:
    heard = []

    class Brief:
        @hookimpl
        def weft_signals_composed(self, context: CompositionContext) -> None:
            heard.append(context)

    manager_with(brief=Brief()).signals_composed((), CONTEXT)
    assert heard == [CONTEXT]


@pytest.mark.parametrize(
    ("bad", "said"),
    [(Raising(), "raised ValueError: out of order"), (Hanging(), "no answer within 0.5 seconds")],
)
def test_one_that_fails_stops_no_other(
    bad: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = Listener(), Listener()
    manager = manager_with(0.5, before=before, bad=bad, after=after)
    manager.signals_composed((), CONTEXT)
    assert len(before.heard) == len(after.heard) == 1
    (failure,) = manager.failures
    assert (failure.plugin, failure.hook) == ("bad", "weft_signals_composed")
    assert said in failure.error
    assert said in caplog.text


def test_failures_are_kept_but_not_without_end() -> None:
    manager = manager_with(bad=Raising())
    for _ in range(150):
        manager.signals_composed((), CONTEXT)
    assert len(manager.failures) == 100


def test_plugins_are_called_in_the_order_they_were_registered() -> None:
    heard = []

    def hearing(name: str, *, first: bool = False, last: bool = False) -> object:
        @hookimpl(tryfirst=first, trylast=last)
        def weft_signals_composed() -> None:
            heard.append(name)

        return SimpleNamespace(weft_signals_composed=weft_signals_composed)

    manager = manager_with(b=hearing("b", first=True), a=hearing("a"), c=hearing("c", last=True))
    manager.signals_composed((), CONTEXT)
    assert heard == ["b", "a", "c"] == list(manager.plugins)


class Misspelt:
    @hookimpl
    def weft_signal_composed(self, signals: object) -> None:
        """Never called: the hook has another name."""


class Asking:
    @hookimpl
    def weft_engine_ready(self, engine: object) -> None:
        """Asks for what is not given."""


class Waiting:
    @hookimpl
    async def weft_engine_ready(self) -> None:
        await asyncio.sleep(0)


class Wrapping:
    @hookimpl(wrapper=True)
    def weft_engine_ready(self) -> Any:
        return (yield)


class Unmarked:
    def weft_engine_ready(self) -> None:
        """Never called: it is not marked."""


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (Misspelt(), "weft_signal_composed"),
        (Asking(), "engine"),
        (Waiting(), "is async, and would never be awaited"),
        (Wrapping(), "is a wrapper"),
        (Unmarked(), "implements no hook"),
    ],
)
def test_a_plugin_with_a_mistake_is_not_registered(plugin: object, said: str) -> None:
    listener = Listener()
    manager = manager_with(good=listener)
    with pytest.raises(PluginError) as caught:
        manager.register("bad", plugin)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert manager.plugins == ("good",)
    manager.register("late", Listener())
    manager.signals_composed((), CONTEXT)
    assert len(listener.heard) == 1


def test_a_name_can_be_registered_once() -> None:
    manager = manager_with(same=Listener())
    with pytest.raises(PluginError, match="hook same"):
        manager.register("same", Listener())
    assert manager.plugins == ("same",)


HEARING = """
import weft
heard = []

@weft.hookimpl
def weft_signals_composed(signals, context):
    heard.append((signals, context))
"""

BRINGING = """
import weft

class Brought(weft.Sink):
    name = "brought"

    async def emit(self, signals):
        pass

@weft.hookimpl
def weft_components():
    return {returned}
"""


def test_hook_plugins_that_config_names_are_built(install: Install) -> None:
    points = {"first": "acme_first", "second": "acme_second", "third": "acme_third"}
    modules = {"acme_first": "1 / 0", "acme_second": HEARING, "acme_third": "raise SystemExit"}
    install("acme", modules, points, group="weft.hooks")
    registry = Registry(discover())
    manager = build_hooks(registry, ["first", "acme:second", "missing"])
    manager.signals_composed((), CONTEXT)
    assert manager.plugins == ("acme:second",)
    assert sys.modules["acme_second"].heard == [((), CONTEXT)]
    assert "acme_third" not in sys.modules
    failed = {failure.plugin: failure.error for failure in manager.failures}
    assert set(failed) == {"first", "missing"}
    assert "ZeroDivisionError" in failed["first"]
    assert "no hook 'missing' is installed" in failed["missing"]


def test_a_hook_plugin_with_a_mistake_is_recorded(install: Install) -> None:
    source = HEARING.replace("weft_signals_composed", "weft_signals_compossed")
    install("acme", {"acme_typo": source}, {"typo": "acme_typo"}, group="weft.hooks")
    registry = Registry(discover())
    manager = build_hooks(registry, ["typo"])
    record = registry.find("hook", "typo")
    assert record.status is Status.FAILED
    assert "weft_signals_compossed" in (record.error or "")
    assert manager.plugins == ()


def test_classes_that_hooks_bring_can_be_used(install: Install) -> None:
    source = BRINGING.format(returned="[Brought]")
    install("acme", {"acme_more": source}, {"more": "acme_more"}, group="weft.hooks")
    registry = Registry(discover(), extra=[Quiet])
    build_hooks(registry, ["more"])
    assert registry.load("sink", "brought").name == "brought"
    record = registry.find("sink", "brought")
    assert (record.dist, record.version) == ("acme", "1.0")


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("[3]", "expected a component class, got 3"),
        ("Brought", "expected a list of component classes"),
        ("None", "returned NoneType, expected a list"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_classes_that_cannot_be_used_are_reported(
    install: Install, returned: str, said: str
) -> None:
    source = BRINGING.format(returned=returned)
    install("acme", {"acme_more": source}, {"more": "acme_more"}, group="weft.hooks")
    manager = build_hooks(Registry(discover()), ["more"])
    (failure,) = manager.failures
    assert failure.hook == "weft_components"
    assert said in failure.error


def test_hookspecs_import_next_to_nothing() -> None:
    script = (
        "import sys, dataclasses, pluggy, weakref\n"
        "before = set(sys.modules)\n"
        "import weft.plugins.hookspecs\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(
        [
            "lazy_loader",
            "weft",
            "weft.plugins",
            "weft.plugins.hookspecs",
        ]
    )
