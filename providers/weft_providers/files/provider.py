"""Candles and observations from Parquet and CSV files on this machine."""

import asyncio
import codecs
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, field_validator

from weft.collect.checks.clean import CANDLE_SCHEMA, clean_candles, clean_observations
from weft.components.base import ComponentConfig, Local
from weft.components.provider import Batch, Provider, Request, Whole
from weft.domain.instruments import Instrument, Kind, describe, unsettled
from weft.foundation.clock import Clock
from weft.foundation.errors import ConfigError, DataError, NoDataError, SchemaError, nearest
from weft.foundation.times import Interval
from weft.sources.http import Http
from weft_providers.files.columns import NAMES
from weft_providers.files.forms import FormOptions, NotCandlesError
from weft_providers.files.names import SUFFIXES, NameParts, name_pattern, read_name
from weft_providers.files.tables import (
    OtherIntervalError,
    TableOptions,
    candle_table,
    fact_table,
)
from weft_providers.files.times import TimeOptions, zoned

_FILES_AT_ONCE = 16
_TOP = "*"
"""The pattern of files directly in a folder; where there are none, those in folders below count."""

_CHOOSING = (
    *("pattern", "venue", "columns", "symbol", "interval", "separator", "decimal", "encoding"),
    *("skip_rows", "time_format", "time_zone"),
)
"""Options that decide what is read from the files, and so are part of the source's name."""
_ASIDE = (OtherIntervalError, NotCandlesError)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What reading one file came to: a checked frame, or an error."""

    name: str
    frame: pl.DataFrame | None = None
    problems: Sequence[str] = ()
    error: DataError | None = None
    early: int = 0
    said: NameParts = field(default_factory=partial(NameParts, ""))

    def lines(self) -> list[str]:
        """Return what is reported of the file, without its name."""
        lines = list(self.problems)
        if isinstance(self.error, _ASIDE):
            return []
        if self.error is not None:
            hint = f". {self.error.hint}" if self.error.hint else ""
            lines.insert(0, f"not used, {self.error.message}{hint}")
        return lines


_Reader = Callable[[str, Path], _Outcome]


class Files(Provider):
    """A folder of candle files, one for each symbol or one for all, or a single such file.

    How a file is written is told from its first lines: separator, encoding, decimals, header,
    which column is which, how times are written. Where that can be read in two ways, the file is
    left out and the option named that decides. Without a symbol column the file's name says the
    symbol; without an interval column the most common step between two candles is the interval.
    Files are read whole, however far back they reach, and again whenever they change. A file that
    cannot be used, or a line of one, is reported and left out.
    """

    name = "files"

    class Config(ComponentConfig):
        """Options."""

        path: Annotated[Path | None, Local()] = Field(
            default=None, description="candle file, or folder of candle files"
        )
        pattern: str = Field(
            default=_TOP,
            description="which files of the folder, for instance **/*.csv; * means those in "
            "folders below where the folder itself holds none",
        )
        venue: str = Field(
            default="",
            description="where the instruments trade; chooses rows where files name venues",
        )
        market: Literal["auto", "spot", "perpetual", "equity"] = Field(
            default="auto", description="what the instruments are; auto goes by their names"
        )
        columns: dict[str, str] | list[str] = Field(
            default={},
            description="the files' own column names, or positions from 1, and what Weft calls "
            "them: {date: open_time}; or Weft's names for all columns in their order",
        )
        symbol: str | None = Field(
            default=None,
            description="what files are of: a name, or where it stands in theirs: "
            "{symbol}-{interval}-{year}-{month}, or a regular expression with (?P<symbol>...)",
        )
        interval: str | None = Field(
            default=None,
            description="length of candles where neither a column, spacing nor name tells: 1h",
        )
        separator: str | None = Field(
            default=None,
            min_length=1,
            max_length=1,
            description="between fields of a line; null for what each file's lines tell",
        )
        decimal: Literal[".", ","] | None = Field(
            default=None, description="sign before decimals; null for what the numbers tell"
        )
        encoding: str | None = Field(
            default=None, description="of text files, such as cp1252; null for what bytes tell"
        )
        skip_rows: int | None = Field(
            default=None, ge=0, description="lines above the header, or above the first candle"
        )
        time_format: str | None = Field(
            default=None,
            description="how times are written: excel, or a form such as %d.%m.%Y %H:%M",
        )
        time_zone: str | None = Field(
            default=None,
            description="zone of times that name none, such as America/New_York; null for UTC",
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
        def _names_columns(cls, columns: dict[str, str] | list[str]) -> dict[str, str] | list[str]:
            for name in columns.values() if isinstance(columns, dict) else []:
                if name not in NAMES:
                    close = nearest(name, NAMES)
                    hint = f"did you mean {close}?" if close else f"known: {', '.join(NAMES)}"
                    raise ValueError(f"{name} is a column Weft does not read; {hint}")
            return columns

        @field_validator("symbol")
        @classmethod
        def _is_pattern(cls, text: str | None) -> str | None:
            if text is not None:
                name_pattern(text)
            return text

        @field_validator("encoding")
        @classmethod
        def _is_encoding(cls, name: str | None) -> str | None:
            try:
                return name if name is None else codecs.lookup(name).name
            except LookupError:
                raise ValueError(f"{name!r} is no encoding known here; try cp1252") from None

        @field_validator("time_zone")
        @classmethod
        def _is_zone(cls, name: str | None) -> str | None:
            try:
                if name is not None:
                    zoned(pl.Series([0], dtype=pl.Int64), name)
            except pl.exceptions.PolarsError:
                raise ValueError(
                    f"{name!r} is no time zone; write it like Europe/Berlin or UTC"
                ) from None
            return name

        @field_validator("observation_lag", "interval")
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
        options = self.config.model_dump(include=set(_CHOOSING), exclude_defaults=True)
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
            read = [outcome for outcome in outcomes if outcome.frame is not None]
            whole = [w for one in read for w in progress.whole(one.name, one.frame)]
            instruments = self._instruments(outcomes)
            unclear = (f"{self.name}: {line}" for line in unsettled(instruments))
            yield Batch(
                candles=_joined(outcomes),
                instruments=instruments,
                problems=(*_lines(outcomes), *unclear),
                cursor=progress.cursor(),
                whole=tuple(whole),
            )
        if missing := progress.gone(files):
            whole = [w for name in missing for w in progress.whole(name, None)]
            lines = tuple(f"{name}: no longer there" for name in missing)
            nothing = pl.DataFrame(schema=CANDLE_SCHEMA)
            yield Batch(
                candles=nothing, problems=lines, cursor=progress.cursor(), whole=tuple(whole)
            )
        if self.config.observations is not None:
            facts = partial(self._facts, clock.now())
            files = _files_at(self.config.observations, "observations", "*")
            async for outcomes in _read_changed(files, "observations", facts, progress):
                lines = _lines(outcomes)
                yield Batch(
                    observations=_joined(outcomes), problems=lines, cursor=progress.cursor()
                )

    def _candles(self, request: Request, now: int, name: str, file: Path) -> _Outcome:
        source = f"{self.name}: {name}"
        problems: tuple[str, ...] = ()
        try:
            said = self._said(name, source)
            written = file.stat().st_mtime_ns // 1_000
            table = candle_table(
                file,
                source,
                interval=request.interval,
                symbols=request.symbols,
                name=said,
                options=self._options,
            )
            checked = clean_candles(table.frame, request.interval, now, source, written=written)
            problems = (*table.notes, *checked.problems)
            if len(table.frame) and checked.frame.is_empty():
                raise NoDataError(
                    f"none of its {len(table.frame)} candles can be used: {problems[-1]}",
                    where=source,
                )
        except DataError as error:
            return _Outcome(name, problems=problems, error=error)
        return _Outcome(name, checked.frame, problems, early=checked.early, said=said)

    def _said(self, name: str, source: str) -> NameParts:
        """Return what a file's path says.

        Raises:
            SchemaError: it does not fit the pattern of the option `symbol`.
        """
        pattern = self.config.symbol
        root = _resolved(self.config.path) if self.config.path else Path()
        path = f"{root.name}/{name}" if root.is_dir() and pattern is None else name
        said = read_name(path, name_pattern(pattern) if pattern else None)
        if said is None:
            raise SchemaError(
                f"its name does not fit symbol: {pattern}",
                where=source,
                hint="Choose files with pattern, or correct providers.files.symbol",
            )
        return said

    @property
    def _options(self) -> TableOptions:
        own = self.config
        form = FormOptions(own.columns, own.separator, own.decimal, own.encoding, own.skip_rows)
        return TableOptions(
            form,
            TimeOptions(own.time_format, own.time_zone),
            Interval.parse(own.interval) if own.interval else None,
            own.venue,
        )

    def _facts(self, now: int, name: str, file: Path) -> _Outcome:
        source, lag = f"{self.name}: {name}", self.config.observation_lag
        try:
            frame = fact_table(file, source)
            checked = clean_observations(frame, now, source, Interval.parse(lag) if lag else None)
        except DataError as error:
            return _Outcome(name, error=error)
        return _Outcome(name, checked.frame, checked.problems, early=checked.early)

    def _instruments(self, outcomes: Sequence[_Outcome]) -> tuple[Instrument, ...]:
        """Describe what was read: by the options, then by the files' names."""
        stated = None if self.config.market == "auto" else Kind(self.config.market)
        found: dict[str, Instrument] = {}
        for outcome in outcomes:
            if outcome.frame is None:
                continue
            for symbol in outcome.frame["symbol"].unique():
                said = outcome.said if outcome.said.symbol == symbol else NameParts(symbol)
                kind = stated or (Kind(said.kind) if said.kind else None)
                found[symbol] = describe(symbol, venue=self.config.venue or said.venue, kind=kind)
        return tuple(found[symbol] for symbol in sorted(found))


class _Progress:
    """Which files were given, in which state, and from where to where; the cursor is this in JSON.

    Args:
        request: with the cursor of the round before.
    """

    def __init__(self, request: Request) -> None:
        # What was given for other candles or fewer symbols does not answer this request.
        self._asked = {"interval": request.interval.name, "symbols": sorted(request.symbols)}
        self._given: dict[str, list[int]] = {}
        self._spans: dict[str, dict[str, list[int]]] = {}
        try:
            written = json.loads(request.cursor or "{}")
        except ValueError:
            return
        if isinstance(written, dict) and written.get("asked") == self._asked:
            self._given = dict(written.get("files", {}))
            self._spans = dict(written.get("spans", {}))

    def has(self, name: str, state: list[int]) -> bool:
        """Whether a file was given in this state."""
        return self._given.get(name) == state

    def add(self, name: str, state: list[int]) -> None:
        """Note that a file was given in a state."""
        self._given[name] = state

    def gone(self, files: Collection[str]) -> list[str]:
        """Return the files given earlier that are not there any more, and forget them."""
        missing = [name for name in self._spans if name not in files]
        for name in missing:
            self._given.pop(name, None)
        return missing

    def whole(self, name: str, frame: pl.DataFrame | None) -> list[Whole]:
        """Note from where to where a file reaches; return the stretches that it alone holds.

        Those are the stretches that it held when it was given before, and holds now: a candle
        stored in one is in this file, or in none.
        """
        before, now = self._spans.pop(name, {}), _spans(frame)
        if now:
            self._spans[name] = now
        found = []
        for symbol, (first, last) in before.items():
            own = now.get(symbol, [first, last])
            stretch = Whole(symbol, min(first, own[0]), max(last, own[1]))
            others = [spans.get(symbol) for n, spans in self._spans.items() if n != name]
            if not any(_overlaps(stretch, span) for span in others):
                found.append(stretch)
        return found

    def cursor(self) -> str:
        """Return all this as text."""
        state = {"asked": self._asked, "files": self._given, "spans": self._spans}
        return json.dumps(state, sort_keys=True)


def _spans(frame: pl.DataFrame | None) -> dict[str, list[int]]:
    if frame is None:
        return {}
    time = pl.col("open_time").to_physical()
    spans = frame.group_by("symbol").agg(first=time.min(), last=time.max())
    return {symbol: [first, last] for symbol, first, last in spans.iter_rows()}


def _overlaps(stretch: Whole, span: Sequence[int] | None) -> bool:
    return span is not None and span[0] <= stretch.last and span[1] >= stretch.first


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
            if (outcome.error is None and not outcome.early) or isinstance(outcome.error, _ASIDE):
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
    found = _matching(root, pattern)
    if not found and pattern == _TOP:
        found = _matching(root, f"**/{_TOP}")
    if not found:
        raise NoDataError(
            f"no file in {str(place)!r} matches {pattern!r} and ends in {', '.join(SUFFIXES)}",
            where=where,
            hint="Put Parquet or CSV files there, or name another folder",
        )
    return found


def _matching(root: Path, pattern: str) -> dict[str, Path]:
    return {
        file.relative_to(root).as_posix(): file
        for file in sorted(root.glob(pattern))
        if file.name.lower().endswith(SUFFIXES)
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
        and file.is_file()
    }


def _state(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size]


def _lines(outcomes: Sequence[_Outcome]) -> tuple[str, ...]:
    """Return one line for each thing to report, however many files it is the same in."""
    files: dict[str, list[str]] = {}
    for outcome in outcomes:
        for line in outcome.lines():
            files.setdefault(line, []).append(outcome.name)
    return tuple(
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {line}"
        for line, names in files.items()
    )


def _joined(outcomes: Sequence[_Outcome]) -> pl.DataFrame | None:
    frames = [outcome.frame for outcome in outcomes if outcome.frame is not None]
    return pl.concat(frames) if frames else None
