"""One client's WebSocket: messages, keep-alive, lifetime and faults."""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from weft_sandbox.faults import SOCKET_KINDS, Armed, Faults
from weft_sandbox.protocol import Api, Ask, Json
from weft_sandbox.wire import WIRE, Wire, frame_header

_WATCH_SECONDS = 0.05
_MEGABYTE = 1 << 20
_ENDING = frozenset({"ws_reset", "ws_half_open", "ws_disconnect"})
_SENDING = SOCKET_KINDS - _ENDING - {"ws_refuse"}
_TEXT, _BINARY = 1, 2


class Session:
    """A WebSocket connection that a protocol module serves; see `Api.socket`.

    Attributes:
        ask: query, path and world, as for requests.
        api: API of the connection.
        wire: transport of the connection.
    """

    def __init__(self, websocket: WebSocket, ask: Ask, api: Api, faults: Faults) -> None:
        self.ask, self.api = ask, api
        extensions = websocket.scope.get("extensions") or {}
        self.wire: Wire | None = extensions.get(WIRE)
        self._websocket, self._faults = websocket, faults
        self._path = websocket.scope["path"].removeprefix(f"/{api.name}")
        self._held: list[Any] = []
        self._messages: deque[float] = deque()
        self._control_seen = 0
        self._turn = asyncio.Lock()

    async def receive(self) -> str | bytes | None:
        """Return the client's next message, or None after the client left."""
        try:
            message = await self._websocket.receive()
        except (WebSocketDisconnect, RuntimeError):
            return None
        if message["type"] == "websocket.disconnect":
            return None
        self._messages.append(time.monotonic())
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    def too_fast(self, messages: int, seconds: float = 1.0) -> bool:
        """Whether the client exceeded a message rate, pings and pongs included."""
        now = time.monotonic()
        frames = self.wire.control_frames if self.wire else 0
        self._messages.extend([now] * (frames - self._control_seen))
        self._control_seen = frames
        while self._messages and self._messages[0] < now - seconds:
            self._messages.popleft()
        return len(self._messages) > messages

    async def reply(self, data: Json) -> None:
        """Send a reply to the client; faults do not affect replies."""
        if self._websocket.application_state is WebSocketState.CONNECTED:
            text = data if isinstance(data, str) else orjson.dumps(data).decode()
            with suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.send_text(text)

    async def push(self, data: Json) -> None:
        """Send a message of a subscription, subject to faults."""
        async with self._turn:
            for armed in self._faults.strikes(_SENDING, self.api.name, self._path):
                if await self._struck(armed, data):
                    return
            await self.reply(data)
            for late in self._held:
                await self.reply(late)
            self._held.clear()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection by the rules of the protocol."""
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code, reason)

    async def together(self, *tasks: Coroutine[Any, Any, None]) -> None:
        """Run tasks until the first one or a fault ends; then cancel the others."""
        running = [asyncio.create_task(task) for task in (*tasks, self._watch())]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def keep_alive(self, every_seconds: float, within_seconds: float) -> None:
        """Send pings, and end when no pong with the same payload arrives in time."""
        waiting: list[tuple[bytes, float]] = []
        following = time.monotonic() + every_seconds
        while True:
            await asyncio.sleep(min(every_seconds, within_seconds, 1.0) / 4)
            now = time.monotonic()
            pongs = self.wire.pongs if self.wire else []
            answered = [index for index, (payload, _) in enumerate(waiting) if payload in pongs]
            # A pong also answers all earlier pings (RFC 6455, section 5.5.3).
            waiting = waiting[answered[-1] + 1 :] if answered else waiting
            if waiting and now > waiting[0][1]:
                await self.close(1008, "Pong timeout")
                return
            if now >= following and self.wire is not None:
                payload = str(self.ask.desk.clock.now() // 1_000).encode()
                self.wire.ping(payload)
                waiting.append((payload, now + within_seconds))
                following += every_seconds

    async def live_for(self, seconds: float) -> None:
        """End the connection after some seconds, with the API's notice before."""
        await asyncio.sleep(seconds)
        await self._shut_down()

    async def _shut_down(self) -> None:
        if self.api.shutdown is not None:
            await self.reply(self.api.shutdown(self.ask.desk.clock.now()))
        await self.close(1001, "Going away")

    async def _watch(self) -> None:
        """Inject faults that end a connection, also an idle one."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for armed in self._faults.strikes(_ENDING, self.api.name, self._path):
                if armed.fault.kind == "ws_disconnect":
                    await self._shut_down()
                elif self.wire is not None and armed.fault.kind == "ws_reset":
                    self.wire.reset()
                elif self.wire is not None:
                    self.wire.freeze()
                    # The handler of the connection must not notice the fault either.
                    await self._turn.acquire()
                    await asyncio.sleep(armed.fault.seconds or 3600.0)
                    self.wire.reset()
                return

    async def _struck(self, armed: Armed, data: Json) -> bool:
        """Inject one fault into a message; return whether the message needs no further sending."""
        fault = armed.fault
        match fault.kind:
            case "ws_skip" | "ws_silent":
                return True
            case "ws_latency":
                await asyncio.sleep(1.0 if fault.seconds is None else fault.seconds)
            case "ws_reorder":
                self._held.append(data)
                return True
            case "ws_duplicate":
                await self.reply(data)
            case "ws_burst":
                for _ in range((fault.size or 1_000) - 1):
                    await self.reply(data)
            case _:
                await self._frame(fault.kind, fault.size, data)
                return fault.kind == "ws_mid_frame"
        return False

    async def _frame(self, kind: str, size: int | None, data: Json) -> None:
        if self.wire is None:
            return
        payload = orjson.dumps(data)
        if kind == "ws_mid_frame":
            self.wire.write(frame_header(_TEXT, len(payload)) + payload[: len(payload) // 2])
            self.wire.close()
        elif kind == "ws_binary":
            self.wire.write(frame_header(_BINARY, 64) + bytes(range(64)))
        elif kind == "ws_invalid":
            self.wire.write(frame_header(_TEXT, 4) + b"\xff\xfe\xfd\xfc")
        else:
            self.wire.write(frame_header(_TEXT, (size or 64) * _MEGABYTE))
            for _ in range(size or 64):
                self.wire.write(b" " * _MEGABYTE)
                await asyncio.sleep(0)
