from .spec import (
    Streaming,
    StreamLimits,
    StreamSpec,
    Topic,
)
from .status import (
    StreamState,
    StreamStatus,
)
from .streamer import (
    Streamer,
    sources_of,
)

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
