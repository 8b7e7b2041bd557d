"""A made-up market behind the real protocols of data providers, on loopback.

Clients written for a provider work against it unchanged: give them the base URL
``http://127.0.0.1:PORT/<provider>``. See `Sandbox` for tests, `run` for a process of its own,
`faults` for what may go wrong, and `protocols` for how to add a provider.
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
    """Serve until a signal comes.

    Args:
        port: on loopback.
        seed: another seed is another market.
        speed: sandbox seconds a second.
        replay: folder of real candles to serve in place of made-up prices.
        faults: what goes wrong from the beginning.
        start: first instant of sandbox time, in microseconds since 1970; now if None.
        replay_shift: whether the real candles are moved so that they end at the start.
        coins: how many, 20 to 100.

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
