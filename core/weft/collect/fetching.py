"""Run the fetch of a provider in its worker thread, and hand its batches to the host."""

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
    """Worker and deadlines of one provider.

    Attributes:
        worker: runs the code of the provider.
        patience_seconds: how long one step may block.
        deadline_seconds: how long a fetch may take in total; None for no limit.
    """

    worker: Worker
    patience_seconds: float
    deadline_seconds: float | None = None

    async def run(
        self, fetch: Fetch, request: Request, http: "Http", clock: "Clock", take: Take
    ) -> None:
        """Hand every batch of a fetch to `take`, which runs on the loop of the caller.

        Args:
            fetch: method `fetch` of the provider.
            request: passed to `fetch`.
            http: HTTP client of the provider, passed to `fetch`.
            clock: passed to `fetch`.
            take: receives each batch; the fetch continues after `take` has returned.

        Raises:
            WeftError: the provider failed, blocked, missed its deadline, or gave no batches.
        """
        host = Host()
        waits = True

        async def hand_over(batch: Batch) -> None:
            # A batch that arrives after the deadline is dropped.
            if waits:
                await take(batch)

        async def work() -> None:
            batches = checked_batches(fetch(request, http, clock), self.worker.component)
            try:
                async for batch in batches:
                    checked = checked_batch(batch, self.worker.component)
                    await host.do(partial(hand_over, checked))
            finally:
                # Close now, not when the garbage collector finds the generator.
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
