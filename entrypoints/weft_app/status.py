"""The status of providers, as the API and the command line print it."""

import hashlib
from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel

from weft.compose.composition import Composition
from weft.engine.provider_status import ProviderStatus
from weft.foundation.times import iso
from weft.sources.stream import StreamStatus


def installation(lake: str, composition: Composition) -> str:
    """Return a digest that identifies one installation and composition.

    Args:
        lake: where its candles are stored.
        composition: the composition it runs.
    """
    text = f"{lake}\n{composition.versions.config}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ProviderState(BaseModel):
    """The state of one provider. Instants are ISO 8601 UTC.

    `state` is ``local`` for a provider without an API; ``idle`` before the first request; ``ok``;
    ``degraded`` after a failed request; ``open`` while requests pause after repeated failures;
    ``unauthorised`` or ``banned``. `left` counts the remaining units of each rate limit. `problems`
    lists those of the last round, then the latest of the streams.
    """

    name: str
    kind: str
    state: str
    last_success: str | None
    latency_seconds: float | None
    left: dict[str, int]
    requests: int
    stale: int
    newest_candle: str | None
    newest_fact: str | None
    new: int
    restated: int
    problems: list[str]
    error: str | None
    streams: list[StreamStatus] = []

    @classmethod
    def of(cls, status: ProviderStatus, streams: Iterable[StreamStatus] = ()) -> Self:
        """Return the state of a provider.

        Args:
            status: the engine's status of the provider.
            streams: the streams of all providers; those of other providers are ignored.
        """
        return cls(
            name=status.name,
            kind=status.kind,
            state=status.state,
            last_success=_iso(status.last_success),
            latency_seconds=status.latency_seconds,
            left=dict(status.left),
            requests=status.requests,
            stale=status.stale,
            newest_candle=_iso(status.newest_candle),
            newest_fact=_iso(status.newest_fact),
            new=status.new,
            restated=status.restated,
            problems=list(status.problems),
            error=status.error,
            streams=[stream for stream in streams if stream.provider == status.name],
        )


def _iso(instant: int | None) -> str | None:
    return None if instant is None else iso(instant)
