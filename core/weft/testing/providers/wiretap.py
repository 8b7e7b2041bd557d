"""A tap on the connection of a provider: records requests, delays, reorders or spoils answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import httpx

from weft.sources.http import client
from weft.sources.http.api import Api
from weft.sources.http.connection import Connection, KeyedTransport, Reply
from weft.sources.http.retry import Deadline

_TICKS = 20


class Ask(NamedTuple):
    """One request as it went out, without its key."""

    method: str
    url: str
    content: bytes


Spoil: TypeAlias = Callable[[Ask, Reply], Reply]
"""Returns another reply in place of the one that a server gave."""


class Tap:
    """A tap at the place where requests leave this process.

    Args:
        transport: answers in place of the network; None for the network.
        spoil: changes each answer.
        order: draws which of the pending answers comes next; None for their natural order.
        hold_after: requests after which no answer comes any more; None to answer all.
        memory: answers of earlier fetches, given again without a request; new ones are added.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        spoil: Spoil | None = None,
        order: random.Random | None = None,
        hold_after: int | None = None,
        memory: dict[Ask, Reply] | None = None,
    ) -> None:
        self.asked: list[Ask] = []
        self.held = asyncio.Event()
        self._transport = transport
        self._spoil = spoil
        self._order = order
        self._hold_after = hold_after
        self._memory = memory
        self._pending = 0
        self._turns: list[asyncio.Future[None]] = []

    async def carry(self, request: httpx.Request, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the answer to a request.

        Args:
            request: as the client built it.
            send: sends the request over the network.
        """
        ask = Ask(request.method, str(request.url), request.content)
        self.asked.append(ask)
        if self._hold_after is not None and len(self.asked) > self._hold_after:
            self.held.set()
            await asyncio.Event().wait()
        self._pending += 1
        try:
            remembered = self._memory.get(ask) if self._memory is not None else None
            reply = remembered or await send()
            if self._memory is not None:
                self._memory[ask] = reply
            if self._order is not None:
                await self._turn(self._order)
        finally:
            self._pending -= 1
            self._release_next()
        return self._spoil(ask, reply) if self._spoil else reply

    async def _turn(self, order: random.Random) -> None:
        # Answers may come immediately: the other requests need these ticks to be sent.
        for _ in range(_TICKS):
            await asyncio.sleep(0)
        turn = asyncio.get_running_loop().create_future()
        self._turns.insert(order.randrange(len(self._turns) + 1), turn)
        try:
            self._release_next()
            await turn
        finally:
            if turn in self._turns:
                self._turns.remove(turn)

    def _release_next(self) -> None:
        # All pending answers must be here first: the network must not decide the order.
        if self._turns and len(self._turns) == self._pending:
            self._turns.pop().set_result(None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Send the requests of every client that is built in this context through the tap."""
        tap, transport = self, self._transport

        class TappedConnection(Connection):
            """Passes each request to the tap."""

            def __init__(self, where: str, api: Api, base: httpx.URL, *rest: Any) -> None:  # noqa: ANN401  # as the base
                super().__init__(where, api, base, *rest)
                key = rest[0]
                self._transport = transport
                if transport is not None and api.key is not None and key is not None:
                    self._transport = KeyedTransport(transport, base, api.key, key)

            async def send(self, request: httpx.Request, what: str, deadline: Deadline) -> Reply:
                async def reply() -> Reply:
                    if self._transport is None:
                        return await super(TappedConnection, self).send(request, what, deadline)
                    answer = await self._transport.handle_async_request(request)
                    headers = {k.lower(): self._redact(v) for k, v in answer.headers.items()}
                    return Reply(answer.status_code, headers, await answer.aread())

                return await tap.carry(request, reply)

        with patch.object(client, "Connection", TappedConnection):
            yield
