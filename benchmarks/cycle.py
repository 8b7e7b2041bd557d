"""A live cycle over all sources at once, against the time of the slowest source.

The sandbox runs in another process and answers each request 50 ms late. The benchmark collects a
day of a hundred symbols, lets an hour pass, and times the next round. One source is limited by its
pages and its rate limit; all sources together should take little longer than the slowest.

`bound` is the time that no client can beat: the requests of a source in parallel, 50 ms each, or
the wait that its rate limit enforces, whichever is longer.
"""

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from math import ceil

import httpx
from rich.console import Console
from rich.table import Table

from weft.components.provider import Provider
from weft.config.loading import load_settings
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.clock import SystemClock
from weft.foundation.times import HOUR, iso
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.http.status import SourceStatus
from weft_app.demo import API_OF, KEY_OF
from weft_app.installed import http_providers
from weft_sandbox.market.coins import COINS
from weft_sandbox.market.more_coins import MORE_COINS

LATENCY_SECONDS = 0.05
IN_FLIGHT = 8
"""Parallel requests to an exchange, as a user with that many symbols would set it."""
DAYS = 1
NAMES = [coin.name for coin in COINS + MORE_COINS]
PAIRS = f"[{','.join(f'{name}USDT' for name in NAMES)}]"
SYMBOLS = {
    **dict.fromkeys(("binance", "binance_futures", "bybit"), PAIRS),
    "coinbase": f"[{','.join(f'{name}-USD' for name in NAMES)}]",
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """The measurements of a live cycle.

    Attributes:
        seconds: duration.
        cpu_seconds: of this process, without the sandbox.
        new: number of new facts.
        requests: number of requests.
        bound_seconds: the highest lower bound of its sources.
    """

    seconds: float
    cpu_seconds: float
    new: int
    requests: int
    bound_seconds: float


def main() -> None:
    """Measure and print."""
    port = _free_port()
    command = [sys.executable, "-m", "weft_app.cli", "sandbox", "--port", str(port)]
    command += ["--coins", str(len(NAMES))]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sandbox:
        try:
            _wait_for(port)
            _measure(f"http://127.0.0.1:{port}")
        finally:
            sandbox.terminate()


def _measure(url: str) -> None:
    names = http_providers(Registry(discover()))
    # Each source first runs without the others, which also builds the market for all.
    single = {name: _cycle(url, [name]) for name in names}
    together = _cycle(url, names)
    slowest = max(single, key=lambda name: single[name].seconds)
    table = Table("source", "seconds", "bound", "requests", "CPU", title_justify="left")
    table.title = (
        f"{len(names)} sources, {len(NAMES)} symbols, an hour later: {together.new:,} new facts"
    )
    for name, cycle in sorted(single.items(), key=lambda item: -item[1].seconds):
        numbers = (cycle.seconds, cycle.bound_seconds, cycle.cpu_seconds)
        seconds, bound, cpu = (f"{number:.2f}" for number in numbers)
        table.add_row(name, seconds, bound, f"{cycle.requests}", cpu)
    console = Console(highlight=False)
    console.print(table)
    total = sum(cycle.seconds for cycle in single.values())
    console.print(
        f"All at once {together.seconds:.2f} s, {together.cpu_seconds:.2f} s of it this process's "
        f"CPU: {together.seconds / single[slowest].seconds:.2f}x of the slowest ({slowest}), "
        f"{together.seconds / together.bound_seconds:.2f}x of the highest bound; one after the "
        f"other they take {total:.1f} s.\n"
    )


def _cycle(url: str, names: list[str]) -> Cycle:
    clock = _Shifted()
    _at(url, clock.now())
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        places = [f"storage.lake={folder}/lake", f"storage.ledger=sqlite:///{folder}/l.db"]
        options = [f"history_days={DAYS}", "storage.cache=null"]
        for name in names:
            options += [
                f"providers.{name}.enabled=true",
                f"providers.{name}.base_url={url}/{API_OF.get(name, name)}",
                f"providers.{name}.api_key={KEY_OF.get(name, 'sandbox')}",
            ]
            if name in SYMBOLS:
                options.append(f"providers.{name}.symbols={SYMBOLS[name]}")
                options.append(f"providers.{name}.requests_in_flight={IN_FLIGHT}")
        engine = assemble(load_settings(None, [*places, *options]), Registry(discover()), clock)
        first = asyncio.run(engine.update())
        clock.offset = 0
        _at(url, clock.now())
        before = engine.collector.connections.status()
        begin, cpu = time.perf_counter(), time.process_time()
        second = asyncio.run(engine.update())
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        requests, bound = _bound(engine, before)
        engine.close()
    failed = {result.provider: result.error for result in first + second if result.error}
    if failed:
        raise SystemExit(f"a source failed: {failed}")
    return Cycle(seconds, cpu, sum(result.new for result in second), requests, bound)


def _bound(engine: Engine, before: list[SourceStatus]) -> tuple[int, float]:
    """Return the number of requests of the last round, and the highest lower bound."""
    # A source without a request still shows the numbers of the round before.
    status = (s for s in engine.collector.connections.status() if s not in before)
    requests = {source.name: source.requests for source in status}
    needs = (
        _least_seconds(configured.component, requests.get(configured.component.name, 0))
        for configured in engine.composition.providers
    )
    return sum(requests.values()), max(needs)


def _least_seconds(provider: Provider, requests: int) -> float:
    if provider.web is None or not requests:
        return 0.0
    waves = ceil(requests / provider.web.concurrent) * LATENCY_SECONDS
    limits = [
        (requests - 1) // limit.units * limit.seconds
        for limit in provider.web.limits
        if not limit.only
    ]
    return max([waves, *limits])


class _Shifted(SystemClock):
    """The clock of the machine, an hour behind at first.

    A clock ahead would not do: no candle counts as closed before the Date header of the server.
    """

    offset = -HOUR

    def now(self) -> int:
        return super().now() + self.offset


def _at(url: str, now: int) -> None:
    """Set the clock of the sandbox, and reset all rate limits."""
    httpx.delete(f"{url}/_sandbox/faults").raise_for_status()
    late = {"kind": "latency", "seconds": LATENCY_SECONDS}
    httpx.post(f"{url}/_sandbox/faults", json=late).raise_for_status()
    httpx.post(f"{url}/_sandbox/clock", json={"now": iso(now)}).raise_for_status()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/_sandbox")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the sandbox does not answer")


if __name__ == "__main__":
    main()
