"""The registry: finds and loads the plugins that config names, and records their status."""

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
from weft.plugins.checks import check_class, extra_that_brings, is_class_of, refuses
from weft.plugins.records import BUILT_IN, HOOK, IN_PROCESS, KINDS, PluginRecord, Status

_Key: TypeAlias = tuple[str, str, str]


class Registry:
    """The installed plugins, and the loaded classes.

    Only `load` and `load_hook` import, so that an unused plugin cannot do harm. A loaded class is
    cached; a plugin that failed is tried again by the next `load`.

    Args:
        records: the installed plugins, from `weft.plugins.discovery.discover`.
        extra: component classes without an entry point.
    """

    def __init__(
        self, records: Iterable[PluginRecord], extra: Iterable[type[Component]] = ()
    ) -> None:
        self._records: dict[_Key, PluginRecord] = {_key(record): record for record in records}
        self._brought: dict[_Key, type[Component]] = {}
        self._classes: dict[_Key, type[Component]] = {}
        self._hooks: dict[_Key, object] = {}
        # Guards the dicts only: during an import it could deadlock with the import lock.
        self._lock = threading.Lock()
        self.add(extra)

    def add(
        self,
        classes: Iterable[type[Component]],
        dist: str = IN_PROCESS,
        version: str = __version__,
    ) -> None:
        """Register component classes without an entry point.

        Raises:
            PluginError: an object that is no component class, or has no name.
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
        """Return the records of all plugins, sorted by kind, name and distribution."""
        with self._lock:
            return tuple(self._records[key] for key in sorted(self._records))

    def find(self, kind: str, use: str) -> PluginRecord:
        """Return the record of a plugin in config.

        Args:
            kind: layer, provider, ...
            use: its name, or ``distribution:name``.

        Raises:
            UnknownPluginError: none of that kind and name is installed.
            PluginConflictError: several distributions offer one.
        """
        dist, _, name = use.rpartition(":")
        known = [record for record in self.records() if record.kind == kind]
        matches = [
            record
            for record in known
            if record.name == name and (not dist or record.dist == canonicalize_name(dist))
        ]
        if not matches:
            raise _unknown(kind, use, known)
        if len(matches) > 1 and (built_in := [r for r in matches if r.dist == BUILT_IN]):
            # Installing a distribution must neither break a config nor replace a built-in.
            self._note_hidden(kind, name, matches)
            return built_in[0]
        if len(matches) > 1:
            raise self._conflict(kind, name, matches)
        return matches[0]

    def note_use(self, record: PluginRecord, key: str) -> None:
        """Record that a key in config uses a loaded plugin."""
        with self._lock:
            noted = self._records[_key(record)]
            used_as = (*noted.used_as, key)
            self._records[_key(record)] = replace(noted, used_as=used_as, status=Status.ACTIVE)

    def note_waiting(self, kind: str, use: str, key: str, why: str) -> None:
        """Record that a loaded plugin waits for its key or path."""
        record = self.find(kind, use)
        used_as = tuple(other for other in record.used_as if other != key)
        status = Status.ACTIVE if used_as else Status.WAITING
        with self._lock:
            self._records[_key(record)] = replace(
                record, used_as=used_as, status=status, error=None if used_as else why
            )

    def disable(self, kind: str, use: str) -> None:
        """Record that config switches a plugin off.

        A plugin that another key in config uses stays active; one that is not installed is ignored.
        """
        try:
            record = self.find(kind, use)
        except (UnknownPluginError, PluginConflictError):
            return
        if not record.used_as:
            self._note(record, Status.DISABLED)

    def load(self, kind: str, use: str) -> type[Component]:
        """Return the imported and checked class of a component.

        Args:
            kind: layer, provider, ...
            use: its name, or ``distribution:name``.

        Raises:
            UnknownPluginError: none of that kind and name is installed.
            PluginConflictError: several distributions offer one.
            IncompatiblePluginError: it was written for another version of Weft.
            MissingDependencyError: an optional package it needs is not installed.
            PluginError: it cannot be imported, or is not a class of that kind.
        """
        record = self.find(kind, use)
        with self._lock:
            cls = self._classes.get(_key(record))
        return self._load_class(record) if cls is None else cls

    def load_hook(self, use: str) -> object:
        """Return the module or object with a plugin's hook implementations.

        Raises:
            PluginError: as `load`.
        """
        record = self.find(HOOK, use)
        with self._lock:
            target = self._hooks.get(_key(record))
        if target is None:
            target, import_ms = self._import(record)
            with self._lock:
                self._hooks[_key(record)] = target
            self._note(record, Status.ACTIVE, import_ms=import_ms)
        return target

    def report_failure(self, record: PluginRecord, error: PluginError) -> None:
        """Record that a loaded plugin does not work, and unload it."""
        with self._lock:
            self._hooks.pop(_key(record), None)
            self._classes.pop(_key(record), None)
        self._failed(record, error)

    def _load_class(self, record: PluginRecord) -> type[Component]:
        with self._lock:
            brought = self._brought.get(_key(record))
        target, import_ms = self._import(record) if brought is None else (brought, None)
        try:
            cls = check_class(record, target)
        except PluginError as error:
            raise self._failed(record, error) from None
        with self._lock:
            self._classes[_key(record)] = cls
        self._note(record, Status.ACTIVE, import_ms=import_ms)
        return cls

    def _import(self, record: PluginRecord) -> tuple[object, float]:
        """Return the target of a record, and the milliseconds of its import."""
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
        target = guarded(point.load)
        if isinstance(target, Raised):
            raise self._failed(record, _import_error(record, target.error)) from target.error
        return target, (time.perf_counter() - start) * 1e3

    def _failed(self, record: PluginRecord, error: PluginError) -> PluginError:
        if isinstance(error, IncompatiblePluginError):
            status = Status.INCOMPATIBLE
        elif isinstance(error, MissingDependencyError):
            status = Status.MISSING_DEPS
        else:
            status = Status.FAILED
        self._note(record, status, error=str(error))
        return error

    def _note_hidden(self, kind: str, name: str, matches: list[PluginRecord]) -> None:
        for record in matches:
            if record.dist != BUILT_IN and record.status is Status.DISCOVERED:
                why = f"the built-in {kind} is used; `use: {record.dist}:{name}` chooses this one"
                self._note(record, Status.DISCOVERED, error=why)

    def _conflict(self, kind: str, name: str, matches: list[PluginRecord]) -> PluginConflictError:
        offers = " and ".join(f"{record.dist} {record.version}" for record in matches)
        error = PluginConflictError(
            f"offered by {offers}",
            where=f"{kind} {name}",
            hint=f"Say which one you mean: `use: {matches[0].dist}:{name}`",
        )
        for record in matches:
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
    problem = " ".join(f"{type(error).__name__}: {error}".split())
    return PluginError(
        f"importing {record.target} failed with {problem}{_place(error)}",
        where=record.title,
        hint="This is a fault in the plugin or its installation; the others are not affected",
    )


def _place(error: BaseException) -> str:
    """Return the last line of plugin code in an error's traceback."""
    machinery = (calls.__file__, importlib.__file__, importlib.metadata.__file__)
    frames = [
        frame
        for frame in extract_tb(error.__traceback__)
        if frame.filename not in machinery and not frame.filename.startswith("<frozen")
    ]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
