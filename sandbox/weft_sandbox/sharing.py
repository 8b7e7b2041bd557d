"""One sandbox for all commands of this machine: whoever comes first serves it to the others."""

import logging
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

import httpx

from weft.foundation.clock import SystemClock
from weft.foundation.errors import WeftError
from weft.foundation.times import SECOND, TimeError, parse_time
from weft_sandbox.ports import SANDBOX_PORTS
from weft_sandbox.server import Sandbox

_log = logging.getLogger("weft.sandbox")

_SEED: Final = 7
_COINS: Final = 20
_LATE: Final = 60 * SECOND
"""How far the time of a running sandbox may be from this machine's for the markets to be one."""

_ANSWER_SECONDS: Final = 3.0
_WATCH_SECONDS: Final = 1.0
_LOOKS: Final = 4


class SharedSandbox:
    """The sandbox of the usual market, for as long as a ``with`` block lasts.

    A sandbox that serves the same market on this machine already is used, by any process. When
    that one ends before the block does, this process serves the same market on the same port.

    Args:
        port: where to look and listen first; the ports after it are tried where something else
            listens there. 0 for any free one, with no look at others.
    """

    def __init__(self, port: int) -> None:
        self._first = port
        self._own: Sandbox | None = None
        self._port = port
        self._left = threading.Event()
        self._watch: threading.Thread | None = None

    def url(self, provider: str = "", scheme: str = "http") -> str:
        """Return the base URL of a provider's API, or of the sandbox itself."""
        base = f"{scheme}://127.0.0.1:{self._port}"
        return f"{base}/{provider}" if provider else base

    def __enter__(self) -> Self:
        """Find a sandbox, or start one.

        Raises:
            WeftError: no port is free.
        """
        for port in self._ports():
            if port and is_usual_market(port):
                return self._use(port)
            if self._start(port):
                return self
            # Another process may have taken the port a moment ago, and not answer yet.
            for _ in range(_LOOKS):
                time.sleep(_WATCH_SECONDS / _LOOKS)
                if is_usual_market(port):
                    return self._use(port)
        ports = self._ports()
        raise WeftError(
            f"something else listens on each of the ports {ports[0]} to {ports[-1]}",
            where="sandbox",
            hint="Choose another one with --set sandbox.port=...",
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        if self._watch is not None:
            self._watch.join()
        if self._own is not None:
            self._own.stop()

    def _ports(self) -> list[int]:
        if self._first == 0:
            return [0]
        return list(range(self._first, min(self._first + SANDBOX_PORTS, 1 << 16)))

    def _use(self, port: int) -> Self:
        """Use the sandbox of another process, for as long as it runs."""
        self._port = port
        self._watch = threading.Thread(target=self._take_over, daemon=True)
        self._watch.start()
        return self

    def _start(self, port: int) -> bool:
        """Serve on a port, and return whether it was free."""
        own = Sandbox(seed=_SEED, coins=_COINS, port=port)
        try:
            own.start()
        except WeftError as error:
            _log.info("port %s: %s", port, error)
            return False
        self._own, self._port = own, own.port
        return True

    def _take_over(self) -> None:
        """Serve in this process once the sandbox of another one has ended."""
        while not self._left.wait(_WATCH_SECONDS):
            if not is_usual_market(self._port) and self._start(self._port):
                return


def is_usual_market(port: int) -> bool:
    """Return whether a sandbox on a port of loopback serves the market that `SharedSandbox` does.

    One with another seed, speed or time, with real candles, or with faults does not.
    """
    about = _about(port)
    if about is None:
        return False
    try:
        apart = abs(parse_time(str(about["now"])) - SystemClock().now())
        return (
            about["seed"] == _SEED
            and len(about["coins"]) == _COINS
            and about["speed"] == 1.0
            and about["made_up"]
            and not about["faults"]
            and apart < _LATE
        )
    except (KeyError, TypeError, TimeError):
        return False


def _about(port: int) -> dict[str, Any] | None:
    """Return what a sandbox on a port says of itself; None where none answers."""
    try:
        with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            answer = client.get(f"http://127.0.0.1:{port}/_sandbox")
            answer.raise_for_status()
            about = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return about if isinstance(about, dict) else None
