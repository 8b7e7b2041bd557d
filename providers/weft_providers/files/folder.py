"""The candle files in a folder: which there are, and which were read before in their state."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from weft.components.provider import CompleteSpan, Request
from weft.foundation.errors import ConfigError, NoDataError
from weft_providers.files.names import SUFFIXES

TOP: Final = "*"
"""Pattern of the files directly in a folder; without any, files in folders below count."""


def resolved(place: Path) -> Path:
    """Return an absolute path, without ``~`` and symbolic links."""
    return place.expanduser().resolve()


def find_files(place: Path | None, key: str, pattern: str) -> dict[str, Path]:
    """Return the files at a configured place, by their path within it.

    Args:
        place: file or folder; None where config names none.
        key: option that names the place, for messages.
        pattern: glob of the files in a folder.

    Raises:
        ConfigError: nothing is there.
        NoDataError: the folder holds no file of a known kind.
    """
    where = f"providers.files.{key}"
    if place is None:
        raise ConfigError("no path is set", where=where, hint="Name a candle file or a folder")
    root = resolved(place)
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise ConfigError(
            f"expected a file or a folder, found nothing at {str(place)!r}",
            where=where,
            hint="Correct the path; it is taken relative to the working directory",
        )
    files = _matching(root, pattern)
    if not files and pattern == TOP:
        files = _matching(root, f"**/{TOP}")
    if not files:
        raise NoDataError(
            f"no file in {str(place)!r} matches {pattern!r} and ends in {', '.join(SUFFIXES)}",
            where=where,
            hint="Put Parquet or CSV files there, or name another folder",
        )
    return files


def _matching(root: Path, pattern: str) -> dict[str, Path]:
    return {
        file.relative_to(root).as_posix(): file
        for file in sorted(root.glob(pattern))
        if file.name.lower().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and file.is_file()
    }


def file_state(file: Path) -> list[int]:
    """Return what changes whenever a file is written: its time in nanoseconds, and its size."""
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size]


class ReadFiles:
    """Files read before, each with its state and the spans of its candles; JSON as a cursor.

    Args:
        request: with the cursor of the round before.
    """

    def __init__(self, request: Request) -> None:
        # A cursor for another interval or fewer symbols does not answer this request.
        self._request = {"interval": request.interval.name, "symbols": sorted(request.symbols)}
        self._states: dict[str, list[int]] = {}
        self._spans: dict[str, dict[str, list[int]]] = {}
        try:
            cursor = json.loads(request.cursor or "{}")
        except ValueError:
            return
        if isinstance(cursor, dict) and cursor.get("asked") == self._request:
            self._states = dict(cursor.get("files", {}))
            self._spans = dict(cursor.get("spans", {}))

    def has(self, name: str, state: list[int]) -> bool:
        """Whether a file was read in this state."""
        return self._states.get(name) == state

    def add(self, name: str, state: list[int]) -> None:
        """Note that a file was read in a state."""
        self._states[name] = state

    def forget_missing(self, files: Collection[str]) -> list[str]:
        """Return the files read before that are no longer there, and forget their states."""
        missing = [name for name in self._spans if name not in files]
        for name in missing:
            self._states.pop(name, None)
        return missing

    def whole_spans(self, name: str, frame: pl.DataFrame | None) -> list[CompleteSpan]:
        """Replace the spans of a file; return the spans that only this file covers.

        A returned span covers the file before and now, so that a stored candle of the span that
        is not in the file is no longer in the source.
        """
        before, now = self._spans.pop(name, {}), _spans(frame)
        if now:
            self._spans[name] = now
        spans = []
        for symbol, (first, last) in before.items():
            start, end = now.get(symbol, [first, last])
            span = CompleteSpan(symbol, min(first, start), max(last, end))
            others = [
                others_spans.get(symbol) for n, others_spans in self._spans.items() if n != name
            ]
            if not any(_overlaps(span, other) for other in others):
                spans.append(span)
        return spans

    def cursor(self) -> str:
        """Return all states and spans as text."""
        state = {"asked": self._request, "files": self._states, "spans": self._spans}
        return json.dumps(state, sort_keys=True)


def _spans(frame: pl.DataFrame | None) -> dict[str, list[int]]:
    if frame is None:
        return {}
    time = pl.col("open_time").to_physical()
    spans = frame.group_by("symbol").agg(first=time.min(), last=time.max())
    return {symbol: [first, last] for symbol, first, last in spans.iter_rows()}


def _overlaps(span: CompleteSpan, other: Sequence[int] | None) -> bool:
    return other is not None and other[0] <= span.last and other[1] >= span.first
