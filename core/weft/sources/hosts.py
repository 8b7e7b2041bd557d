"""Sources that live on several hosts: a client for each, beside the one a provider is handed."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pydantic import SecretStr

    from weft.sources.http import Api, Http


class Hosts:
    """Clients of further hosts, open for as long as it is entered; one host has one client.

    Args:
        http: the client the provider was handed; the others keep their answers where it does.
    """

    def __init__(self, http: "Http") -> None:
        self._http = http
        self._clients: dict[tuple[str, str], Http] = {}
        self._stack = AsyncExitStack()
        self.lock = asyncio.Lock()
        """For what only one of several requests shall do, such as asking for a token."""

    async def client(self, api: "Api", key: "SecretStr | None" = None) -> "Http":
        """Return the client of the host an API is at.

        Raises:
            ConfigError: the address or the key cannot be one.
        """
        place = (api.base_url, key.get_secret_value() if key else "")
        if place not in self._clients:
            other = self._http.elsewhere(api, key)
            self._clients[place] = await self._stack.enter_async_context(other)
        return self._clients[place]

    def forget(self, api: "Api", key: "SecretStr | None" = None) -> None:
        """Let the next call for a client have a new one: one whose key was refused asks no more."""
        self._clients.pop((api.base_url, key.get_secret_value() if key else ""), None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clients.clear()
        await self._stack.aclose()
