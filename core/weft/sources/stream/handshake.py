"""Opens a WebSocket, and maps its refusal or end to an error."""

import logging
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from weft.foundation.version import __version__
from weft.sources.http.errors import (
    BannedError,
    ForbiddenError,
    InsecureError,
    MalformedError,
    RateLimitedError,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.limits import retry_after_seconds

if TYPE_CHECKING:
    from weft.sources.stream.spec import StreamSpec

_MEANINGS: Mapping[int, type[SourceError]] = {
    401: UnauthorisedError,
    403: ForbiddenError,
    418: BannedError,
    429: RateLimitedError,
    451: ForbiddenError,
}
_CLOSE_SECONDS = 2.0
_FRAMES_READ_AHEAD = 256
# The library logs headers, which may contain tokens.
_SILENT = logging.Logger("weft.sources.stream.wire", logging.CRITICAL)  # noqa: LOG001  # has no parent
NORMAL, _TOO_LARGE = 1000, 1009


class _Connect(connect):
    """Connects to the given host only."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: it may lead to another host and take a token there."""
        return exc


async def open_socket(spec: "StreamSpec", where: str, now: int) -> ClientConnection:
    """Return an open connection without keep-alive, which `StreamSocket` does.

    Args:
        spec: address, headers and limits.
        where: name of the stream, for messages.
        now: current time, for a wait that the venue demands; microseconds since 1970.

    Raises:
        SourceError: the venue cannot be reached, or refuses; the subclass states the reason.
    """
    try:
        headers = dict(await spec.authorise()) if spec.authorise else {}
        return await _Connect(
            spec.url,
            additional_headers=headers,
            user_agent_header=f"weft/{__version__}",
            # Market data is many small messages: decompression costs more than it saves.
            compression=None,
            # Proxies of the environment are ignored, as for requests.
            proxy=None,
            open_timeout=spec.limits.open_seconds,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=None,
            max_size=spec.limits.largest_bytes,
            max_queue=_FRAMES_READ_AHEAD,
            logger=_SILENT,
        )
    except InvalidStatus as error:
        raise _refusal(error, where, now) from None
    except (InvalidURI, InvalidHandshake, ValueError) as error:
        # The text of the error may contain the address, and the address a token.
        message = f"the connection was refused: {type(error).__name__}"
        raise RefusedError(message, where=where) from None
    except ssl.SSLError as error:
        raise InsecureError(f"TLS failed: {error.reason}", where=where) from None
    except TimeoutError:
        message = f"no connection within {spec.limits.open_seconds:g} s"
        raise UnavailableError(message, where=where) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UnavailableError(f"no connection: {reason}", where=where) from None


def _refusal(error: InvalidStatus, where: str, now: int) -> SourceError:
    response = error.response
    status = response.status_code
    kind = _MEANINGS.get(status) or (RefusedError if status < 500 else UnavailableError)
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    seconds = retry_after_seconds(headers, now)
    message = f"the connection was refused with HTTP {status}"
    return kind(message, where=where, retry_after_seconds=seconds)


def ending(closed: ConnectionClosed, spec: "StreamSpec", where: str) -> SourceError | None:
    """Return the error that the end of a connection means; None if this side closed it.

    Args:
        closed: codes of the end.
        spec: declaration of the stream, with its codes.
        where: name of the stream, for messages.
    """
    sent, received = closed.sent, closed.rcvd
    if sent is not None and sent.code == _TOO_LARGE:
        message = f"a message is larger than {spec.limits.largest_bytes} bytes"
        return MalformedError(message, where=where)
    if sent is not None and sent.code == NORMAL and not closed.rcvd_then_sent:
        return None
    if received is None:
        return UnavailableError("the connection broke", where=where)
    kind = UnauthorisedError if received.code in spec.expired_codes else UnavailableError
    message = f"closed by the venue with code {received.code} {plain(received.reason)}"
    return kind(message.rstrip(), where=where)


def plain(text: str) -> str:
    """Return the first 80 characters of a venue's text, without control characters."""
    return "".join(char for char in text[:80] if char.isprintable())
