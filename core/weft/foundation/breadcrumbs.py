"""Breadcrumbs: the names of plugin calls under way, in a file that outlives a crash.

A plugin that calls `os._exit`, or whose C code crashes, ends the program without a message. The
next start finds its name in the file, and can say which plugin it was.
"""

import mmap
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp
from typing import Final

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_SUFFIX: Final = ".calls"
_SLOTS, _SLOT_BYTES = 64, 256
_ORDER_BYTES = 8


class Breadcrumbs:
    """Notes which components are being called, in a memory-mapped file of this process.

    A note costs a copy of 256 bytes. The system keeps what was written when the process dies.

    Args:
        folder: of the files; made where it is missing.

    Attributes:
        titles: name in the notes of a component, by the name it is called under; a component
            without an entry keeps the name it is called under.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handle, name = mkstemp(_SUFFIX, f"{os.getpid()}-", folder)
        self._path = Path(name)
        self.titles: Mapping[str, str] = {}
        try:
            try_lock(self._handle)
            os.truncate(self._handle, _SLOTS * _SLOT_BYTES)
            self._map = mmap.mmap(self._handle, _SLOTS * _SLOT_BYTES)
        except OSError:
            os.close(self._handle)
            raise
        self._free = list(range(_SLOTS))
        self._noted = 0
        self._lock = threading.Lock()

    @contextmanager
    def note(self, component: str) -> Iterator[None]:
        """Keep a component's name in the file while the block runs."""
        with self._lock:
            slot = self._free.pop() if self._free and not self._map.closed else None
            self._noted += 1
            if slot is not None:
                self._write(slot, self._noted, self.titles.get(component, component))
        try:
            yield
        finally:
            with self._lock:
                if slot is not None:
                    self._free.append(slot)
                    if not self._map.closed:
                        self._write(slot, 0, "")

    def close(self) -> None:
        """Remove the file: the program ends as it should."""
        with self._lock:
            if self._map.closed:
                return
            self._map.close()
            os.close(self._handle)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self, slot: int, order: int, title: str) -> None:
        text = title.encode()[: _SLOT_BYTES - _ORDER_BYTES].ljust(_SLOT_BYTES - _ORDER_BYTES, b"\0")
        start = slot * _SLOT_BYTES
        self._map[start : start + _SLOT_BYTES] = order.to_bytes(_ORDER_BYTES, "big") + text


def take_left_behind(folder: Path) -> list[str]:
    """Return the calls under way when earlier processes ended, the latest first; remove the files.

    Files of processes that run are left alone.

    Args:
        folder: of the files.
    """
    titles = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(OSError):
            titles += _taken(path)
    return titles


def _taken(path: Path) -> list[str]:
    handle = os.open(path, os.O_RDWR)
    try:
        if not try_lock(handle):
            return []
        content = os.read(handle, _SLOTS * _SLOT_BYTES)
    finally:
        os.close(handle)
    path.unlink(missing_ok=True)
    slots = [content[at : at + _SLOT_BYTES] for at in range(0, len(content), _SLOT_BYTES)]
    named = [slot for slot in slots if any(slot[:_ORDER_BYTES])]
    latest_first = sorted(named, key=lambda slot: slot[:_ORDER_BYTES], reverse=True)
    return [slot[_ORDER_BYTES:].rstrip(b"\0").decode(errors="replace") for slot in latest_first]


def try_lock(handle: int) -> bool:
    """Lock an open file for this process until it is closed; return whether it was free.

    The system lifts the lock of a process that dies.
    """
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
