"""One sandbox shared by all commands on this machine."""

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
"""Greatest difference between the clocks of two sandboxes of the same market."""

_ANSWER_SECONDS: Final = 3.0
_WATCH_SECONDS: Final = 1.0
_LOOKS: Final = 4


class SharedSandbox:
    """The sandbox of the usual market, within a ``with`` block.

    An existing server of the same market on this machine is used, of any process. If that process
    ends before the block does, this process serves the same market on the same port.

    Args:
        port: first port to look and listen at; following ports are tried if another program uses
            it. 0 listens on any free port, without looking for other servers.
    """

    def __init__(self, port: int) -> None:
        self._first = port
        self._own: Sandbox | None = None
        self._port = port
        self._left = threading.Event()
        self._watch: threading.Thread | None = None

    def url(self, provider: str = "", scheme: str = "http") -> str:
        """Return the base URL of a provider's API, or of the sandbox."""
        base = f"{scheme}://127.0.0.1:{self._port}"
        return f"{base}/{provider}" if provider else base

    def __enter__(self) -> Self:
        """Connect to a running sandbox, or start one.

        Raises:
            WeftError: no port is free.
        """
        for port in self._ports():
            if port and is_usual_market(port):
                return self._use(port)
            if self._start(port):
                return self
            # Another process may have just taken the port and not answer yet.
            for _ in range(_LOOKS):
                time.sleep(_WATCH_SECONDS / _LOOKS)
                if is_usual_market(port):
                    return self._use(port)
        ports = self._ports()
        raise WeftError(
            f"something else listens on each of the ports {ports[0]} to {ports[-1]}",
            where="sandbox",
            hint="Choose another port with --set sandbox.port=...",
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
        """Use the sandbox of another process while that process runs."""
        self._port = port
        self._watch = threading.Thread(target=self._take_over, daemon=True)
        self._watch.start()
        return self

    def _start(self, port: int) -> bool:
        """Serve on a port; return whether the port was free."""
        sandbox = Sandbox(seed=_SEED, coins=_COINS, port=port)
        try:
            sandbox.start()
        except WeftError as error:
            _log.info("port %s: %s", port, error)
            return False
        self._own, self._port = sandbox, sandbox.port
        return True

    def _take_over(self) -> None:
        """Serve in this process after the sandbox of another process has ended."""
        while not self._left.wait(_WATCH_SECONDS):
            if not is_usual_market(self._port) and self._start(self._port):
                return


def is_usual_market(port: int) -> bool:
    """Return whether a sandbox on a loopback port serves the market of `SharedSandbox`.

    A sandbox with another seed, speed or time, with real candles, or with faults does not.
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
    """Return the description that a sandbox on a port gives; None without an answer."""
    try:
        with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS) as client:
            answer = client.get(f"http://127.0.0.1:{port}/_sandbox")
            answer.raise_for_status()
            about = answer.json()
    except (httpx.HTTPError, ValueError):
        return None
    return about if isinstance(about, dict) else None
