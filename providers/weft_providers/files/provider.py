"""Candles and observations from Parquet and CSV files on this machine."""

import asyncio
import codecs
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, field_validator

from weft.collect.checks.clean import CANDLE_SCHEMA, clean_candles, clean_observations
from weft.components.base import ComponentConfig, Local
from weft.components.provider import Batch, Provider, Request
from weft.domain.instruments import Instrument, Kind, describe, unsettled
from weft.foundation.clock import Clock
from weft.foundation.errors import DataError, NoDataError, SchemaError, nearest
from weft.foundation.times import Interval
from weft.sources.http import Http
from weft_providers.files.columns import NAMES
from weft_providers.files.folder import TOP, ReadFiles, file_state, find_files, resolved
from weft_providers.files.forms import FormOptions, NotCandlesError
from weft_providers.files.names import NameParts, name_pattern, parse_name
from weft_providers.files.tables import (
    OtherIntervalError,
    TableOptions,
    candle_table,
    fact_table,
)
from weft_providers.files.times import TimeOptions, zoned

_FILES_AT_ONCE = 16
_CHOOSING = (
    *("pattern", "venue", "columns", "symbol", "interval", "separator", "decimal", "encoding"),
    *("skip_rows", "time_format", "time_zone"),
)
"""Options that change what is read from the files, and so are part of the source's name."""
_ASIDE = (OtherIntervalError, NotCandlesError)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The result of reading one file: a checked frame, or an error."""

    name: str
    frame: pl.DataFrame | None = None
    problems: Sequence[str] = ()
    error: DataError | None = None
    early: int = 0
    parts: NameParts = field(default_factory=partial(NameParts, ""))

    def lines(self) -> list[str]:
        """Return the lines to report about the file, without its name."""
        lines = list(self.problems)
        if isinstance(self.error, _ASIDE):
            return []
        if self.error is not None:
            hint = f". {self.error.hint}" if self.error.hint else ""
            lines.insert(0, f"not used, {self.error.message}{hint}")
        return lines


_Reader = Callable[[str, Path], _Outcome]


class Files(Provider):
    """Candle files in a folder, one for each symbol or one for all; or a single file.

    The first lines of a file show how it is written: separator, encoding, decimals, header, the
    order of columns, the form of times. A file that can be read in two ways is left out, and the
    message names the option that decides. Without a symbol column the file name gives the symbol;
    without an interval column the most common step between two candles is the interval. Files are
    read in full, however far back they reach, and again whenever they change. A file or a line
    that cannot be used is reported and left out.
    """

    name = "files"
    full_history = True

    class Config(ComponentConfig):
        """Options."""

        path: Annotated[Path | None, Local()] = Field(
            default=None, description="candle file, or folder of candle files"
        )
        pattern: str = Field(
            default=TOP,
            description="files of a folder, such as **/*.csv; * also looks in subfolders",
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
            description="Weft's names of columns: {date: open_time, 2: open}, or a list of all",
        )
        symbol: str | None = Field(
            default=None,
            description="symbol, or its place in file names: {symbol}-{interval} or a regex",
        )
        interval: str | None = Field(
            default=None,
            description="length of candles, where column, spacing and file name do not give it: 1h",
        )
        separator: str | None = Field(
            default=None,
            min_length=1,
            max_length=1,
            description="between fields of a line; null to find it in each file",
        )
        decimal: Literal[".", ","] | None = Field(
            default=None, description="sign before decimals; null to find it in each file"
        )
        encoding: str | None = Field(
            default=None, description="of text files, such as cp1252; null to find it in each file"
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
            description="how long after its event a fact is known, without a column known_at: 1d",
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
        place = str(resolved(self.config.path)) if self.config.path else ""
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
            DataError: no file can be used; the message gives the reason of the first file.
        """
        read_before = ReadFiles(request)
        candles = partial(self._candles, request, clock.now())
        files = find_files(self.config.path, "path", self.config.pattern)
        async for outcomes in _read_changed(files, "candles", candles, read_before):
            used = [outcome for outcome in outcomes if outcome.frame is not None]
            whole = [w for o in used for w in read_before.whole_spans(o.name, o.frame)]
            instruments = self._instruments(outcomes)
            unclear = (f"{self.name}: {line}" for line in unsettled(instruments))
            yield Batch(
                candles=_joined(outcomes),
                instruments=instruments,
                problems=(*_lines(outcomes), *unclear),
                cursor=read_before.cursor(),
                complete_spans=tuple(whole),
            )
        if missing := read_before.forget_missing(files):
            whole = [w for name in missing for w in read_before.whole_spans(name, None)]
            yield Batch(
                candles=pl.DataFrame(schema=CANDLE_SCHEMA),
                problems=tuple(f"{name}: no longer there" for name in missing),
                cursor=read_before.cursor(),
                complete_spans=tuple(whole),
            )
        if self.config.observations is not None:
            facts = partial(self._facts, clock.now())
            files = find_files(self.config.observations, "observations", "*")
            async for outcomes in _read_changed(files, "observations", facts, read_before):
                yield Batch(
                    observations=_joined(outcomes),
                    problems=_lines(outcomes),
                    cursor=read_before.cursor(),
                )

    def _candles(self, request: Request, now: int, name: str, file: Path) -> _Outcome:
        source = f"{self.name}: {name}"
        problems: tuple[str, ...] = ()
        try:
            parts = self.name_parts(name)
            written = file.stat().st_mtime_ns // 1_000
            table = candle_table(
                file,
                source,
                interval=request.interval,
                symbols=request.symbols,
                name=parts,
                options=self.table_options,
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
        return _Outcome(name, checked.frame, problems, early=checked.early, parts=parts)

    def name_parts(self, name: str) -> NameParts:
        """Return the symbol, interval, venue and kind that the path of a file gives.

        Raises:
            SchemaError: the path does not fit the option `symbol`.
        """
        pattern = self.config.symbol
        root = resolved(self.config.path) if self.config.path else Path()
        path = f"{root.name}/{name}" if root.is_dir() and pattern is None else name
        parts = parse_name(path, name_pattern(pattern) if pattern else None)
        if parts is None:
            raise SchemaError(
                f"its name does not fit symbol: {pattern}",
                where=f"{self.name}: {name}",
                hint="Choose files with pattern, or correct providers.files.symbol",
            )
        return parts

    @property
    def table_options(self) -> TableOptions:
        """What the config states about how the files are written."""
        config = self.config
        return TableOptions(
            FormOptions(
                config.columns, config.separator, config.decimal, config.encoding, config.skip_rows
            ),
            TimeOptions(config.time_format, config.time_zone),
            Interval.parse(config.interval) if config.interval else None,
            config.venue,
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
        instruments: dict[str, Instrument] = {}
        for outcome in outcomes:
            if outcome.frame is not None:
                for symbol in outcome.frame["symbol"].unique():
                    instruments[symbol] = self.instrument(symbol, outcome.parts)
        return tuple(instruments[symbol] for symbol in sorted(instruments))

    def instrument(self, symbol: str, parts: NameParts) -> Instrument:
        """Describe a symbol by the options, else by its file name, else by the symbol itself."""
        parts = parts if parts.symbol == symbol else NameParts(symbol)
        market = parts.kind if self.config.market == "auto" else self.config.market
        kind = Kind(market) if market else None
        return describe(symbol, venue=self.config.venue or parts.venue, kind=kind)


async def _read_changed(
    files: Mapping[str, Path], what: str, read: _Reader, read_before: ReadFiles
) -> AsyncIterator[list[_Outcome]]:
    """Read the files that changed since they were read, several at once.

    Raises:
        DataError: no file at all can be used.
    """
    states = {name: file_state(file) for name, file in files.items()}
    due = [name for name in files if not read_before.has(f"{what}/{name}", states[name])]
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
                read_before.add(f"{what}/{outcome.name}", states[outcome.name])
        if any(outcome.frame is not None or outcome.lines() for outcome in outcomes):
            yield outcomes
    if errors and len(errors) == len(files):
        raise _verdict(errors)


def _verdict(errors: Sequence[DataError]) -> DataError:
    """Return the error that best explains why no file can be used."""
    specific = [e for e in errors if not isinstance(e, _ASIDE)]
    specific = specific or [e for e in errors if isinstance(e, OtherIntervalError)] or list(errors)
    first = specific[0]
    if len(errors) == 1:
        return first
    message = f"{first.message}; none of the {len(errors)} files can be used"
    return type(first)(message, where=first.where, hint=first.hint)


def _lines(outcomes: Sequence[_Outcome]) -> tuple[str, ...]:
    """Return the lines to report, each once, with the number of files that share it."""
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
