"""Shared sandboxes: one with a stopped clock, one with a running clock."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from weft.foundation.times import parse_time
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World
from weft_sandbox.protocols import binance, bybit, coinbase

NOW = parse_time("2021-06-15T12:34:56.789Z")


def make_sandbox(**options: Any) -> Sandbox:
    """Return a sandbox of the three exchanges, by default in June 2021."""
    apis = (binance.api, bybit.api, coinbase.api)
    sandbox = Sandbox(**{"seed": 7, "start": NOW, "apis": apis, **options})
    if options.get("speed") == 0:
        # With a stopped clock, windows of rate limits must not end within a test.
        sandbox.desk.usage._clock = lambda: 1_000_000.0
    return sandbox


@pytest.fixture(scope="session")
def world() -> World:
    return World(seed=7)


@pytest.fixture(scope="session")
def _frozen() -> Iterator[Sandbox]:
    with make_sandbox(speed=0, limits=float("inf")) as sandbox:
        yield sandbox


@pytest.fixture
def frozen(_frozen: Sandbox) -> Iterator[Sandbox]:
    """A sandbox with a stopped clock and no limits; healed after every test."""
    yield _frozen
    _frozen.heal()
    _frozen.clock.move(NOW, 0)


@pytest.fixture(scope="session")
def _running() -> Iterator[Sandbox]:
    options = {"binance.ping_seconds": 0.4, "binance.pong_seconds": 0.4}
    with make_sandbox(options=options) as sandbox:
        yield sandbox


@pytest.fixture
def running(_running: Sandbox) -> Iterator[Sandbox]:
    """A sandbox with a running clock and short pings; healed after every test."""
    yield _running
    _running.heal()
    _running.clock.move(NOW, 1)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10) as client:
        yield client
