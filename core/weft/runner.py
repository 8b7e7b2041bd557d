"""The boundary around plugin calls: a deadline, and failures that become records."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.errors import ComponentError, WeftError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a call came to: a value, or the reason why there is none."""

    value: T | None
    failure: str | None = None


def call(component: str, function: Callable[[], T], deadline_seconds: float) -> T:
    """Run a plugin's function under a deadline.

    A function that overruns cannot be stopped from outside; its thread is left behind as a
    daemon, its answer is never used, and the caller goes on.

    Raises:
        ComponentError: it raised or overran; the message names the component and the reason.
    """
    box: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            box.append(function())
        except BaseException as error:  # noqa: BLE001  # sys.exit() and Rust panics are none of Exception
            raised.append(error)

    thread = threading.Thread(target=run, name=f"weft-{component}", daemon=True)
    thread.start()
    thread.join(deadline_seconds)
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
