"""One live cycle over all sources at once, against what the slowest of them takes alone.

The sandbox runs in a process of its own and answers each request 50 ms late. Three days are
collected first; then an hour passes, and what is due is fetched: that is what is timed. A source
alone is bound by its own paging and rate limit; together they should take little more than that.
"""

import asyncio
import socket
import subprocess
import sys
import tempfile
import time

import httpx
from rich.console import Console
from rich.table import Table

from weft.assembly import assemble
from weft.clock import SystemClock
from weft.config.loading import load_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.times import HOUR, iso
from weft_app.demo import API_OF, KEY_OF
from weft_app.installed import asked_over_http

LATENCY_SECONDS = 0.05
DAYS = 3
COINS = (
    *("BTC", "ETH", "BNB", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK", "DOT"),
    *("LTC", "TRX", "BCH", "UNI", "ATOM", "NEAR", "AAVE", "ARB", "FIL", "PEPE"),
)
PAIRS = ",".join(f"{coin}USDT" for coin in COINS)
SYMBOLS = {
    "binance": f"[{PAIRS}]",
    "binance_futures": f"[{PAIRS}]".replace("PEPE", "1000PEPE"),
    "bybit": f"[{PAIRS}]".replace("PEPE", "1000PEPE"),
    "coinbase": f"[{','.join(f'{coin}-USD' for coin in COINS)}]",
}


def main() -> None:
    """Measure and print."""
    port = _free_port()
    command = [sys.executable, "-m", "weft_app.cli", "sandbox", "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sandbox:
        try:
            _wait_for(port)
            _measure(f"http://127.0.0.1:{port}")
        finally:
            sandbox.terminate()


def _measure(url: str) -> None:
    names = asked_over_http(Registry(discover()))
    for _ in range(2):
        together, new = _cycle(url, names)  # the first round makes the market
    alone = {name: _cycle(url, [name])[0] for name in names}
    slowest = max(alone, key=alone.__getitem__)
    table = Table("source", "seconds alone", title_justify="left")
    table.title = f"{len(names)} sources, {len(COINS)} coins, an hour later: {new:,} new facts"
    for name, seconds in sorted(alone.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{seconds:.2f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"All at once {together:.2f} s: {together / alone[slowest]:.2f}x of the slowest alone "
        f"({slowest}); one after the other they take {sum(alone.values()):.1f} s.\n"
    )


def _cycle(url: str, names: list[str]) -> tuple[float, int]:
    """Return the seconds a cycle takes, and how many facts it brought."""
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
        loaded = load_settings(None, [*places, *options])
        engine = assemble(loaded, Registry(discover()), clock)
        first = asyncio.run(engine.update())
        clock.offset += HOUR
        _at(url, clock.now())
        begin = time.perf_counter()
        collected = first + asyncio.run(engine.update())
        seconds = time.perf_counter() - begin
        engine.close()
    failed = {one.provider: one.error for one in collected if one.error}
    if failed:
        raise SystemExit(f"a source failed: {failed}")
    return seconds, sum(one.new for one in collected[len(first) :])


class _Shifted(SystemClock):
    """The machine's clock, which can be moved ahead."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset


def _at(url: str, now: int) -> None:
    """Set the sandbox's clock, and give all rate limits anew."""
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
