"""Watching what a component opens or connects to while it is asked."""

import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

_NAMES: Final = {
    "open": "opened the file",
    "sqlite3.connect": "opened the database",
    "socket.connect": "connected to",
    "socket.getaddrinfo": "looked up the host",
    "subprocess.Popen": "started the program",
    "os.system": "started the program",
    "os.posix_spawn": "started the program",
}
"""What messages call the audit events that are watched."""

_CODE: Final = (".py", ".pyc", ".pyi", ".pyd", ".so", ".dll", ".dylib", ".nbi", ".nbc", ".pth")
_SYSTEM: Final = ("/proc", "/sys", "/dev")


@dataclass(slots=True)
class Watch:
    """What was opened, and by whom that counts.

    Attributes:
        seen: one line for each file, host or program, in words.
    """

    seen: list[str] = field(default_factory=list)
    _thread: int = field(default_factory=threading.get_ident)
    _others: set[int | None] = field(
        default_factory=lambda: {thread.ident for thread in threading.enumerate()}
    )

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an audit event, unless another thread that was there before caused it."""
        here = threading.get_ident()
        if event not in _NAMES or (here in self._others and here != self._thread):
            return
        about = arguments[1] if event == "socket.connect" else arguments[0]
        if event == "open" and _is_harmless(about):
            return
        line = f"{_NAMES[event]} {about!s:.200}"
        if line not in self.seen:
            self.seen.append(line)


_watches: list[Watch] = []


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch what this thread, and threads that it starts, open or connect to.

    Seen is what goes through Python; a file that a library's C or Rust code opens is not.
    """
    _listen()
    watch = Watch()
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


@cache
def _listen() -> None:
    # A hook cannot be taken away again, so there is one, and it does nothing while nobody watches.
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for watch in tuple(_watches):
        watch.note(event, arguments)


def _is_harmless(path: object) -> bool:
    """Return whether a path is code, Python's own, or the system's: no data of the market."""
    # A number is a file that is open already.
    if not isinstance(path, str | bytes | Path):
        return True
    name = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
    return name.endswith(_CODE) or name.startswith(_SYSTEM) or _standard() in Path(name).parents


@cache
def _standard() -> Path:
    return Path(sysconfig.get_path("stdlib"))
