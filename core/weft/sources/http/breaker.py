"""Leaves a source alone that fails, refuses the key, or has shut this caller out."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

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
