"""Listens to what providers ask, and lets answers be late, out of turn, or something else."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import httpx

from weft.sources.http import client
from weft.sources.http.api import Api
from weft.sources.http.connection import Connection, Reply
from weft.sources.http.retry import Deadline
from weft.sources.http.transport import KeyedTransport

_TICKS = 20


class Ask(NamedTuple):
    """One request as it went out, without its key."""

    method: str
    url: str
    content: bytes


Spoil: TypeAlias = Callable[[Ask, Reply], Reply]
"""Makes something else of what a server answered."""


class Tap:
    """Stands where requests leave this process.

    Args:
        transport: answers in place of the network; None to ask the network.
        spoil: what becomes of each answer.
        order: draws which of the answers that are under way comes next; None for as they come.
        hold_after: requests after which none is answered any more; None to answer all.
        memory: answers of earlier fetches, given again without asking; what is new is added.
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
        self._under_way = 0
        self._turns: list[asyncio.Future[None]] = []

    async def carry(self, request: httpx.Request, send: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return what comes of a request.

        Args:
            request: what is asked.
            send: asks the network.
        """
        ask = Ask(request.method, str(request.url), request.content)
        self.asked.append(ask)
        if self._hold_after is not None and len(self.asked) > self._hold_after:
            self.held.set()
            await asyncio.Event().wait()
        self._under_way += 1
        try:
            known = self._memory.get(ask) if self._memory is not None else None
            reply = known or await send()
            if self._memory is not None:
                self._memory[ask] = reply
            if self._order is not None:
                await self._turn(self._order)
        finally:
            self._under_way -= 1
            self._let_one_pass()
        return self._spoil(ask, reply) if self._spoil else reply

    async def _turn(self, order: random.Random) -> None:
        # Where answers come at once, other requests are not under way before these ticks.
        for _ in range(_TICKS):
            await asyncio.sleep(0)
        turn = asyncio.get_running_loop().create_future()
        self._turns.insert(order.randrange(len(self._turns) + 1), turn)
        try:
            self._let_one_pass()
            await turn
        finally:
            if turn in self._turns:
                self._turns.remove(turn)

    def _let_one_pass(self) -> None:
        # Not before all that are under way are here: the network must not decide the order.
        if self._turns and len(self._turns) == self._under_way:
            self._turns.pop().set_result(None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let every client that is built meanwhile go through this tap."""
        tap, transport = self, self._transport

        class TappedWire(Connection):
            """Hands each request to the tap."""

            def __init__(self, where: str, api: Api, base: httpx.URL, *rest: Any) -> None:  # noqa: ANN401  # as the base
                super().__init__(where, api, base, *rest)
                key = rest[0]
                self._answers = transport
                if transport is not None and api.key is not None and key is not None:
                    self._answers = KeyedTransport(transport, base, api.key, key)

            async def send(self, request: httpx.Request, what: str, deadline: Deadline) -> Reply:
                async def ask() -> Reply:
                    if self._answers is None:
                        return await super(TappedWire, self).send(request, what, deadline)
                    answer = await self._answers.handle_async_request(request)
                    headers = {k.lower(): self._redact(v) for k, v in answer.headers.items()}
                    return Reply(answer.status_code, headers, await answer.aread())

                return await tap.carry(request, ask)

        with patch.object(client, "Connection", TappedWire):
            yield
