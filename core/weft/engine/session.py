"""The Python door: an engine for notebooks and scripts that answers in polars frames."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import polars as pl

from weft.components.needs import candles, metric
from weft.config.loading import load_settings
from weft.domain.calendar import BLOCK, block_end
from weft.domain.instruments import find_spelling
from weft.domain.signal import Direction, Signal
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.errors import NoDataError, WeftError, nearest
from weft.foundation.times import parse_instant, parse_time, to_micros
from weft.market.view import View
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry

_TIME: Final = pl.Datetime("us", "UTC")

_SIGNAL_COLUMNS: Final[Mapping[str, Any]] = {
    "time": _TIME,
    "symbol": pl.String,
    "direction": pl.Enum([direction.value for direction in Direction]),
    "score": pl.Float64,
    "confidence": pl.Float64,
    "calibrated": pl.Boolean,
    "entry": pl.Float64,
    "stop_loss": pl.Float64,
    "take_profit": pl.Float64,
    "risk_reward": pl.Float64,
    "position_size": pl.Float64,
    "horizon": pl.String,
    "regime": pl.String,
    "missing_layers": pl.List(pl.String),
    "data": pl.String,
    "id": pl.String,
}

_LAYER_COLUMNS: Final[Mapping[str, Any]] = {
    "time": _TIME,
    "symbol": pl.String,
    "layer": pl.String,
    "score": pl.Float64,
    "weight": pl.Float64,
    "confidence": pl.Float64,
    "status": pl.String,
}

_METRIC_COLUMNS: Final[Mapping[str, Any]] = {
    "time": _TIME,
    "symbol": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "age_seconds": pl.Float64,
    "sources": pl.Int64,
    "spread": pl.Float64,
}


def open(  # noqa: A001  # users write weft.open
    config: Path | str | None = None, settings: Mapping[str, object] | None = None
) -> "Session":
    """Open the engine of a config file, for use from Python: `weft.open`.

    Args:
        config: config file; None for ``config.yaml`` in the working directory, or the packaged
            defaults where there is none.
        settings: settings that replace those of the file, by key:
            ``{"universe.symbols": ["BTCUSDT"], "layers.ml.enabled": False}``.

    Raises:
        ConfigError: the file or a setting has a mistake; one line for each.
        StorageError: the lake or the ledger cannot be opened.
    """
    overrides = [f"{key}={_yaml(value)}" for key, value in (settings or {}).items()]
    loaded = load_settings(None if config is None else Path(config), overrides)
    return Session(assemble(loaded, Registry(discover())))


class Session:
    """One engine, asked from Python: signals, history and metrics as polars frames.

    Every frame has a column ``time`` (UTC), the close of the decision row. A row of a frame holds
    what was known at that time, and nothing later. ``frame.to_pandas()`` converts a frame, with
    ``pip install 'weft[pandas]'``. Frames are computed from stored data: `update` fetches new data.

    Example:
        >>> with weft.open("config.yaml") as session:
        ...     session.update()
        ...     session.signals(["BTCUSDT"], steps=24)

    Args:
        engine: the engine; the session closes its ledger.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def __enter__(self) -> Self:
        """Return the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    def close(self) -> None:
        """Close the ledger's database."""
        self.engine.ledger.close()

    @property
    def symbols(self) -> list[str]:
        """Symbols that have candles, sorted."""
        return sorted(self.engine.market.listings)

    def update(self, since: str | datetime | None = None) -> pl.DataFrame:
        """Fetch what is new from every provider, and store it.

        Args:
            since: fetch history back to this time as well; the configured history where None.

        Returns:
            One row for each provider: provider, new (rows stored), error (None where all went
            well), problems (what was refused or repaired).
        """
        start = None if since is None else _micros(since)
        # A notebook runs an event loop in its main thread already.
        with ThreadPoolExecutor(max_workers=1) as pool:
            rounds = pool.submit(lambda: asyncio.run(self.engine.update(since=start))).result()
        return pl.DataFrame(
            [
                {
                    "provider": one.provider,
                    "new": one.new,
                    "error": one.error,
                    "problems": list(one.problems),
                }
                for one in rounds
            ],
            schema={
                "provider": pl.String,
                "new": pl.Int64,
                "error": pl.String,
                "problems": pl.List(pl.String),
            },
        )

    def signals(
        self,
        symbols: str | Iterable[str] | None = None,
        *,
        steps: int = 1,
        as_of: str | datetime | None = None,
    ) -> pl.DataFrame:
        """Compute signals on the last decision rows up to a time. Nothing is recorded.

        A symbol that was not in the universe at a row, or whose candles had stopped, has no line
        there. History is computed with the models that were in use at each row.

        Args:
            symbols: one or several; all where None.
            steps: number of decision rows.
            as_of: last decision row, such as ``"2025-03-01"`` (midnight UTC) or a datetime with a
                time zone; the newest where None.

        Returns:
            One line for each row and symbol, sorted by time and symbol. Scores are -100 to 100,
            confidence is in percent, position_size a fraction of equity; id is the signal's id.

        Raises:
            NoDataError: no candles are stored, or none so early.
            LookAheadError: `as_of` lies in the future.
            WeftError: a symbol has no candles.
        """
        wanted = self._wanted(symbols)
        rows = map(_signal_row, self._composed(wanted, steps, as_of))
        return pl.DataFrame(list(rows), schema=dict(_SIGNAL_COLUMNS)).sort("time", "symbol")

    def layers(
        self,
        symbols: str | Iterable[str] | None = None,
        *,
        steps: int = 1,
        as_of: str | datetime | None = None,
    ) -> pl.DataFrame:
        """Compute what each layer contributes to the signals of `signals`.

        Args:
            symbols: one or several; all where None.
            steps: number of decision rows.
            as_of: last decision row; the newest where None.

        Returns:
            One line for each row, symbol and layer: score (-100 to 100, None where the layer has
            no opinion), weight (share of the fused score), confidence (0 to 1), status.

        Raises:
            NoDataError, LookAheadError, WeftError: as `signals`.
        """
        wanted = self._wanted(symbols)
        rows = (
            {
                "time": parse_time(signal.as_of),
                "symbol": signal.symbol,
                "layer": layer.name,
                "score": layer.score,
                "weight": layer.weight,
                "confidence": layer.confidence,
                "status": layer.status.value,
            }
            for signal in self._composed(wanted, steps, as_of)
            for layer in signal.layers
        )
        frame = pl.DataFrame(list(rows), schema=dict(_LAYER_COLUMNS))
        return frame.sort("time", "symbol", "layer")

    def history(
        self,
        symbols: str | Iterable[str] | None = None,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
    ) -> pl.DataFrame:
        """Return the signals in the ledger as they were recorded, without computing anything.

        Args:
            symbols: one or several; all where None.
            since: first decision row; from the beginning where None.
            until: last decision row; to the end where None.

        Returns:
            The columns of `signals`, and recorded_at: the time of writing. A signal that was
            written long after its time was made in hindsight.
        """
        ledger = self.engine.ledger
        wanted = [None] if symbols is None else dict.fromkeys(_several(symbols))
        first = None if since is None else _micros(since)
        last = None if until is None else _micros(until)
        rows = []
        for entry in chain.from_iterable(map(ledger.entries, wanted)):
            time = parse_time(entry.as_of)
            if (first is None or time >= first) and (last is None or time <= last):
                rows.append({**_recorded_row(entry.body), "recorded_at": entry.recorded_at})
        schema = {**_SIGNAL_COLUMNS, "recorded_at": _TIME}
        return pl.DataFrame(rows, schema=schema).sort("time", "symbol", "recorded_at")

    def metrics(
        self,
        names: str | Iterable[str],
        symbols: str | Iterable[str] | None = None,
        *,
        steps: int = 1,
        as_of: str | datetime | None = None,
    ) -> pl.DataFrame:
        """Return metrics on decision rows, each row as it was known then.

        Args:
            names: names of metrics; `weft metrics` lists them.
            symbols: one or several; all where None.
            steps: number of decision rows.
            as_of: last decision row; the newest where None.

        Returns:
            One line for each row, symbol and metric: value (None where unknown or too old),
            age_seconds of the newest fact, sources (how many gave a value), spread between them.

        Raises:
            NoDataError, LookAheadError, WeftError: as `signals`.
        """
        wanted, asked = self._wanted(symbols), _several(names)
        market = self.engine.market.planned_for([metric(name) for name in asked])
        view = market.view(self._row(as_of), steps)
        frames = [self._metric_frame(view, name, wanted) for name in asked]
        return pl.concat(frames).sort("time", "symbol", "metric")

    def candles(
        self, symbol: str, *, steps: int = 500, as_of: str | datetime | None = None
    ) -> pl.DataFrame:
        """Return one symbol's candles of the decision interval, as they were known at a time.

        Args:
            symbol: the symbol.
            steps: number of decision rows; hours in which a market was closed have no line.
            as_of: last decision row; the newest where None.

        Returns:
            close_time (UTC), open, high, low, close, volume.

        Raises:
            NoDataError, LookAheadError, WeftError: as `signals`.
        """
        (wanted,) = self._wanted(symbol)
        market = self.engine.market.planned_for([candles(warmup=0)])
        return market.view(self._row(as_of), steps).frame(wanted).tail(steps)

    # Parts

    def _composed(
        self, symbols: Sequence[str], steps: int, as_of: str | datetime | None
    ) -> Iterator[Signal]:
        """Yield the signals of the last rows, composed a block of the calendar at a time."""
        last, length = self._row(as_of), self.engine.composition.interval.micros
        wanted = set(symbols)
        for start, stop in pairwise(self._cuts(last - (steps - 1) * length, last + length)):
            rows = (stop - start) // length
            composed = self.engine.compose(self.engine.view(stop - length, rows))
            for row in range(rows):
                yield from self.engine.report(composed, row - rows, wanted).signals

    def _cuts(self, first: int, end: int) -> list[int]:
        """Return where to cut rows: at blocks of the calendar, and where another model takes over.

        A view uses the artifacts that were in use at its first row.
        """
        interval = self.engine.composition.interval
        ahead = block_end(interval.index(first)) - interval.index(first)
        blocks = range(first + ahead * interval.micros, end, BLOCK * interval.micros)
        takeovers = {
            interval.ceil(promotion.effective_at)
            for key in self.engine.composition.trained
            for promotion in self.engine.champions.promotions(key)
        }
        inside = {time for time in (*blocks, *takeovers) if first < time < end}
        return [first, *sorted(inside), end]

    def _row(self, as_of: str | datetime | None) -> int:
        """Return the decision row of a time; `Engine.decision_row` refuses the future."""
        if self.engine.market.last_close is None:
            raise NoDataError(
                "no candles are stored",
                where="weft.open",
                hint="Call update() on the session first",
            )
        return self.engine.decision_row(None if as_of is None else _micros(as_of))

    def _wanted(self, symbols: str | Iterable[str] | None) -> list[str]:
        """Return the symbols in Weft's spelling; all of them for None."""
        known = self.symbols
        if symbols is None:
            return known
        return [self._spelled(symbol, known) for symbol in _several(symbols)]

    def _spelled(self, symbol: str, known: Sequence[str]) -> str:
        spelled = find_spelling(symbol, known)
        if spelled is not None:
            return spelled
        close = nearest(symbol, known)
        hint = f"Did you mean {close}?" if close else "`Session.symbols` lists those that have"
        raise WeftError("has no candles", where=f"symbol {symbol}", hint=hint)

    @staticmethod
    def _metric_frame(view: View, name: str, symbols: Sequence[str]) -> pl.DataFrame:
        panel = view.metric(name)
        panel = panel.last(view.steps)
        columns = [view.symbols.index(symbol) for symbol in symbols if symbol in view.symbols]
        rows = [
            {
                "time": int(time),
                "symbol": view.symbols[column],
                "metric": name,
                "value": panel.values[row, column],
                "age_seconds": panel.age_seconds[row, column],
                "sources": int(panel.sources[row, column]),
                "spread": panel.spread[row, column],
            }
            for row, time in enumerate(panel.times)
            for column in columns
        ]
        frame = pl.DataFrame(rows, schema=dict(_METRIC_COLUMNS))
        return frame.with_columns(pl.col(pl.Float64).fill_nan(None))


def _several(names: str | Iterable[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _micros(time: str | datetime) -> int:
    return parse_instant(time) if isinstance(time, str) else to_micros(time)


def _yaml(value: object) -> str:
    """Return a setting as an override writes it: JSON is YAML."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _signal_row(signal: Signal) -> dict[str, Any]:
    """Return a signal as a line of a frame."""
    return _recorded_row(signal.to_dict())


def _recorded_row(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a signal's plain values as a line of a frame; fields it lacks are None."""
    regime, data = body.get("regime"), body.get("data")
    derived = {
        "time": parse_time(body["as_of"]),
        "regime": regime["name"] if regime else None,
        "missing_layers": sorted(body.get("missing_layers") or ()),
        "data": data["kind"] if data else None,
    }
    return {name: derived.get(name, body.get(name)) for name in _SIGNAL_COLUMNS}
