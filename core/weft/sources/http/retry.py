"""When a failed request is asked again: a few times, after a random pause, within a budget."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api
from weft.sources.http.errors import SourceError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_BUDGET, _EARNED_PER_REQUEST = 10.0, 0.2


class Deadline:
    """How much of its time a request has left; runs while entered, and where `spend` says so.

    Measured by the event loop, which no correction of the machine's clock can reach.
    """

    def __init__(self, seconds: float) -> None:
        self.left_seconds = seconds
        self._since = 0.0

    def spend(self, seconds: float) -> None:
        """Count seconds spent otherwise."""
        self.left_seconds -= seconds

    def __enter__(self) -> Self:
        self._since = asyncio.get_running_loop().time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.spend(asyncio.get_running_loop().time() - self._since)


class Retries:
    """Asks again after failures that may pass, with exponential pauses and full jitter.

    A budget shared by all requests of a source, a few at first and one in five from then on,
    keeps a broken source from being asked several times as often as a sound one.

    Args:
        api: attempts and deadline.
        clock: waits.
        rng: draws the pauses.
    """

    def __init__(self, api: Api, clock: Clock, rng: random.Random) -> None:
        self._api = api
        self._clock = clock
        self._rng = rng
        self._budget = _BUDGET
        self.made = 0

    async def run(self, attempt: Callable[[Deadline], Awaitable[_T]]) -> _T:
        """Return what an attempt returns, or raise what the last one raised."""
        self._budget = min(_BUDGET, self._budget + _EARNED_PER_REQUEST)
        deadline = Deadline(self._api.deadline_seconds)

        def stop(state: RetryCallState) -> bool:
            over = state.attempt_number >= self._api.attempts
            return over or state.upcoming_sleep >= deadline.left_seconds or self._budget < 1

        async def pause(seconds: float) -> None:
            self._budget -= 1
            self.made += 1
            deadline.spend(seconds)
            await self._clock.sleep_until(self._clock.now() + int(seconds * SECOND))

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._worth), stop=stop, wait=self._wait, sleep=pause,
            before_sleep=_tell, reraise=True,
        )  # fmt: skip
        answer: _T = await retrying(attempt, deadline)
        return answer

    def _worth(self, error: BaseException) -> bool:
        if not isinstance(error, SourceError) or not error.worth_retrying:
            return False
        return (error.retry_after_seconds or 0) <= self._api.longest_wait_seconds

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        # The limiter holds everybody back for a wait that the server asked for.
        if isinstance(error, SourceError) and error.retry_after_seconds:
            return 0.0
        longest = _FIRST_PAUSE_SECONDS * 2.0 ** min(state.attempt_number - 1, 20)
        return self._rng.uniform(0, min(_LONGEST_PAUSE_SECONDS, longest))


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SourceError):
        told = (error.where, error.message, state.upcoming_sleep)
        _log.info("%s: %s; asked again in %.1f s", *told)
