"""The HTTP clients of a composition's providers: one client for each provider with an API."""

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
from weft.sources.http.cache import ResponseCache, StandingNotes, notes_path
from weft.sources.http.client import Http
from weft.sources.http.status import SourceStatus

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 5.0


class Connections:
    """Opens one HTTP client for each provider, and reports the status of each source.

    The async context manager is re-entrant: live collection enters it once, so that rate limits,
    circuit breakers and connections last from round to round; `Collector.collect` enters it for
    one round.

    Args:
        providers: the providers.
        clock: current time, and waiting.
        cache: folder of cached responses; None for no cache.

    Attributes:
        workers: threads of the providers. The event loop of a provider's thread sends the requests
            of its client and closes its connections.
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
        self._invalid: dict[str, WeftError] = {}
        self._stack = AsyncExitStack()
        self.workers = Workers()
        self._ignore_cache = False

    def client(self, provider: Provider) -> Http:
        """Return the client of a provider; without an API, a client that raises on first use.

        Raises:
            ConfigError: the provider's address or key is invalid.
        """
        if provider.key in self._invalid:
            raise self._invalid[provider.key]
        client = self._clients.get(provider.key)
        return client or cast("Http", _Undeclared(provider.key))

    def status(self) -> list[SourceStatus]:
        """Return the status of each source, now or at its last request."""
        now = {name: client.status() for name, client in self._clients.items()}
        # A client that was just opened has no counts; the status of its predecessor is newer.
        used = {name: status for name, status in now.items() if status.requests}
        return [status for _, status in sorted({**now, **self._closed, **used}.items())]

    def asking_anew(self) -> Self:
        """Let clients opened from now on ignore cached responses and stored refusals."""
        self._ignore_cache = True
        return self

    def standing(self, name: str) -> tuple[str, ...]:
        """Return the stored bans and refusals of a provider's source, one line each."""
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
            cache = ResponseCache(self._cache, ask_anew=self._ignore_cache)
            await self._stack.enter_async_context(cache)
        for name, provider in self._providers.items():
            if provider.web is None:
                continue
            try:
                client = Http(
                    provider.web,
                    name=name,
                    clock=self._clock,
                    # Draws only pauses between attempts.
                    rng=random.Random(name),  # noqa: S311  # no secret depends on it
                    key=provider.config.api_key,
                    base_url=provider.base_url,
                    cache=cache,
                )
            except WeftError as error:
                # Raised when this provider is fetched; the other providers go on.
                self._invalid[name] = error
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
            final = {name: client.status() for name, client in self._clients.items()}
            self._closed |= {name: status for name, status in final.items() if status.requests}
            clients, self._clients = self._clients, {}
            await asyncio.gather(*(self._close(name, client) for name, client in clients.items()))
            await self._stack.aclose()

    async def _close(self, name: str, client: Http) -> None:
        """Close a client on its event loop; if the provider blocks the loop, leave it open."""
        worker = self.workers.of(f"provider {name}")
        if not worker.runs:
            await client.aclose()
            return
        try:
            await worker.run(
                client.aclose, patience_seconds=_CLOSE_SECONDS, deadline_seconds=_CLOSE_SECONDS
            )
        except WeftError as error:
            _log.info("provider %s: connections were not closed: %s", name, error)


class _Undeclared:
    """The client of a provider that declares no API: raises on first use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401  # nothing is ever returned
        raise ConfigError(
            f"uses http.{attribute} but declares no API",
            where=f"provider {self._name}",
            hint="Set `web = Api(...)` in its class, and derive its Config from HttpConfig",
        )
