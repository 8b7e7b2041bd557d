"""Watching a component while it computes: what it writes to, opens and connects to."""

import hashlib
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from weft.market.view import View

_VERBS: Final = {
    "open": "opened the file",
    "sqlite3.connect": "opened the database",
    "socket.connect": "connected to",
    "socket.getaddrinfo": "looked up the host",
    "subprocess.Popen": "started the program",
    "os.system": "started the program",
    "os.posix_spawn": "started the program",
}
"""The audit events that are watched, and how messages describe them."""

_CODE: Final = (".py", ".pyc", ".pyi", ".pyd", ".so", ".dll", ".dylib", ".nbi", ".nbc", ".pth")
_SYSTEM: Final = ("/proc", "/sys", "/dev")


def digests_of(view: View) -> dict[str, str]:
    """Return the digest of each array a view holds, by the name that messages use.

    Besides candles these are texts, the regime, forecasts, and the features computed so far.
    """
    data = view._data  # noqa: SLF001  # a view does not hand it out to components
    parts = {
        "candles": {interval.name: panel for interval, panel in data.candles.items()},
        "news": data.news,
        "regime": data.regime,
        "forecasts": data.forecasts,
        "feature": {
            f"{need.name} {dict(need.params) or ''}": panels
            for (need, _), panels in data.computed.items()
        },
        "universe": data.universe,
    }
    return {name: _digest(array) for name, array in _arrays(parts, "")}


def _arrays(part: object, name: str) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(part, np.ndarray):
        yield name.strip(), part
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _arrays(value, f"{name} {key}")
    elif is_dataclass(part) and not isinstance(part, type):
        for member in fields(part):
            yield from _arrays(getattr(part, member.name), f"{name} {member.name}")


def _digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).hexdigest()


@dataclass(slots=True)
class Watch:
    """The files, hosts and programs that the watched threads used.

    Attributes:
        events: one line for each file, host or program.
    """

    events: list[str] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)
    _others: set[int | None] = field(
        default_factory=lambda: {thread.ident for thread in threading.enumerate()}
    )

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event, unless a thread that ran before the watch began caused it."""
        thread = threading.get_ident()
        if event not in _VERBS or (thread in self._others and thread != self._thread):
            return
        target = arguments[1] if event == "socket.connect" else arguments[0]
        if event == "open" and _is_harmless(target):
            return
        line = f"{_VERBS[event]} {target!s:.200}"
        if line not in self.events:
            self.events.append(line)


_watches: list[Watch] = []


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch what this thread, and threads that it starts, open or connect to.

    Only what goes through Python is noted: a file that the C or Rust code of a library opens is
    not.
    """
    _install_hook()
    watch = Watch()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


@cache
def _install_hook() -> None:
    # Python cannot remove an audit hook, so one serves all watches, and does nothing without one.
    sys.addaudithook(_note)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in tuple(_watches):
        watch.note(event, arguments)


def _is_harmless(path: object) -> bool:
    """Return whether a path is code, Python's, or the system's: no data of the market."""
    # A number is the descriptor of a file that is open already.
    if not isinstance(path, str | bytes | Path):
        return True
    name = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
    library = _standard_library()
    return name.endswith(_CODE) or name.startswith(_SYSTEM) or library in Path(name).parents


@cache
def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))
