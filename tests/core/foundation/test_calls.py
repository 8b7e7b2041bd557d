"""The boundary around plugin calls."""

import sys
import threading
import time

import pytest
from numba.core import event

from weft.foundation.calls import Calls, call
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ComponentError, NoDataError


class Panic(BaseException):
    """What a fault in a library's Rust code looks like: no Exception."""


def test_a_value_comes_back() -> None:
    assert call("x", lambda: 41 + 1, 5.0) == 42
    assert call("x", lambda: None, 5.0) is None


def test_an_error_names_the_component_and_keeps_its_cause() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(ComponentError, match=r"^layer x: raised KeyError: 'gone'\.") as caught:
        call("layer x", fail, 5.0)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_error_of_ours_passes_as_it_is() -> None:
    def fail() -> None:
        raise NoDataError("nothing")

    with pytest.raises(NoDataError, match=r"^nothing$"):
        call("x", fail, 5.0)


def test_leaving_the_program_is_a_fault_like_any_other() -> None:
    started = time.monotonic()
    with pytest.raises(ComponentError, match="SystemExit"):
        call("x", sys.exit, 30.0)
    assert time.monotonic() - started < 15.0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, Panic])
def test_no_sort_of_exception_vanishes(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("oh")

    with pytest.raises(ComponentError, match=kind.__name__) as caught:
        call("x", fail, 30.0)
    assert isinstance(caught.value.__cause__, kind)


def test_an_answer_that_comes_too_late_is_never_used() -> None:
    release, answered = threading.Event(), threading.Event()

    def late() -> int:
        release.wait(10.0)
        answered.set()
        return 7

    outcome = Calls().attempt("layer slow", late, 0.05)
    release.set()
    assert answered.wait(10.0)
    assert outcome.value is None
    assert "layer slow: gave no answer" in str(outcome.failure)


def test_a_call_left_behind_does_not_keep_the_program_alive() -> None:
    release = threading.Event()
    with pytest.raises(ComponentError):
        call("x", release.wait, 0.01)
    left = [thread for thread in threading.enumerate() if thread.name == "weft-x"]
    release.set()
    assert [thread.daemon for thread in left] == [True]


def test_a_call_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    with pytest.raises(ComponentError, match=r"no answer within 0\.05 seconds"):
        call("x", release.wait, 0.05)
    release.set()


def test_an_attempt_turns_failures_into_text() -> None:
    assert Calls().attempt("x", lambda: 1, 5.0).value == 1
    failed = Calls().attempt("x", lambda: 1 / 0, 5.0)
    assert failed.value is None
    assert "ZeroDivisionError" in str(failed.failure)


def test_the_time_to_compile_does_not_count_against_a_deadline() -> None:
    def compile_then_answer() -> int:
        with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
            time.sleep(1.5)
        return 42

    assert call("layer x", compile_then_answer, 1.0) == 42


def test_a_call_that_hangs_after_compiling_overruns_its_deadline() -> None:
    ended = threading.Event()

    def compile_then_hang() -> None:
        with event.trigger_event("numba:compile"):
            time.sleep(0.1)
        ended.wait(60.0)

    with pytest.raises(ComponentError, match=r"gave no answer within 0\.2 seconds"):
        call("layer x", compile_then_hang, 0.2)
    ended.set()


def test_a_component_that_hangs_is_called_again_only_once_it_has_returned() -> None:
    calls, release, called = Calls(SimulatedClock(90_000_000)), threading.Event(), []

    def hang() -> int:
        called.append(1)
        release.wait(60.0)
        return 1

    with pytest.raises(ComponentError, match="gave no answer within"):
        calls.call("layer stuck", hang, 0.05)
    for _ in range(5):
        with pytest.raises(ComponentError, match="busy since 1970-01-01T00:01:30Z") as caught:
            calls.call("layer stuck", hang, 0.05)
        assert "(test_calls.py:" in str(caught.value)
    assert called == [1]
    threads = [thread for thread in threading.enumerate() if thread.name == "weft-layer stuck"]
    assert len(threads) == 1
    assert calls.call("layer other", lambda: 7, 5.0) == 7
    release.set()
    threads[0].join(60.0)
    assert calls.call("layer stuck", hang, 60.0) == 1


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, Panic])
def test_a_call_without_a_deadline_names_the_component_too(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("oh")

    with pytest.raises(ComponentError, match=f"model x: raised {kind.__name__}"):
        Calls().unhurried("model x", fail)


def test_the_users_interrupt_is_no_fault_of_a_plugin() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Calls().unhurried("model x", interrupt)
