"""Candles and observations from Parquet and CSV files on this machine."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import httpx
import polars as pl
from pydantic import Field, field_validator

from weft.clock import Clock
from weft.components.base import ComponentConfig, Local
from weft.components.provider import Batch, Provider, Request
from weft.errors import ConfigError, DataError, NoDataError, SchemaError, nearest
from weft.market.checks import clean_candles, clean_observations
from weft.market.columns import read_times
from weft.market.instruments import Instrument, Kind, describe
from weft.times import Interval, TimeError

_SUFFIXES = (".parquet", ".pq", ".csv.gz", ".csv")
_FILES_AT_ONCE = 16
_PRICES = ("open", "high", "low", "close")
_CANDLES_NEED = ("open_time", *_PRICES, "volume")
_CANDLES_MAY_HAVE = ("symbol", "interval", "known_at", "venue")
_FACTS_NEED = ("metric", "scope", "entity", "event_time", "value")
_RENAME = "Tell its name with the key columns, as in {date: open_time}"


class _OtherIntervalError(NoDataError):
    """A file holds other candles than those asked for: told only if no file holds those."""


class _NotCandlesError(SchemaError):
    """A file is no candle file: told only if no file is."""


_ASIDE = (_OtherIntervalError, _NotCandlesError)


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
        http: httpx.AsyncClient,
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
            lines = tuple(line for outcome in outcomes for line in outcome.lines())
            yield Batch(frame, None, self._instruments(frame), lines, progress.cursor())
        if self.config.observations is not None:
            facts = partial(self._facts, clock.now())
            files = _files_at(self.config.observations, "observations", "*")
            async for outcomes in _read_changed(files, "observations", facts, progress):
                lines = tuple(line for outcome in outcomes for line in outcome.lines())
                yield Batch(None, _joined(outcomes), (), lines, progress.cursor())

    def _candles(self, request: Request, now: int, name: str, file: Path) -> _Outcome:
        source = f"{self.name}: {name}"
        problems: tuple[str, ...] = ()
        try:
            columns = _columns_of(file, source, self.config.columns)
            if not set(_PRICES) & set(columns):
                raise _NotCandlesError(
                    f"no candle file: column 'open' is missing; found {_listed(columns)}",
                    where=source,
                    hint=_RENAME,
                )
            frame = _load(file, source, columns, _CANDLES_NEED, _CANDLES_MAY_HAVE)
            if "symbol" not in frame.columns:
                frame = frame.with_columns(symbol=pl.lit(_stem(file.name)))
            frame = self._of_venue(frame, source)
            if request.symbols:
                frame = frame.filter(pl.col("symbol").is_in(list(request.symbols)))
            frame = _of_interval(frame, request.interval, source)
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
            columns = _columns_of(file, source, {})
            frame = _load(file, source, columns, _FACTS_NEED, ("known_at",))
            checked = clean_observations(frame, now, source, Interval.parse(lag) if lag else None)
        except DataError as error:
            return _Outcome(name, error=error)
        return _Outcome(name, checked.frame, checked.problems, early=checked.early)

    def _of_venue(self, frame: pl.DataFrame, source: str) -> pl.DataFrame:
        """Return the rows of the venue chosen.

        Raises:
            DataError: there are none, or none is chosen and there are several venues.
        """
        if "venue" not in frame.columns:
            return frame
        venue, wanted = pl.col("venue").cast(pl.String), self.config.venue
        names = frame.select(venue.drop_nulls().unique().sort()).to_series()
        found = ", ".join(names[:8])
        if not wanted and len(names) > 1:
            raise SchemaError(
                f"mixes venues ({found})", where=source, hint="Choose one with the key venue"
            )
        chosen = frame.filter(venue.str.to_lowercase() == wanted.lower()) if wanted else frame
        if chosen.is_empty():
            raise NoDataError(f"holds no rows of venue {wanted!r}, only of {found}", where=source)
        return chosen

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
    telling = telling or [e for e in errors if isinstance(e, _OtherIntervalError)] or list(errors)
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
        if file.name.endswith(_SUFFIXES) and not file.name.startswith(".") and file.is_file()
    }
    if not found:
        raise NoDataError(
            f"no file in {str(place)!r} matches {pattern!r} and ends in {', '.join(_SUFFIXES)}",
            where=where,
            hint="Put Parquet or CSV files there, or name another folder",
        )
    return found


def _state(file: Path) -> list[int]:
    stat = file.stat()
    return [stat.st_mtime_ns, stat.st_size]


def _stem(name: str) -> str:
    return name.removesuffix(next(suffix for suffix in _SUFFIXES if name.endswith(suffix)))


def _joined(outcomes: Sequence[_Outcome]) -> pl.DataFrame | None:
    frames = [outcome.frame for outcome in outcomes if outcome.frame is not None]
    return pl.concat(frames) if frames else None


@contextmanager
def _reading(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataError(
            f"cannot be read: {reason}", where=source, hint="Write the file again, or remove it"
        ) from error


def _columns_of(file: Path, source: str, renames: Mapping[str, str]) -> dict[str, str]:
    """Return for every column what Weft calls it, and what the file does.

    Raises:
        DataError: the file is empty or cannot be read.
    """
    with _reading(source):
        if file.stat().st_size == 0:
            raise NoDataError("the file is empty", where=source)
        if _is_csv(file):
            found = pl.read_csv(file, n_rows=0, infer_schema=False, glob=False).columns
        else:
            found = pl.scan_parquet(file, glob=False).collect_schema().names()
    own = {name.strip(): name for name in found}
    return {n: n_own for n, n_own in own.items() if n not in renames} | {
        renames[n]: n_own for n, n_own in own.items() if n in renames
    }


def _load(
    file: Path, source: str, columns: Mapping[str, str], need: Sequence[str], may: Sequence[str]
) -> pl.DataFrame:
    """Return the columns needed, and those there may be, under Weft's names.

    Raises:
        SchemaError: a needed column is missing.
        DataError: the file has no rows or cannot be read.
    """
    for name in need:
        if name not in columns:
            close = nearest(name, [c for c in columns if c not in (*need, *may)])
            raise SchemaError(
                f"column {name!r} is missing; found {_listed(columns)}",
                where=source,
                hint=f"Did you mean {close!r}? {_RENAME}" if close else _RENAME,
            )
    chosen = [name for name in (*need, *may) if name in columns]
    own = [columns[name] for name in chosen]
    with _reading(source):
        if _is_csv(file):
            frame = pl.read_csv(file, columns=own, infer_schema=False, glob=False)
        else:
            frame = pl.read_parquet(file, columns=own, glob=False)
    if frame.is_empty():
        raise NoDataError("the file holds no rows", where=source)
    return frame.select(pl.col(columns[name]).alias(name) for name in chosen)


def _of_interval(frame: pl.DataFrame, interval: Interval, source: str) -> pl.DataFrame:
    """Return the rows of one interval.

    Raises:
        NoDataError: there are only candles of others.
    """
    if "interval" not in frame.columns:
        step = _usual_step(frame, source)
        if step is None or step == interval.micros:
            return frame
        raise NoDataError(
            f"has no interval column, and most of its candles are {timedelta(microseconds=step)} "
            f"apart, not {interval}",
            where=source,
        )
    stated = pl.col("interval").cast(pl.String)
    found = frame.select(stated.drop_nulls().unique().sort()).to_series().to_list()
    same = [name for name in found if _micros(name) == interval.micros]
    if found and not same:
        raise _OtherIntervalError(
            f"holds no {interval} candles, only {', '.join(found[:8])}", where=source
        )
    return frame.filter(stated.is_in(same)).drop("interval")


def _usual_step(frame: pl.DataFrame, source: str) -> int | None:
    """Return the most common time between two candles of a symbol, microseconds."""
    times, _ = read_times(frame["open_time"], source)
    step = pl.col("time").diff().over("symbol")
    steps = pl.DataFrame({"symbol": frame["symbol"], "time": times}).drop_nulls()
    steps = steps.unique().sort("symbol", "time").select(step=step).filter(pl.col("step") > 0)
    counts = steps["step"].value_counts().sort("count", "step", descending=[True, False])
    return None if counts.is_empty() else int(counts["step"][0])


def _micros(name: str) -> int | None:
    try:
        return Interval.parse(name).micros
    except TimeError:
        return None


def _is_csv(file: Path) -> bool:
    return file.name.endswith((".csv", ".csv.gz"))


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in list(columns)[:20])
