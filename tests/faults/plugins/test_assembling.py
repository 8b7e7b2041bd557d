"""Components that cannot be made, and two of one class: each is named by its key."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.plugins.components import PLAIN
from tests.faults.plugins.providers import NOW, Sound, candle
from tests.support import ALONE, make_engine
from weft import Batch, Layer, Request, Scores, View
from weft.domain.instruments import describe
from weft.engine.provider_status import provider_status
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.errors import ConfigError
from weft.sources.http import Http

if TYPE_CHECKING:
    from weft.components.base import Component

_PLAIN = (*ALONE, "layers.technical.enabled=false", "providers.sound.enabled=true")


class ExitsWhenMade(Layer):
    name = "exits_when_made"

    def __init__(self, config: Any = None) -> None:
        sys.exit(2)

    def score(self, view: View) -> Scores:
        raise NotImplementedError


class NeedsText(Layer):
    name = "needs_text"
    needs = "candles"  # type: ignore[assignment]  # the mistake

    def score(self, view: View) -> Scores:
        raise NotImplementedError


class NeedsRaise(Layer):
    name = "needs_raise"

    @property
    def needs(self) -> Any:
        raise KeyError("window")

    def score(self, view: View) -> Scores:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (ExitsWhenMade, "raised SystemExit: 2"),
        (NeedsText, "needs 'candles', expected a list of needs"),
        (NeedsRaise, "raised KeyError: 'window'"),
    ],
)
def test_a_component_that_cannot_be_made_is_a_mistake_of_its_key_or_missing(
    bad: type[Layer], said: str, tmp_path: Path
) -> None:
    options = (*_PLAIN, "layers.plain.enabled=true", f"layers.{bad.name}.enabled=true")
    extra: list[type[Component]] = [Sound, *PLAIN, bad]
    with pytest.raises(ConfigError, match=f"layers.{bad.name}.*{said}"):
        make_engine(tmp_path, *options, extra=extra, clock=SimulatedClock(NOW))
    degrade = f"layers.{bad.name}.on_error=degrade"
    engine = make_engine(tmp_path, *options, degrade, extra=extra, clock=SimulatedClock(NOW))
    assert said in engine.composition.missing[bad.name]
    engine.close()


class OneCoin(Sound):
    """A coin of the config's choice; fails on demand."""

    name = "one_coin"

    class Config(Sound.Config):
        coin: str
        fails: bool = False

    @property
    def source(self) -> str:
        return f"one_coin-{self.config.coin}"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        if self.config.fails:
            raise RuntimeError("no such coin")
        yield Batch(candles=candle(self.config.coin), instruments=(describe(self.config.coin),))


def test_two_providers_of_one_class_go_by_their_keys(tmp_path: Path) -> None:
    options = [*ALONE, "layers.technical.enabled=false", "layers.plain.enabled=true"]
    for key, coin, fails in (("spot", "AAAUSDT", "false"), ("perp", "BBBUSDT", "true")):
        options += [
            f"providers.{key}.use=one_coin",
            f"providers.{key}.enabled=true",
            f"providers.{key}.on_error=degrade",
            f"providers.{key}.coin={coin}",
            f"providers.{key}.fails={fails}",
        ]
    engine = make_engine(tmp_path, *options, extra=(OneCoin, *PLAIN), clock=SimulatedClock(NOW))
    brought = {one.provider: one for one in asyncio.run(engine.update())}
    assert (brought["spot"].new, brought["spot"].error) == (1, None)
    assert str(brought["perp"].error).startswith("provider perp: raised RuntimeError")
    statuses = {one.name: one for one in provider_status(engine)}
    assert statuses["spot"].error is None
    assert statuses["perp"].error == brought["perp"].error
    assert statuses["spot"].newest_candle == NOW
    engine.close()
