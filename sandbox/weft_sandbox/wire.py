"""Access to the transport below a request, to break connections as servers normally do not."""

import asyncio
import socket
import struct
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

WIRE = "weft.wire"
"""Key of the `Wire` in the extensions of an ASGI scope."""


class Wire:
    """Writes raw bytes to a connection's transport, or breaks the connection.

    Args:
        transport: transport of the connection.
        protocol: WebSocket protocol; None for plain HTTP.
    """

    def __init__(
        self, transport: asyncio.Transport, protocol: "SocketProtocol | None" = None
    ) -> None:
        self._transport, self._protocol = transport, protocol

    def write(self, data: bytes) -> None:
        """Send raw bytes without the server's framing."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection after sending all written bytes: the client sees a normal end."""
        self._transport.close()

    def reset(self) -> None:
        """Reset the connection immediately: the client sees an error."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def freeze(self) -> None:
        """Stop reading; if nothing is written either, the connection is half open."""
        self._transport.pause_reading()

    def ping(self, payload: bytes) -> None:
        """Send a WebSocket ping."""
        if self._protocol is not None and not self._transport.is_closing():
            self._protocol.conn.send_ping(payload)
            self._transport.write(b"".join(self._protocol.conn.data_to_send()))

    @property
    def pongs(self) -> list[bytes]:
        """Payloads of the received pongs, oldest first."""
        return [] if self._protocol is None else self._protocol.pongs

    @property
    def control_frames(self) -> int:
        """Number of pings and pongs from the client."""
        return 0 if self._protocol is None else self._protocol.control_frames


class HttpProtocol(HttpToolsProtocol):
    """HTTP protocol that passes its transport to the application."""

    def on_message_begin(self) -> None:
        """Start a request, with the transport in its scope."""
        super().on_message_begin()
        extensions: dict[str, Any] = {WIRE: Wire(self.transport)}
        self.scope["extensions"] = extensions


class SocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket protocol that passes its transport to the application and counts control frames."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  # uvicorn decides
        super().__init__(*args, **options)
        self.pongs: list[bytes] = []
        self.control_frames = 0

    async def run_asgi(self) -> None:
        """Run the application, with the transport in its scope."""
        extensions: Any = self.scope["extensions"]
        extensions[WIRE] = Wire(self.transport, self)
        await super().run_asgi()

    def handle_pong(self, event: Frame) -> None:
        """Record a pong; only the last 16 are stored."""
        self.control_frames += 1
        self.pongs.append(bytes(event.data))
        del self.pongs[:-16]
        super().handle_pong(event)

    def handle_ping(self) -> None:
        """Count and answer a ping."""
        self.control_frames += 1
        super().handle_ping()


def frame_header(opcode: int, length: int) -> bytes:
    """Return the header of an unmasked, final WebSocket frame (RFC 6455, section 5.2)."""
    first = bytes([0x80 | opcode])
    if length < 126:
        return first + bytes([length])
    if length < 1 << 16:
        return first + bytes([126]) + length.to_bytes(2, "big")
    return first + bytes([127]) + length.to_bytes(8, "big")
