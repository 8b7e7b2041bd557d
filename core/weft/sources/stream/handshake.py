"""Opens a WebSocket, and says what its refusal or its end means."""

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
# The library writes headers, and so tokens, to its log.
_SILENT = logging.Logger("weft.sources.stream.wire", logging.CRITICAL)  # noqa: LOG001  # has no parent
NORMAL, _TOO_LARGE = 1000, 1009


class _Connect(connect):
    """Connects to the host it was told, and to no other."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: it may lead anywhere, and take a token along."""
        return exc


async def open_socket(spec: "StreamSpec", where: str, now: int) -> ClientConnection:
    """Return an open connection.

    Its keep-alive is off: whoever reads has to look after that.

    Args:
        spec: address, headers and limits.
        where: the stream, for messages.
        now: for the time a venue asks to be left alone; microseconds since 1970.

    Raises:
        SourceError: the venue cannot be reached or refuses; the kind says which.
    """
    try:
        headers = dict(await spec.authorise()) if spec.authorise else {}
        return await _Connect(
            spec.url,
            additional_headers=headers,
            user_agent_header=f"weft/{__version__}",
            # Market data comes in many small messages: unpacking costs more than it saves.
            compression=None,
            # Nothing is taken from the environment, as for requests.
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
        # The error's own text may hold the address, and that a token.
        told = f"the connection was refused: {type(error).__name__}"
        raise RefusedError(told, where=where) from None
    except ssl.SSLError as error:
        raise InsecureError(f"TLS failed: {error.reason}", where=where) from None
    except TimeoutError:
        told = f"no connection within {spec.limits.open_seconds:g} s"
        raise UnavailableError(told, where=where) from None
    except OSError as error:
        told = error.strerror or type(error).__name__
        raise UnavailableError(f"no connection: {told}", where=where) from None


def _refusal(error: InvalidStatus, where: str, now: int) -> SourceError:
    response = error.response
    status = response.status_code
    kind = _MEANINGS.get(status) or (RefusedError if status < 500 else UnavailableError)
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    seconds = retry_after_seconds(headers, now)
    told = f"the connection was refused with HTTP {status}"
    return kind(told, where=where, retry_after_seconds=seconds)


def ending(closed: ConnectionClosed, spec: "StreamSpec", where: str) -> SourceError | None:
    """Return what the end of a connection means; None where this side wanted it.

    Args:
        closed: how it ended.
        spec: whose codes count.
        where: the stream, for messages.
    """
    sent, received = closed.sent, closed.rcvd
    if sent is not None and sent.code == _TOO_LARGE:
        told = f"a message is larger than {spec.limits.largest_bytes} bytes"
        return MalformedError(told, where=where)
    if sent is not None and sent.code == NORMAL and not closed.rcvd_then_sent:
        return None
    if received is None:
        return UnavailableError("the connection broke", where=where)
    kind = UnauthorisedError if received.code in spec.expired_codes else UnavailableError
    told = f"closed by the venue with code {received.code} {plain(received.reason)}"
    return kind(told.rstrip(), where=where)


def plain(text: str) -> str:
    """Return the beginning of what a venue says, without control characters."""
    return "".join(char for char in text[:80] if char.isprintable())
