"""Connections: one HTTP client for each provider that asks over HTTP, open while it is asked."""

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from weft.components.provider import Provider
from weft.foundation.clock import Clock
from weft.foundation.errors import ConfigError, WeftError
from weft.foundation.workers import Workers
from weft.sources.http.cache import StandingNotes, notes_path
from weft.sources.http.client import Http
from weft.sources.http.status import SourceStatus

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 5.0


class Connections:
    """Holds the clients of a composition's providers, and remembers how they are doing.

    An async context manager, which may be entered again while it is open: whoever keeps on
    collecting opens it once, so that limits, circuit breakers and connections last from round to
    round; `Collector.collect` opens it for a single round.

    Args:
        providers: whose clients to hold.
        clock: tells the time, and waits.
        cache: folder that answers are kept in; None to keep none.

    Attributes:
        workers: the threads that the providers run in. A client belongs to the event loop of its
            provider's, where its requests are made and its connections closed.
    """

    def __init__(
        self, providers: Iterable[Provider], clock: Clock, cache: Path | None = None
    ) -> None:
        self._providers = {provider.key: provider for provider in providers}
        self._clock = clock
        self._cache = cache
        self._entered = 0
        self._clients: dict[str, Http] = {}
        self._closed: dict[str, SourceStatus] = {}
        self._refused: dict[str, WeftError] = {}
        self._stack = AsyncExitStack()
        self.workers = Workers()
        self._anew = False

    def client(self, provider: Provider) -> Http:
        """Return the client of a provider; one that refuses to ask where it declares no API.

        Raises:
            ConfigError: its key or address cannot be one.
        """
        if provider.key in self._refused:
            raise self._refused[provider.key]
        found = self._clients.get(provider.key)
        return found or cast("Http", _Undeclared(provider.key))

    def status(self) -> list[SourceStatus]:
        """Return how each source is doing, or was when it was asked last."""
        now = {name: client.status() for name, client in self._clients.items()}
        # A client just opened knows less than the one before it did at its end.
        asked = {name: status for name, status in now.items() if status.requests}
        return [status for _, status in sorted({**now, **self._closed, **asked}.items())]

    def asking_anew(self) -> Self:
        """Let clients opened from now on ask in any case, past kept answers and old refusals."""
        self._anew = True
        return self

    def standing(self, name: str) -> tuple[str, ...]:
        """Return what a provider's source refuses for longer, or bans, one line each for people."""
        if self._cache is None:
            return ()
        return StandingNotes(notes_path(self._cache, name), self._clock).texts

    async def __aenter__(self) -> Self:
        self._entered += 1
        if self._entered == 1:
            await self._open()
        return self

    async def _open(self) -> None:
        cache = None
        if self._cache is not None and any(p.web for p in self._providers.values()):
            from weft.sources.http.cache import ResponseCache  # noqa: PLC0415  # only for who keeps answers

            cache = ResponseCache(self._cache, ask_anew=self._anew)
            await self._stack.enter_async_context(cache)
        for name, provider in self._providers.items():
            if provider.web is None:
                continue
            try:
                client = Http(
                    provider.web,
                    name=name,
                    clock=self._clock,
                    # Only pauses between attempts are drawn from it.
                    rng=random.Random(name),  # noqa: S311  # no secret depends on it
                    key=provider.config.api_key,
                    base_url=provider.base_url,
                    cache=cache,
                )
            except WeftError as error:
                # One provider's mistake is told when it is asked, and does not stop the others.
                self._refused[name] = error
            else:
                self._clients[name] = client

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered -= 1
        if not self._entered:
            ended = {name: client.status() for name, client in self._clients.items()}
            self._closed |= {name: status for name, status in ended.items() if status.requests}
            clients, self._clients = self._clients, {}
            await asyncio.gather(*(self._close(name, client) for name, client in clients.items()))
            await self._stack.aclose()

    async def _close(self, name: str, client: Http) -> None:
        """Close a client where its connections are; those of a provider that blocks stay open."""
        worker = self.workers.of(f"provider {name}")
        if not worker.runs:
            await client.aclose()
            return
        try:
            await worker.run(
                client.aclose, patience_seconds=_CLOSE_SECONDS, deadline_seconds=_CLOSE_SECONDS
            )
        except WeftError as error:
            _log.info("connections were not closed: %s", error)


class _Undeclared:
    """Stands in for the client of a provider that declares no API."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401  # nothing is ever returned
        raise ConfigError(
            f"asks over HTTP (http.{attribute}) without saying which API",
            where=f"provider {self._name}",
            hint="Set `web = Api(...)` in its class, and derive its Config from HttpConfig",
        )
