"""Clients for sources that have several hosts."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pydantic import SecretStr

    from weft.sources.http import Api, Http


class Hosts:
    """Opens one client for each further host of a source, and closes them on exit.

    Example: a source whose tokens come from another host than its data::

        LOGIN = Api(base_url="https://login.example.com")

        async def fetch(self, request, http, clock):
            async with Hosts(http) as hosts:
                login = await hosts.client(LOGIN)
                response = await login.post("/token", fields={"grant_type": "client_credentials"})
                data = await hosts.client(self.data_api, SecretStr(response.read.text("token")))

    Args:
        http: the provider's client; the further clients share its cache and its status.
    """

    def __init__(self, http: "Http") -> None:
        self._http = http
        self._clients: dict[tuple[str, str], Http] = {}
        self._stack = AsyncExitStack()
        self.lock = asyncio.Lock()
        """Held by the one request that does a shared step, such as requesting a token."""

    async def client(self, api: "Api", key: "SecretStr | None" = None) -> "Http":
        """Return the client of a host, opened at the first call for this address and key.

        Raises:
            ConfigError: the address is no http(s) URL, or the key has impossible characters.
        """
        place = (api.base_url, key.get_secret_value() if key else "")
        if place not in self._clients:
            client = self._http.elsewhere(api, key)
            self._clients[place] = await self._stack.enter_async_context(client)
        return self._clients[place]

    def forget(self, api: "Api", key: "SecretStr | None" = None) -> None:
        """Drop a client whose key was refused, so that the next call opens a new one."""
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
