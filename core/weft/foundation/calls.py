"""The boundary around plugin code: what a plugin raises becomes a record, and no call hangs a host.

`guarded` is the only place that catches everything a plugin can raise; `Calls` adds a deadline, and
`weft.foundation.workers` an event loop for what a plugin awaits.
"""

import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from weft.foundation.clock import Clock, SystemClock
from weft.foundation.errors import ComponentError, WeftError
from weft.foundation.times import SECOND, iso

if TYPE_CHECKING:
    from weft.foundation.breadcrumbs import Breadcrumbs
    from weft.foundation.compile_clock import CompileClock

T = TypeVar("T")

_SHORTEST_WAIT_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception that plugin code raised."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """The result of a call: a value, or the reason why there is none."""

    value: T | None
    failure: str | None = None


def guarded(function: Callable[[], T]) -> T | Raised:
    """Return what a plugin's function returns, or the exception it raised.

    A plugin that calls `sys.exit` has failed like any other. Ctrl-C reaches the main thread only;
    there it is the user's, and is raised.
    """
    try:
        return function()
    except BaseException as error:  # sys.exit() and panics of Rust code are no Exception
        in_main = threading.current_thread() is threading.main_thread()
        if isinstance(error, KeyboardInterrupt) and in_main:
            raise
        return Raised(error)


def fault(component: str, error: BaseException) -> ComponentError:
    """Return the error that reports an exception which is none of Weft's."""
    return ComponentError(
        f"raised {type(error).__name__}: {error}",
        where=component,
        hint="A fault in the plugin; WEFT_DEBUG=1 shows where",
    )


@dataclass(frozen=True, slots=True)
class _Hanging:
    """A call that overran its deadline, and the instant it began."""

    thread: threading.Thread
    since: int


class Calls:
    """Calls components under deadlines, and a component that hangs only once it has returned.

    A call that overruns cannot be stopped from outside. Its thread stays behind as a daemon, its
    answer is never used, and further calls of the component fail at once, so that a component that
    hangs costs one thread and not one a round.

    Args:
        clock: tells since when a component hangs.
        breadcrumbs: note which component is being called; None for no notes.
    """

    def __init__(
        self, clock: Clock | None = None, breadcrumbs: "Breadcrumbs | None" = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._breadcrumbs = breadcrumbs
        self._hanging: dict[str, _Hanging] = {}
        self._lock = threading.Lock()

    def call(self, component: str, function: Callable[[], T], deadline_seconds: float) -> T:
        """Return what a plugin's function returns within a deadline.

        The time that numba takes to compile kernels in the call does not count: a first call on a
        new machine answers like any other.

        Args:
            component: how messages name the plugin.
            function: of the plugin.
            deadline_seconds: time it has.

        Raises:
            WeftError: the function raised it.
            ComponentError: it raised something else, overran, or has not returned from an earlier
                call.
        """
        self._expect_idle(component)
        answers: list[T | Raised] = []
        clock, since = _compile_clock(), self._clock.now()

        def run() -> None:
            if clock is not None:
                clock.start(threading.get_ident())
            with self._breadcrumbs.note(component) if self._breadcrumbs else nullcontext():
                answers.append(guarded(function))
            if clock is not None:
                clock.stop(threading.get_ident())

        thread = threading.Thread(target=run, name=f"weft-{component}", daemon=True)
        _join(thread, deadline_seconds, clock)
        if not answers:
            with self._lock:
                self._hanging[component] = _Hanging(thread, since)
            raise ComponentError(
                f"gave no answer within {deadline_seconds:g} seconds",
                where=component,
                hint="Raise its deadline_seconds in config.yaml, or look for a loop that hangs",
            )
        return _value_of(component, answers[0])

    def attempt(
        self, component: str, function: Callable[[], T], deadline_seconds: float
    ) -> Outcome[T]:
        """Like `call`, for components that may be missing: failures come back as text."""
        try:
            return Outcome(self.call(component, function, deadline_seconds))
        except WeftError as error:
            return Outcome(None, str(error))

    def unhurried(self, component: str, function: Callable[[], T]) -> T:
        """Return what a plugin's function returns, in this thread and without a deadline.

        Raises:
            WeftError: the function raised it.
            ComponentError: it raised something else.
        """
        with self._breadcrumbs.note(component) if self._breadcrumbs else nullcontext():
            answer = guarded(function)
        return _value_of(component, answer)

    def close(self) -> None:
        """Remove the notes of calls under way: the program ends as it should."""
        if self._breadcrumbs is not None:
            self._breadcrumbs.close()

    def _expect_idle(self, component: str) -> None:
        """Raise where an earlier call of a component has not returned."""
        with self._lock:
            hanging = self._hanging.pop(component, None)
            if hanging is not None and hanging.thread.is_alive():
                self._hanging[component] = hanging
        if hanging is not None and hanging.thread.is_alive():
            since = iso(hanging.since - hanging.since % SECOND)
            raise ComponentError(
                f"still busy since {since}{place_of(hanging.thread)}, and is not called again "
                "before that call returns",
                where=component,
                hint="Mend the plugin, or switch it off in config.yaml",
            )


def call(component: str, function: Callable[[], T], deadline_seconds: float) -> T:
    """Return what a plugin's function returns within a deadline, for a call that is made once.

    Raises:
        WeftError: as `Calls.call`.
    """
    return Calls().call(component, function, deadline_seconds)


def _value_of(component: str, answer: T | Raised) -> T:
    if not isinstance(answer, Raised):
        return answer
    if isinstance(answer.error, WeftError):
        raise answer.error
    raise fault(component, answer.error) from answer.error


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


def place_of(thread: threading.Thread) -> str:
    """Return the innermost line of plugin code that a thread is at, as messages add it."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # documented
    files = [f for f in traceback.extract_stack(frame) if not _is_ours(Path(f.filename))]
    plugin = [f for f in files if Path(f.filename).parent == Path(files[0].filename).parent]
    return f" ({Path(plugin[-1].filename).name}:{plugin[-1].lineno})" if plugin else ""


_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_CORE = Path(__file__).resolve().parents[1]


def _is_ours(file: Path) -> bool:
    """Return whether a file belongs to Python or to the core: no plugin is there."""
    file = file.resolve()
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return _CORE in file.parents or (_STANDARD in file.parents and not installed)
