"""Guards around a provider's callbacks: what would end a thread becomes an error with its name."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from weft.components.contract_checks import checked_batches
from weft.foundation.calls import fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weft.components.provider import Batch, Request
    from weft.foundation.clock import Clock
    from weft.sources.http import Http
    from weft.sources.stream.spec import StreamSpec

P = ParamSpec("P")
T = TypeVar("T")


def guarded(spec: "StreamSpec", where: str) -> "StreamSpec":
    """Return a stream whose callbacks raise nothing but what derives from `Exception`.

    Args:
        spec: the stream.
        where: how messages name the provider.
    """

    def plain(function: Callable[P, T]) -> Callable[P, T]:
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            # Called for every message: a context manager would cost more than the call.
            try:
                return function(*args, **kwargs)
            except Exception:
                raise
            except BaseException as error:
                raise fault(where, error) from error

        return call

    def awaited(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with _named(where):
                return await function(*args, **kwargs)

        return call

    async def backfill(request: "Request", http: "Http", clock: "Clock") -> "AsyncIterator[Batch]":
        with _named(where):
            batches = checked_batches(spec.backfill(request, http, clock), where)
            async with aclosing(batches) as given:  # type: ignore[type-var]  # an async generator can be closed
                async for batch in given:
                    yield batch

    return replace(
        spec,
        subscribe=plain(spec.subscribe),
        parse=plain(spec.parse),
        tells=spec.tells and plain(spec.tells),
        backfill=backfill,
        snapshot=spec.snapshot and awaited(spec.snapshot),
        authorise=spec.authorise and awaited(spec.authorise),
    )


@contextmanager
def _named(where: str) -> "Iterator[None]":
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise fault(where, error) from error
    except BaseException as error:
        raise fault(where, error) from error
