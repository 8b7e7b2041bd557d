"""The registry: finds the plugins config names, loads them one by one, and records how it went."""

import importlib
import importlib.metadata
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from typing import TypeAlias

from packaging.utils import canonicalize_name

from weft.components.base import Component
from weft.foundation import calls
from weft.foundation.calls import Raised, guarded
from weft.foundation.errors import (
    IncompatiblePluginError,
    MissingDependencyError,
    PluginConflictError,
    PluginError,
    UnknownPluginError,
    nearest,
)
from weft.foundation.version import __version__
from weft.plugins.checks import check_class, is_class_of
from weft.plugins.dependencies import extra_that_brings, refuses
from weft.plugins.records import BUILT_IN, HOOK, IN_PROCESS, KINDS, PluginRecord, Status

_Key: TypeAlias = tuple[str, str, str]


class Registry:
    """The plugins there are, and the ones that were loaded.

    Nothing is imported before `load` or `load_hook` asks for it, and a plugin nobody asks for
    can harm nobody. What loaded is kept; what failed is tried again when it is asked for again.

    Args:
        records: the installed plugins, from `weft.plugins.discovery.discover`.
        extra: classes that this program brings itself.
    """

    def __init__(
        self, records: Iterable[PluginRecord], extra: Iterable[type[Component]] = ()
    ) -> None:
        self._records: dict[_Key, PluginRecord] = {_key(record): record for record in records}
        self._brought: dict[_Key, type[Component]] = {}
        self._classes: dict[_Key, type[Component]] = {}
        self._hooks: dict[_Key, object] = {}
        # Guards the dicts only: held during an import, it could meet the import lock head on.
        self._lock = threading.Lock()
        self.add(extra)

    def add(
        self,
        classes: Iterable[type[Component]],
        dist: str = IN_PROCESS,
        version: str = __version__,
    ) -> None:
        """Offer classes that come without an entry point.

        Raises:
            PluginError: something that is no component class, or has no name.
        """
        for cls in classes:
            if not is_class_of(cls, Component):
                raise PluginError(f"expected a component class, got {cls!r}", where=dist)
            kind, name = getattr(cls, "kind", None), getattr(cls, "name", None)
            if kind not in KINDS or not isinstance(name, str):
                raise PluginError(
                    f"{cls.__qualname__} has no name or is of no known kind",
                    where=dist,
                    hint="Derive it from Layer, Provider, ... and give it a `name`",
                )
            target = f"{cls.__module__}:{cls.__qualname__}"
            record = PluginRecord(kind, name, dist, version, target)
            with self._lock:
                self._records[_key(record)] = record
                self._brought[_key(record)] = cls
                self._classes.pop(_key(record), None)

    def records(self) -> tuple[PluginRecord, ...]:
        """Return every plugin as it stands now, sorted by kind, name and distribution."""
        with self._lock:
            return tuple(self._records[key] for key in sorted(self._records))

    def find(self, kind: str, use: str) -> PluginRecord:
        """Return the plugin that config means.

        Args:
            kind: layer, provider, ...
            use: its name, or ``distribution:name``.

        Raises:
            UnknownPluginError: none of that kind and name is installed.
            PluginConflictError: several distributions offer one.
        """
        dist, _, name = use.rpartition(":")
        known = [record for record in self.records() if record.kind == kind]
        found = [
            record
            for record in known
            if record.name == name and (not dist or record.dist == canonicalize_name(dist))
        ]
        if not found:
            raise _unknown(kind, use, known)
        if len(found) > 1 and (own := [r for r in found if r.dist == BUILT_IN]):
            # Who only installs something must not find every config broken, or a built-in replaced.
            self._note_hidden(kind, name, found)
            return own[0]
        if len(found) > 1:
            raise self._conflict(kind, name, found)
        return found[0]

    def note_use(self, record: PluginRecord, key: str) -> None:
        """Record that a key in config uses a plugin that loaded."""
        with self._lock:
            noted = self._records[_key(record)]
            used_as = (*noted.used_as, key)
            self._records[_key(record)] = replace(noted, used_as=used_as, status=Status.ACTIVE)

    def note_waiting(self, kind: str, use: str, key: str, why: str) -> None:
        """Record that a key in config would use a plugin that loaded, and what it waits for."""
        record = self.find(kind, use)
        used_as = tuple(other for other in record.used_as if other != key)
        status = Status.ACTIVE if used_as else Status.WAITING
        with self._lock:
            self._records[_key(record)] = replace(
                record, used_as=used_as, status=status, error=None if used_as else why
            )

    def disable(self, kind: str, use: str) -> None:
        """Record that config switches a plugin off; one that is not installed needs no record.

        One that another key of config uses stays active.
        """
        try:
            record = self.find(kind, use)
        except (UnknownPluginError, PluginConflictError):
            return
        if not record.used_as:
            self._note(record, Status.DISABLED)

    def load(self, kind: str, use: str) -> type[Component]:
        """Return a component's class, imported and checked.

        Args:
            kind: layer, provider, ...
            use: its name, or ``distribution:name``.

        Raises:
            UnknownPluginError: none of that kind and name is installed.
            PluginConflictError: several distributions offer one.
            IncompatiblePluginError: it was written for another version of Weft.
            MissingDependencyError: an optional package it needs is not installed.
            PluginError: it cannot be imported, or is no class of that kind.
        """
        record = self.find(kind, use)
        with self._lock:
            cls = self._classes.get(_key(record))
        return self._load_class(record) if cls is None else cls

    def load_hook(self, use: str) -> object:
        """Return the module or object that holds a plugin's hook implementations.

        Raises:
            PluginError: as `load`.
        """
        record = self.find(HOOK, use)
        with self._lock:
            found = self._hooks.get(_key(record))
        if found is None:
            found, import_ms = self._import(record)
            with self._lock:
                self._hooks[_key(record)] = found
            self._note(record, Status.ACTIVE, import_ms=import_ms)
        return found

    def report_failure(self, record: PluginRecord, error: PluginError) -> None:
        """Record that a plugin that loaded turned out not to work."""
        with self._lock:
            self._hooks.pop(_key(record), None)
            self._classes.pop(_key(record), None)
        self._failed(record, error)

    def _load_class(self, record: PluginRecord) -> type[Component]:
        with self._lock:
            brought = self._brought.get(_key(record))
        found, import_ms = self._import(record) if brought is None else (brought, None)
        try:
            cls = check_class(record, found)
        except PluginError as error:
            raise self._failed(record, error) from None
        with self._lock:
            self._classes[_key(record)] = cls
        self._note(record, Status.ACTIVE, import_ms=import_ms)
        return cls

    def _import(self, record: PluginRecord) -> tuple[object, float]:
        """Return what a record points to, and how many milliseconds its import took."""
        refused = refuses(record.dist, "weft", __version__)
        if refused is not None:
            error = IncompatiblePluginError(
                f"needs weft {refused}, this is {__version__}",
                where=record.title,
                hint=f"Install a version of {record.dist} made for weft {__version__}",
            )
            raise self._failed(record, error)
        point = importlib.metadata.EntryPoint(record.name, record.target, f"weft.{record.kind}s")
        start = time.perf_counter()
        found = guarded(point.load)
        if isinstance(found, Raised):
            raise self._failed(record, _import_error(record, found.error)) from found.error
        return found, (time.perf_counter() - start) * 1e3

    def _failed(self, record: PluginRecord, error: PluginError) -> PluginError:
        if isinstance(error, IncompatiblePluginError):
            status = Status.INCOMPATIBLE
        elif isinstance(error, MissingDependencyError):
            status = Status.MISSING_DEPS
        else:
            status = Status.FAILED
        self._note(record, status, error=str(error))
        return error

    def _note_hidden(self, kind: str, name: str, found: list[PluginRecord]) -> None:
        for record in found:
            if record.dist != BUILT_IN and record.status is Status.DISCOVERED:
                why = f"the built-in {kind} is used; `use: {record.dist}:{name}` chooses this one"
                self._note(record, Status.DISCOVERED, error=why)

    def _conflict(self, kind: str, name: str, found: list[PluginRecord]) -> PluginConflictError:
        offers = " and ".join(f"{record.dist} {record.version}" for record in found)
        error = PluginConflictError(
            f"offered by {offers}",
            where=f"{kind} {name}",
            hint=f"Say which one you mean: `use: {found[0].dist}:{name}`",
        )
        for record in found:
            if record.status is Status.DISCOVERED:
                self._note(record, Status.BLOCKED, error=str(error))
        return error

    def _note(
        self,
        record: PluginRecord,
        status: Status,
        error: str | None = None,
        import_ms: float | None = None,
    ) -> None:
        with self._lock:
            used_as = self._records[_key(record)].used_as
            self._records[_key(record)] = replace(
                record, status=status, error=error, import_ms=import_ms, used_as=used_as
            )


def _key(record: PluginRecord) -> _Key:
    return record.kind, record.name, record.dist


def _unknown(kind: str, use: str, known: list[PluginRecord]) -> UnknownPluginError:
    names = sorted({record.name for record in known})
    close = nearest(use.rpartition(":")[2], names)
    installed = f"Installed: {', '.join(names)}" if names else f"No {kind} is installed"
    guess = f"Did you mean {close}? " if close else ""
    return UnknownPluginError(
        f"no {kind} {use!r} is installed",
        hint=f"{guess}{installed}. If another distribution brings it, pip install that first",
    )


def _import_error(record: PluginRecord, error: BaseException) -> PluginError:
    if isinstance(error, MissingDependencyError):
        hint = error.hint or f"Look up the extra that brings it: pip install '{record.dist}[...]'"
        return MissingDependencyError(error.message, where=record.title, hint=hint)
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = extra_that_brings(record.dist, error.name)
        if extra is not None:
            return MissingDependencyError(
                f"needs {error.name.partition('.')[0]}, which is not installed",
                where=record.title,
                hint=f"pip install '{record.dist}[{extra}]'",
            )
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return PluginError(
        f"importing {record.target} failed with {said}{_place(error)}",
        where=record.title,
        hint="This is a fault in the plugin or its installation; the others are not affected",
    )


def _place(error: BaseException) -> str:
    """Return the last line of the plugin's own code that an error came through."""
    machinery = (calls.__file__, importlib.__file__, importlib.metadata.__file__)
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename not in machinery and not frame.filename.startswith("<frozen")
    ]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
