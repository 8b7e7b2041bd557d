"""Live streams over WebSockets, beside what is asked for over HTTP.

A provider that has streams offers ``streams(request)`` and returns `StreamSpec`s: an address,
topics, how to subscribe, and how a message is parsed into the events of
`weft.sources.stream.events`. The rest is the same for all venues and stands here: connections that
are kept up within the venue's limits, candles taken exactly once, holes filled by requests, sums
and order books at every close.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.sources.stream.spec import Streaming, StreamLimits, StreamSpec, Topic
    from weft.sources.stream.status import StreamState, StreamStatus
    from weft.sources.stream.streamer import Streamer, sources_of

_HOMES = {
    "weft.sources.stream.spec": ("StreamLimits", "StreamSpec", "Streaming", "Topic"),
    "weft.sources.stream.status": ("StreamState", "StreamStatus"),
    "weft.sources.stream.streamer": ("Streamer", "sources_of"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "StreamLimits",
    "StreamSpec",
    "StreamState",
    "StreamStatus",
    "Streamer",
    "Streaming",
    "Topic",
    "sources_of",
]


# Declaring streams must not pay for the library that connects.
def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
