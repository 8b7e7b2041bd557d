"""The boundary around plugin calls: a deadline, and failures that become records."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from weft.foundation.errors import ComponentError, WeftError

if TYPE_CHECKING:
    from weft.foundation.compile_clock import CompileClock

T = TypeVar("T")

_SHORTEST_WAIT_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a call came to: a value, or the reason why there is none."""

    value: T | None
    failure: str | None = None


def call(component: str, function: Callable[[], T], deadline_seconds: float) -> T:
    """Run a plugin's function under a deadline.

    A function that overruns cannot be stopped from outside; its thread is left behind as a
    daemon, its answer is never used, and the caller goes on. The time that numba takes to compile
    kernels in the thread does not count: a first call on a new machine answers like any other.

    Raises:
        ComponentError: it raised or overran; the message names the component and the reason.
    """
    box: list[T] = []
    raised: list[BaseException] = []

    clock = _compile_clock()

    def run() -> None:
        if clock is not None:
            clock.start(threading.get_ident())
        try:
            box.append(function())
        except BaseException as error:  # noqa: BLE001  # sys.exit() and Rust panics are none of Exception
            raised.append(error)
        finally:
            if clock is not None:
                clock.stop(threading.get_ident())

    thread = threading.Thread(target=run, name=f"weft-{component}", daemon=True)
    _join(thread, deadline_seconds, clock)
    if raised:
        error = raised[0]
        if isinstance(error, WeftError):
            raise error
        raise fault(component, error) from error
    if not box:
        raise ComponentError(
            f"gave no answer within {deadline_seconds:g} seconds",
            where=component,
            hint="Raise its deadline_seconds in config.yaml, or look for a loop that hangs",
        )
    return box[0]


def _join(thread: threading.Thread, deadline_seconds: float, clock: "CompileClock | None") -> None:
    """Start a thread, and wait until it ends or overruns its deadline."""
    began = time.monotonic()
    thread.start()
    ident = thread.ident
    if clock is None or ident is None:
        thread.join(deadline_seconds)
        return
    while thread.is_alive():
        left = began + deadline_seconds + clock.seconds(ident) - time.monotonic()
        if left <= 0.0:
            break
        thread.join(max(left, _SHORTEST_WAIT_SECONDS))


def _compile_clock() -> "CompileClock | None":
    """Return the clock of numba's compilations; None where numba is not imported."""
    if "numba" not in sys.modules:
        return None
    from weft.foundation.compile_clock import COMPILE_CLOCK  # noqa: PLC0415  # numba takes long to import

    return COMPILE_CLOCK


def fault(component: str, error: BaseException) -> ComponentError:
    """Return what is reported of a plugin that raised something of its own."""
    return ComponentError(
        f"raised {type(error).__name__}: {error}",
        where=component,
        hint="A fault in the plugin; WEFT_DEBUG=1 shows where",
    )


def attempt(component: str, function: Callable[[], T], deadline_seconds: float) -> Outcome[T]:
    """Like `call`, for components that may be missing: failures come back as text."""
    try:
        return Outcome(call(component, function, deadline_seconds))
    except WeftError as error:
        return Outcome(None, str(error))
