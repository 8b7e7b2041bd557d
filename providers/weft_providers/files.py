"""Candles and observations from Parquet and CSV files on this machine."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, field_validator

from weft.clock import Clock
from weft.components.base import ComponentConfig, Local
from weft.components.provider import Batch, Provider, Request
from weft.errors import ConfigError, DataError, NoDataError, nearest
from weft.http import Http
from weft.market.checks import clean_candles, clean_observations
from weft.market.instruments import Instrument, Kind, describe, unsettled
from weft.times import Interval
from weft_providers._file_tables import (
    COLUMNS,
    SUFFIXES,
    NotCandlesError,
    OtherIntervalError,
    candle_table,
    fact_table,
)

_FILES_AT_ONCE = 16
_ASIDE = (OtherIntervalError, NotCandlesError)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What reading one file came to: a checked frame, or an error."""

    name: str
    frame: pl.DataFrame | None = None
    problems: Sequence[str] = ()
    error: DataError | None = None
    early: int = 0

    def lines(self) -> list[str]:
        lines = [f"{self.name}: {line}" for line in self.problems]
        if self.error is not None and not isinstance(self.error, _ASIDE):
            hint = f". {self.error.hint}" if self.error.hint else ""
            lines.insert(0, f"{self.name}: not used, {self.error.message}{hint}")
        return lines


_Reader = Callable[[str, Path], _Outcome]


class Files(Provider):
    """A folder of candle files, one for each symbol or one for all, or a single such file.

    Columns are those of `weft.components.provider.Batch`. Without a symbol column the file's name
    is the symbol; without an interval column the most common step between two candles is the
    interval. Files are read whole, however far back they reach, and again whenever they change.
    A file that cannot be used is reported and left out.
    """

    name = "files"

    class Config(ComponentConfig):
        """Options."""

        path: Annotated[Path | None, Local()] = Field(
            default=None, description="candle file, or folder of candle files"
        )
        pattern: str = Field(
            default="*", description="which files of the folder, for instance **/*.csv"
        )
        venue: str = Field(
            default="",
            description="where the instruments trade; chooses rows where files name venues",
        )
        market: Literal["auto", "spot", "perpetual", "equity"] = Field(
            default="auto", description="what the instruments are; auto goes by their names"
        )
        columns: dict[str, str] = Field(
            default={},
            description="the files' own column names and what Weft calls them: {date: open_time}",
        )
        observations: Annotated[Path | None, Local()] = Field(
            default=None, description="file or folder of observations in long form"
        )
        observation_lag: str | None = Field(
            default=None,
            description="how long after its event a fact is known where no known_at says: 1d",
        )

        @field_validator("columns")
        @classmethod
        def _are_known(cls, columns: dict[str, str]) -> dict[str, str]:
            for own, known in columns.items():
                if known not in COLUMNS:
                    close = nearest(known, COLUMNS)
                    hint = f"did you mean {close}?" if close else f"known: {', '.join(COLUMNS)}"
                    raise ValueError(
                        f"{own} is renamed to {known}, a column Weft does not read; {hint}"
                    )
            return columns

        @field_validator("observation_lag")
        @classmethod
        def _is_interval(cls, text: str | None) -> str | None:
            return text if text is None else Interval.parse(text).name

    config: Config

    def ready(self) -> bool:
        """Whether a path is set."""
        return self.config.path is not None

    @property
    def source(self) -> str:
        """Differs by folder, and by the options that choose rows and columns in it."""
        place = str(_resolved(self.config.path)) if self.config.path else ""
        options = self.config.model_dump(
            include={"pattern", "venue", "columns"}, exclude_defaults=True
        )
        text = place + (json.dumps(options, sort_keys=True) if options else "")
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    async def fetch(
        self,
        request: Request,
        http: Http,
        clock: Clock,
    ) -> AsyncIterator[Batch]:
        """Yield what the files hold that changed since the cursor, a few files at a time.

        Raises:
            ConfigError: a path is not set, or nothing is there.
            DataError: no file can be used, for the first one's reason.
        """
        progress = _Progress(request)
        candles = partial(self._candles, request, clock.now())
        files = _files_at(self.config.path, "path", self.config.pattern)
        async for outcomes in _read_changed(files, "candles", candles, progress):
            frame = _joined(outcomes)
            instruments = self._instruments(frame)
            lines = [line for outcome in outcomes for line in outcome.lines()]
            lines += [f"{self.name}: {line}" for line in unsettled(instruments)]
            yield Batch(
                candles=frame,
                instruments=instruments,
                problems=tuple(lines),
                cursor=progress.cursor(),
            )
        if self.config.observations is not None:
            facts = partial(self._facts, clock.now())
            files = _files_at(self.config.observations, "observations", "*")
            async for outcomes in _read_changed(files, "observations", facts, progress):
                lines = tuple(line for outcome in outcomes for line in outcome.lines())
                yield Batch(
                    observations=_joined(outcomes), problems=lines, cursor=progress.cursor()
                )

    def _candles(self, request: Request, now: int, name: str, file: Path) -> _Outcome:
        source = f"{self.name}: {name}"
        problems: tuple[str, ...] = ()
        try:
            frame = candle_table(
                file,
                source,
                interval=request.interval,
                symbols=request.symbols,
                venue=self.config.venue,
                renames=self.config.columns,
            )
            checked = clean_candles(frame, request.interval, now, source)
            problems = checked.problems
            if len(frame) and checked.frame.is_empty():
                raise NoDataError(
                    f"none of its {len(frame)} candles can be used: {problems[-1]}", where=source
                )
        except DataError as error:
            return _Outcome(name, problems=problems, error=error)
        return _Outcome(name, checked.frame, problems, early=checked.early)

    def _facts(self, now: int, name: str, file: Path) -> _Outcome:
        source, lag = f"{self.name}: {name}", self.config.observation_lag
        try:
            frame = fact_table(file, source)
            checked = clean_observations(frame, now, source, Interval.parse(lag) if lag else None)
        except DataError as error:
            return _Outcome(name, error=error)
        return _Outcome(name, checked.frame, checked.problems, early=checked.early)

    def _instruments(self, frame: pl.DataFrame | None) -> tuple[Instrument, ...]:
        kind = None if self.config.market == "auto" else Kind(self.config.market)
        symbols = [] if frame is None else frame["symbol"].unique().sort().to_list()
        return tuple(describe(symbol, venue=self.config.venue, kind=kind) for symbol in symbols)


class _Progress:
    """Which files were given, in which state; the cursor is this in writing."""

    def __init__(self, request: Request) -> None:
        # What was given for other candles or fewer symbols does not answer this request.
        self._asked = {"interval": request.interval.name, "symbols": sorted(request.symbols)}
        self._given: dict[str, list[int]] = {}
        try:
            written = json.loads(request.cursor or "{}")
        except ValueError:
            return
        if isinstance(written, dict) and written.get("asked") == self._asked:
            self._given = dict(written.get("files", {}))

    def has(self, name: str, state: list[int]) -> bool:
        return self._given.get(name) == state

    def add(self, name: str, state: list[int]) -> None:
        self._given[name] = state

    def cursor(self) -> str:
        return json.dumps({"asked": self._asked, "files": self._given}, sort_keys=True)


async def _read_changed(
    files: Mapping[str, Path], what: str, read: _Reader, progress: _Progress
) -> AsyncIterator[list[_Outcome]]:
    """Read files not given yet in their present state, several at once.

    Raises:
        DataError: not one of all files can be used.
    """
    states = {name: _state(file) for name, file in files.items()}
    due = [name for name in files if not progress.has(f"{what}/{name}", states[name])]
    errors: list[DataError] = []
    for start in range(0, len(due), _FILES_AT_ONCE):
        names = due[start : start + _FILES_AT_ONCE]
        outcomes = await asyncio.gather(
            *(asyncio.to_thread(read, name, files[name]) for name in names)
        )
        for outcome in outcomes:
            if outcome.error is not None:
                errors.append(outcome.error)
            elif not outcome.early:
                progress.add(f"{what}/{outcome.name}", states[outcome.name])
        if any(outcome.frame is not None or outcome.lines() for outcome in outcomes):
            yield outcomes
    if errors and len(errors) == len(files):
        raise _verdict(errors)


def _verdict(errors: Sequence[DataError]) -> DataError:
    """Return the error that best says why not one file can be used."""
    telling = [e for e in errors if not isinstance(e, _ASIDE)]
    telling = telling or [e for e in errors if isinstance(e, OtherIntervalError)] or list(errors)
    first = telling[0]
    if len(errors) == 1:
        return first
    message = f"{first.message}; none of the {len(errors)} files can be used"
    return type(first)(message, where=first.where, hint=first.hint)


def _resolved(place: Path) -> Path:
    return place.expanduser().resolve()


def _files_at(place: Path | None, key: str, pattern: str) -> dict[str, Path]:
    """Return the files at a configured place, by their name within it.

    Raises:
        ConfigError: nothing is there.
        NoDataError: it is a folder without a file of a known kind.
    """
    where = f"providers.files.{key}"
    if place is None:
        raise ConfigError("no path is set", where=where, hint="Name a candle file or a folder")
    root = _resolved(place)
    if root.is_file():
        return {root.name: root}
    if not root.is_dir():
        raise ConfigError(
            f"expected a file or a folder, found nothing at {str(place)!r}",
            where=where,
            hint="Correct the path; it is taken relative to the working directory",
        )
    found = {
        file.relative_to(root).as_posix(): file
        for file in sorted(root.glob(pattern))
        if file.name.endswith(SUFFIXES) and not file.name.startswith(".") and file.is_file()
    }
    if not found:
        raise NoDataError(
            f"no file in {str(place)!r} matches {pattern!r} and ends in {', '.join(SUFFIXES)}",
            where=where,
            hint="Put Parquet or CSV files there, or name another folder",
        )
    return found


def _state(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size]


def _joined(outcomes: Sequence[_Outcome]) -> pl.DataFrame | None:
    frames = [outcome.frame for outcome in outcomes if outcome.frame is not None]
    return pl.concat(frames) if frames else None
