"""Runs the sandbox server: in this process until a signal, or in a thread of a test."""

import logging
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from weft.foundation.errors import WeftError
from weft_sandbox.admin import arm
from weft_sandbox.app import create_app
from weft_sandbox.clock import SandboxClock
from weft_sandbox.faults import Fault, Faults
from weft_sandbox.limits import Usage
from weft_sandbox.market.world import World
from weft_sandbox.protocol import Api, Desk, Json
from weft_sandbox.wire import HttpProtocol, SocketProtocol

_STARTING_SECONDS = 20.0


class Sandbox:
    """The sandbox server on a loopback port, within a ``with`` block.

    Example::

        with Sandbox(seed=7, start=parse_time("2025-03-01T12:00:00Z"), speed=0) as sandbox:
            httpx.get(sandbox.url("binance") + "/api/v3/time")

    Args:
        seed: seed of the market.
        coins: number of coins, 20 to 100.
        start: first instant of sandbox time, microseconds since 1970; None for now.
        speed: sandbox seconds in one real second; 0 stops the clock.
        replay: folder of real candles, as `Replay` reads them.
        replay_shift: whether the last real candle is moved to the start of sandbox time; otherwise
            all candles keep their dates.
        faults: faults from the beginning.
        port: port to listen on; 0 for a free one.
        limits: factor on all rate limits; `inf` for none.
        options: settings of protocols, such as ``binance.ping_seconds``.
        apis: APIs to serve; None for all.
    """

    def __init__(  # noqa: PLR0913  # all by keyword
        self,
        *,
        seed: int = 7,
        coins: int = 20,
        start: int | None = None,
        speed: float = 1.0,
        replay: Path | None = None,
        replay_shift: bool = True,
        faults: Iterable[Fault | Mapping[str, Any]] = (),
        port: int = 0,
        limits: float = 1.0,
        options: Mapping[str, float] | None = None,
        apis: Iterable[Api] | None = None,
    ) -> None:
        self.clock = SandboxClock(start, speed)
        self.world = World(seed, replay, self.clock.now() if replay_shift else None, coins)
        self.desk = Desk(self.world, self.clock, Usage(limits), dict(options or {}))
        self.faults = Faults()
        self.fault(*faults)
        self._port = port
        self._app = create_app(self.desk, self.faults, apis)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def fault(self, *faults: Fault | Mapping[str, Any]) -> list[int]:
        """Arm faults, and return their numbers."""
        return [arm(self.desk, self.faults, Fault.model_validate(fault)) for fault in faults]

    def heal(self) -> None:
        """Remove all faults and reset all rate limits."""
        self.faults.remove()
        self.world.revise(None)
        self.desk.usage.reset()

    @property
    def port(self) -> int:
        """Port of the server."""
        return self._port

    def url(self, provider: str = "", scheme: str = "http") -> str:
        """Return the base URL of a provider's API, or of the sandbox."""
        base = f"{scheme}://127.0.0.1:{self._port}"
        return f"{base}/{provider}" if provider else base

    def start(self) -> Self:
        """Start to listen; return when requests are answered.

        Raises:
            WeftError: the port is taken, or the server did not start.
        """
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        self._server = uvicorn.Server(_config(self._app))
        sockets = [listener]
        self._thread = threading.Thread(
            target=self._server.run, args=(sockets,), name="weft-sandbox", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _STARTING_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise WeftError("the server did not start", where="sandbox")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """Stop listening, and break all open connections."""
        if self._server is not None and self._thread is not None:
            # Another server of this process may have changed the level of the shared logger.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            self._server.should_exit = True
            self._thread.join(_STARTING_SECONDS)
            self._server = self._thread = None

    def serve(self) -> None:
        """Listen in this thread until a signal."""
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        uvicorn.Server(_config(self._app)).run([listener])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _listen(port: int) -> socket.socket:
    # For a socket marked as TCP, asyncio disables Nagle's algorithm, which delays replies by 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise WeftError(
            f"cannot listen on port {port}: {error.strerror}",
            where="sandbox",
            hint="Choose another port with --port",
        ) from error
    return listener


def _config(app: Json) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=SocketProtocol,
        loop="asyncio",
        lifespan="off",
        # The protocols send pings by their APIs' rules.
        ws_ping_interval=None,
        server_header=False,
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=0,
    )
