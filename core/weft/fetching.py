"""Fetching: a provider's code runs in its worker, what it asks and brings crosses to the host."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

from weft.answers import checked_batch, checked_batches
from weft.components.provider import Batch, Request
from weft.workers import Host, Worker

if TYPE_CHECKING:
    from pydantic import SecretStr

    from weft.clock import Clock
    from weft.http import Api, Http
    from weft.http.answer import Answer
    from weft.http.errors import SourceError
    from weft.http.status import SourceStatus

Fetch: TypeAlias = "Callable[[Request, Http, Clock], AsyncIterator[Batch]]"
Take: TypeAlias = Callable[[Batch], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Fetching:
    """How one provider is asked.

    Attributes:
        worker: runs the provider's code.
        patience_seconds: how long one step may block.
        deadline_seconds: how long all of a fetch may take; None for as long as it needs.
    """

    worker: Worker
    patience_seconds: float
    deadline_seconds: float | None = None

    async def run(
        self, fetch: Fetch, request: Request, http: "Http", clock: "Clock", take: Take
    ) -> None:
        """Hand every batch of a fetch to `take`, which runs where this is awaited.

        Args:
            fetch: the provider's.
            request: what is asked for.
            http: the provider's client; its requests run where this is awaited.
            clock: tells the time.
            take: what becomes of a batch; the fetch goes on once it has returned.

        Raises:
            WeftError: the provider failed, blocks, was not done in time, or gave no batches.
        """
        host = Host()
        client = http_across(http, host)
        waits = True

        async def hand_over(batch: Batch) -> None:
            # What comes from a fetch that was given up comes too late.
            if waits:
                await take(batch)

        async def work() -> None:
            batches = checked_batches(fetch(request, client, clock), self.worker.component)
            try:
                async for batch in batches:
                    checked = checked_batch(batch, self.worker.component)
                    await host.do(partial(hand_over, checked))
            finally:
                # At once, and not when its memory is collected.
                if isinstance(batches, AsyncGenerator):
                    await batches.aclose()

        try:
            await self.worker.run(
                work,
                patience_seconds=self.patience_seconds,
                deadline_seconds=self.deadline_seconds,
            )
        finally:
            waits = False


def http_across(http: "Http", host: Host) -> "Http":
    """Return a provider's client for use on another loop than the host's."""
    return cast("Http", HttpAcross(http, host))


class HttpAcross:
    """A provider's client as seen from another loop: the requests run on the host's.

    Limits, connections, circuit breaker and cache so stay with one loop, and need no locks.

    Args:
        http: the client.
        host: where the client lives.
    """

    def __init__(self, http: "Http", host: Host) -> None:
        self._http, self._host = http, host

    async def get(self, path: str, **options: Any) -> "Answer":  # noqa: ANN401  # those of Http.get
        """Return the answer to a GET, as `Http.get` does."""
        return await self._host.do(lambda: self._http.get(path, **options))

    async def post(self, path: str, **options: Any) -> "Answer":  # noqa: ANN401  # those of Http.post
        """Return the answer to a query sent as JSON or as a form, as `Http.post` does."""
        return await self._host.do(lambda: self._http.post(path, **options))

    def elsewhere(self, api: "Api", key: "SecretStr | None" = None) -> Self:
        """Return a client of another host of the same source, as `Http.elsewhere` does."""
        return type(self)(self._http.elsewhere(api, key), self._host)

    def status(self) -> "SourceStatus":
        """Return how the source is doing."""
        return self._http.status()

    def note(self, error: "SourceError") -> None:
        """Let status show an error that was met while reading an answer."""
        self._http.note(error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._host.do(self._http.aclose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return repr(self._http)
