"""Fetching: a provider's code runs in its worker, and what it brings crosses to the host."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from weft.components.contract_checks import checked_batch, checked_batches
from weft.components.provider import Batch, Request
from weft.foundation.workers import Host, Worker

if TYPE_CHECKING:
    from weft.foundation.clock import Clock
    from weft.sources.http import Http

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
            http: the provider's client.
            clock: tells the time.
            take: what becomes of a batch; the fetch goes on once it has returned.

        Raises:
            WeftError: the provider failed, blocks, was not done in time, or gave no batches.
        """
        host = Host()
        waits = True

        async def hand_over(batch: Batch) -> None:
            # What comes from a fetch that was given up comes too late.
            if waits:
                await take(batch)

        async def work() -> None:
            batches = checked_batches(fetch(request, http, clock), self.worker.component)
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
