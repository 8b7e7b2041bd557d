"""The conformance kit for hook plugins: sound ones pass, faulty ones fail."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from weft import Layer, Signal, Sink, hookimpl
from weft.components.base import Component
from weft.plugins.hookspecs import CompositionContext, EngineContext
from weft.testing import check_hook, parametrize_hook_checks


class Quiet(Sink):
    name = "quiet"

    async def emit(self, signals: Sequence[Signal]) -> None:
        await asyncio.sleep(0)


class Complete:
    """Implements every hook."""

    @hookimpl
    def weft_components(self) -> Sequence[type[Component]]:
        return [Quiet]

    @hookimpl
    def weft_engine_ready(self, context: EngineContext) -> None:
        assert context.settings.interval == "1h"
        assert context.plugins

    @hookimpl
    def weft_signals_composed(self, signals: Sequence[Signal], context: CompositionContext) -> None:
        assert context.data == "synthetic"


@parametrize_hook_checks([Complete()])
def test_hook_plugin_passes(check: Callable[[], None]) -> None:
    check()


class Misspells:
    @hookimpl
    def weft_signal_composed(self) -> None:
        pass


class Unfinished(Layer):
    name = "unfinished"


class BringsUnfinished:
    @hookimpl
    def weft_components(self) -> Sequence[type[Component]]:
        return [Unfinished]


class Expects:
    """Expects a signal in every composition."""

    @hookimpl
    def weft_signals_composed(self, signals: Sequence[Signal]) -> None:
        assert signals[0].symbol


@pytest.mark.parametrize(
    ("plugin", "check", "message"),
    [
        (Misspells(), "registers", "weft_signal_composed"),
        (BringsUnfinished(), "brings_components", "lacks score"),
        (Expects(), "takes_signals", "IndexError"),
    ],
)
def test_faulty_hook_plugin_fails(plugin: object, check: str, message: str) -> None:
    results = check_hook(plugin).results
    failed = {result.name: result.message for result in results if not result.passed}
    assert message in failed[check]
