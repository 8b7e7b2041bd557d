"""Sources that live on several hosts: a client for each, beside the one a provider is handed."""

import asyncio
import random
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import SecretStr

    from weft.clock import Clock
    from weft.http import Answer, Api, Http


class Hosts:
    """Clients of further hosts, open for as long as it is entered; one host has one client.

    Args:
        http: the client the provider was handed; the others keep their answers where it does.
        name: the provider, for messages.
        clock: tells the time, and waits.
    """

    def __init__(self, http: "Http", name: str, clock: "Clock") -> None:
        # A client does not tell its cache; without it feeds could not be asked conditionally.
        self._cache = http._cache  # noqa: SLF001
        self._name, self._clock = name, clock
        self._clients: dict[tuple[str, str], Http] = {}
        self._stack = AsyncExitStack()
        self.lock = asyncio.Lock()
        """For what only one of several requests shall do, such as asking for a token."""

    async def client(self, api: "Api", key: "SecretStr | None" = None) -> "Http":
        """Return the client of the host an API is at.

        Raises:
            ConfigError: the address or the key cannot be one.
        """
        from weft.http import Http  # noqa: PLC0415 - listing providers needs no client

        place = (api.base_url, key.get_secret_value() if key else "")
        if place not in self._clients:
            self._clients[place] = await self._stack.enter_async_context(
                Http(
                    api,
                    name=self._name,
                    clock=self._clock,
                    # Only pauses between attempts are drawn from it.
                    rng=random.Random(api.base_url),  # noqa: S311 - no secret depends on it
                    key=key,
                    cache=self._cache,
                )
            )
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


async def post_form(
    http: "Http", path: str, form: "Mapping[str, str]", headers: "Mapping[str, str]"
) -> "Answer":
    """Return the answer to a form, as tokens are asked for; it is retried as a GET is.

    Raises:
        SourceError: one of the tree in `weft.http.errors`.
    """
    content = urlencode(form).encode()
    kind = {**headers, "content-type": "application/x-www-form-urlencoded"}
    # A client posts nothing but JSON of its own accord.
    asked = http._asked("POST", path, None, content, kind, None, 1, "json")  # noqa: SLF001
    return await http._ask(asked)  # noqa: SLF001
