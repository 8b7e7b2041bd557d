"""Retries of failed requests, and the circuit breaker of a failing source."""

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
    """Counts down the time of a request while the context is entered, and by `spend`.

    Time is that of the event loop, which no correction of the machine's clock changes.
    """

    def __init__(self, seconds: float) -> None:
        self.left_seconds = seconds
        self._since = 0.0

    def spend(self, seconds: float) -> None:
        """Subtract seconds that passed outside of the context."""
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
    """Repeats requests that failed temporarily, with exponential pauses and full jitter.

    All requests of a source share a budget of 10 retries, to which each request adds 0.2: a
    failing source does not get several times the usual number of requests.

    Args:
        api: the API, with attempts and deadline.
        clock: current time, and waiting.
        rng: draws the pauses.

    Attributes:
        count: number of repeated attempts.
    """

    def __init__(self, api: Api, clock: Clock, rng: random.Random) -> None:
        self._api = api
        self._clock = clock
        self._rng = rng
        self._budget = _BUDGET
        self.count = 0

    async def run(self, attempt: Callable[[Deadline], Awaitable[_T]]) -> _T:
        """Return the result of the first successful attempt, or raise the last error."""
        self._budget = min(_BUDGET, self._budget + _EARNED_PER_REQUEST)
        deadline = Deadline(self._api.deadline_seconds)

        def stop(state: RetryCallState) -> bool:
            over = state.attempt_number >= self._api.attempts
            return over or state.upcoming_sleep >= deadline.left_seconds or self._budget < 1

        async def pause(seconds: float) -> None:
            self._budget -= 1
            self.count += 1
            deadline.spend(seconds)
            await self._clock.sleep_until(self._clock.now() + int(seconds * SECOND))

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._is_retried), stop=stop, wait=self._wait, sleep=pause,
            before_sleep=_log_retry, reraise=True,
        )  # fmt: skip
        result: _T = await retrying(attempt, deadline)
        return result

    def _is_retried(self, error: BaseException) -> bool:
        if not isinstance(error, SourceError) or not error.worth_retrying:
            return False
        return (error.retry_after_seconds or 0) <= self._api.longest_wait_seconds

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        # The limiter already pauses all requests for a wait that the server demands.
        if isinstance(error, SourceError) and error.retry_after_seconds:
            return 0.0
        longest = _FIRST_PAUSE_SECONDS * 2.0 ** min(state.attempt_number - 1, 20)
        return self._rng.uniform(0, min(_LONGEST_PAUSE_SECONDS, longest))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SourceError):
        seconds = state.upcoming_sleep
        _log.info("%s: %s; next attempt in %.1f s", error.where, error.message, seconds)


class Breaker:
    """Blocks requests after failures in a row, a refused key or a ban, then admits one trial.

    Args:
        where: name of the provider, for messages.
        api: the API, with `failures_to_open` and the lengths of pauses.
        clock: current time.
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
        """Error that opened the breaker; None while it is closed."""
        return self._cause

    def resume(self, cause: SourceError, until: int) -> None:
        """Open the breaker until an instant, with the error of an earlier process."""
        if until > self._until:
            self._cause, self._until = cause, until

    def check(self) -> None:
        """Raise an error while the breaker is open.

        Raises:
            BannedError: until a ban ends.
            UnauthorisedError: for `refused_key_seconds` after the key was refused.
            CircuitOpenError: during the pause after failures, and during the trial request.
        """
        cause = self._cause
        left = self._until - self._clock.now()
        if cause is None or (left <= 0 and not self._probing):
            return
        kind = next((k for k in (BannedError, UnauthorisedError) if isinstance(cause, k)), None)
        state = f"paused until {iso(self._until)}" if left > 0 else "a trial request is running"
        raise (kind or CircuitOpenError)(
            f"no request sent ({state}) after: {cause.message}",
            where=self._where,
            retry_after_seconds=max(left, 0) / SECOND,
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Admit one request; the error or success of the context opens or closes the breaker.

        Raises:
            SourceError: the breaker is open, as in `check`.
        """
        self.check()
        is_trial = self._probing = self._cause is not None
        try:
            yield
        except SourceError as error:
            self._count_error(error, is_trial=is_trial)
            raise
        else:
            self._count_reply(is_trial=is_trial)
        finally:
            if is_trial:
                self._probing = False

    def _count_error(self, error: SourceError, *, is_trial: bool) -> None:
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
            self._count_reply(is_trial=is_trial)

    def _count_reply(self, *, is_trial: bool) -> None:
        self._failures = 0
        # A reply that was on its way when a ban began proves nothing about the ban.
        if is_trial:
            self._cause = None

    def _open(self, error: SourceError, seconds: float) -> None:
        until = self._clock.now() + int(seconds * SECOND)
        # A later failure of another request must not shorten a ban.
        if until >= self._until or self._cause is None:
            if self._cause is None:
                _log.warning("%s: paused until %s: %s", self._where, iso(until), error.message)
            self._cause, self._until = error, until
