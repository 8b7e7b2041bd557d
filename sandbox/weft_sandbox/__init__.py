"""A simulated market behind the real protocols of data providers, on loopback.

Clients written for a provider work against the sandbox unchanged: set their base URL to
``http://127.0.0.1:PORT/<provider>``. See `Sandbox` for tests, `run` for a process that only serves,
`faults` for fault injection, and `protocols` for how to add a provider.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from weft_sandbox.faults import Fault
from weft_sandbox.ports import SANDBOX_PORT
from weft_sandbox.server import Sandbox

__all__ = ["SANDBOX_PORT", "Fault", "Sandbox", "run"]


def run(
    port: int = SANDBOX_PORT,
    seed: int = 7,
    speed: float = 1.0,
    replay: Path | None = None,
    faults: Iterable[Fault | Mapping[str, Any]] = (),
    *,
    start: int | None = None,
    replay_shift: bool = True,
    coins: int = 20,
) -> None:
    """Serve until a signal.

    Args:
        port: loopback port.
        seed: seed of the market.
        speed: sandbox seconds in one real second.
        replay: folder of real candles to serve instead of simulated prices.
        faults: faults from the beginning.
        start: first instant of sandbox time, microseconds since 1970; None for now.
        replay_shift: whether the real candles are moved so that they end at the start.
        coins: number of coins, 20 to 100.

    Raises:
        WeftError: the port is taken.
    """
    Sandbox(
        seed=seed,
        coins=coins,
        start=start,
        speed=speed,
        replay=replay,
        replay_shift=replay_shift,
        faults=faults,
        port=port,
    ).serve()
