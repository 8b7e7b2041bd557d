"""The boundary around code of plugins that runs while they are loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Raised:
    """What plugin code raised."""

    error: BaseException


def attempt(function: Callable[[], T]) -> T | Raised:
    """Return what a function of a plugin returns, or what it raised.

    A plugin that calls `sys.exit` while it is imported has failed like any other; the user's
    Ctrl-C is no failure of the plugin.
    """
    try:
        return function()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # the loader's boundary: anything may be raised
        return Raised(error)
