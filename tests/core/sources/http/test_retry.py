"""The circuit breaker."""

import pytest

from tests.core.sources.http.server import NOW
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api
from weft.sources.http.errors import (
    BannedError,
    CircuitOpenError,
    MalformedError,
    RateLimitedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.retry import Breaker


class Rig:
    def __init__(self) -> None:
        self.clock = SimulatedClock(NOW)
        api = Api(base_url="", failures_to_open=3, cool_down_seconds=60)
        self.breaker = Breaker("vendor", api, self.clock)

    def fail(self, error: SourceError) -> None:
        with pytest.raises(type(error)), self.breaker.attempt():
            raise error

    def succeed(self) -> None:
        with self.breaker.attempt():
            pass

    def later(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now() + int(seconds * SECOND))

    def refused(self) -> SourceError:
        with pytest.raises(SourceError) as caught:
            self.breaker.check()
        assert not caught.value.worth_retrying
        return caught.value


def opened() -> Rig:
    rig = Rig()
    for _ in range(3):
        rig.fail(UnavailableError("down"))
    return rig


def test_opening_the_breaker_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    opened().fail(UnavailableError("a late one"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "vendor: paused until 2025-10-09T08:54:20Z: down" in caplog.text


def test_only_failures_in_a_row_open_the_breaker() -> None:
    rig = Rig()
    for _ in range(5):
        rig.fail(UnavailableError("down"))
        rig.fail(UnavailableError("down"))
        rig.succeed()
        rig.fail(UnavailableError("down"))
        rig.fail(RateLimitedError("busy"))
    for _ in range(3):
        rig.fail(UnavailableError("down"))
    refused = rig.refused()
    assert isinstance(refused, CircuitOpenError)
    assert refused.retry_after_seconds == 60
    assert "down" in str(refused)


def test_one_trial_request_follows_the_pause() -> None:
    rig = opened()
    rig.later(60)
    with rig.breaker.attempt():
        assert isinstance(rig.refused(), CircuitOpenError)
    rig.succeed()
    assert rig.breaker.cause is None


@pytest.mark.parametrize("error", [MalformedError("odd"), RateLimitedError("busy")])
def test_any_reply_to_the_trial_closes_the_breaker(error: SourceError) -> None:
    rig = opened()
    rig.later(60)
    rig.fail(error)
    assert rig.breaker.cause is None


def test_a_failed_trial_reopens_the_breaker() -> None:
    rig = opened()
    rig.later(60)
    rig.fail(UnavailableError("still down"))
    assert "still down" in str(rig.refused())


def test_a_cancelled_trial_admits_another_trial() -> None:
    rig = opened()
    rig.later(60)
    with pytest.raises(KeyboardInterrupt), rig.breaker.attempt():
        raise KeyboardInterrupt
    rig.succeed()


def test_a_ban_lasts_to_its_end() -> None:
    rig = Rig()
    on_its_way = rig.breaker.attempt()
    failing = rig.breaker.attempt()
    on_its_way.__enter__()
    failing.__enter__()
    rig.fail(BannedError("out", retry_after_seconds=7_200))
    on_its_way.__exit__(None, None, None)
    late = UnavailableError("late")
    failing.__exit__(UnavailableError, late, None)
    rig.later(7_199)
    assert isinstance(rig.refused(), BannedError)
    rig.later(1)
    rig.succeed()
    assert rig.breaker.cause is None


def test_a_refused_key_is_not_sent_again_immediately() -> None:
    rig = Rig()
    rig.fail(UnauthorisedError("revoked"))
    rig.later(899)
    assert isinstance(rig.refused(), UnauthorisedError)
    rig.later(1)
    rig.succeed()
