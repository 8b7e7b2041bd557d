"""When a failed request is asked again, and when a failing source is left alone."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND, iso
from weft.sources.http.api import Api
from weft.sources.http.errors import (
    BannedError,
    CircuitOpenError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)

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


class Breaker:
    """Opens after a row of failures, on a refused key and on a ban; then lets one request try.

    Args:
        where: the provider, for messages.
        api: how many failures, and how long.
        clock: tells when the pause is over.
    """

    def __init__(self, where: str, api: Api, clock: Clock) -> None:
        self._where = where
        self._api = api
        self._clock = clock
        self._failures = 0
        self._cause: SourceError | None = None
        self._until = 0
        self._probing = False

    @property
    def cause(self) -> SourceError | None:
        """Why the source is being left alone; None where it is not."""
        return self._cause

    def resume(self, cause: SourceError, until: int) -> None:
        """Leave the source alone until an instant, as an earlier process was told to."""
        if until > self._until:
            self._cause, self._until = cause, until

    def check(self) -> None:
        """Raise at once, without asking, while the source is being left alone.

        Raises:
            BannedError: until the ban ends.
            UnauthorisedError: for a while after the key was refused.
            CircuitOpenError: for a while after too many failures, and while one request tries.
        """
        cause = self._cause
        left = self._until - self._clock.now()
        if cause is None or (left <= 0 and not self._probing):
            return
        kind = next((k for k in (BannedError, UnauthorisedError) if isinstance(cause, k)), None)
        until = f"left alone until {iso(self._until)}" if left > 0 else "being tried right now"
        raise (kind or CircuitOpenError)(
            f"not asked, {until}, after: {cause.message}",
            where=self._where,
            retry_after_seconds=max(left, 0) / SECOND,
        )

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Let one request through, and learn from how it ends.

        Raises:
            SourceError: as `check`.
        """
        self.check()
        trying = self._probing = self._cause is not None
        try:
            yield
        except SourceError as error:
            self._learn(error, trying=trying)
            raise
        else:
            self._answered(trying=trying)
        finally:
            if trying:
                self._probing = False

    def _learn(self, error: SourceError, *, trying: bool) -> None:
        api = self._api
        if isinstance(error, BannedError):
            self._open(error, error.retry_after_seconds or api.ban_seconds)
        elif isinstance(error, UnauthorisedError):
            self._open(error, api.refused_key_seconds)
        elif isinstance(error, UnavailableError):
            self._failures += 1
            if self._failures >= api.failures_to_open or self._cause is not None:
                self._open(error, api.cool_down_seconds)
        else:
            self._answered(trying=trying)

    def _answered(self, *, trying: bool) -> None:
        self._failures = 0
        # An answer that was on its way when a ban began says nothing about the ban.
        if trying:
            self._cause = None

    def _open(self, error: SourceError, seconds: float) -> None:
        until = self._clock.now() + int(seconds * SECOND)
        # A late failure of another request must not shorten a ban.
        if until >= self._until or self._cause is None:
            if self._cause is None:
                _log.warning("%s: left alone until %s: %s", self._where, iso(until), error.message)
            self._cause, self._until = error, until
