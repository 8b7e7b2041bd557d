"""`weft signals`: compose once and print."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.engine import Engine
from weft.signal import Direction, Report, Signal
from weft.times import parse_time
from weft_app.session import (
    bring_up_to_date,
    compile_features,
    open_answer,
    open_engine,
    print_json,
    warn_about,
)

_PATIENCE_SECONDS = 20.0
_COLOURS = {Direction.LONG: "green", Direction.SHORT: "red", Direction.NEUTRAL: "dim"}


def run(
    symbols: Sequence[str],
    config: Path | None,
    as_of: str | None,
    overrides: Sequence[str],
    *,
    as_json: bool,
    record: bool,
) -> None:
    """Bring the store up to date, compose, record and print."""
    instant = None if as_of is None else parse_time(as_of)
    engine = open_engine(config, overrides)
    patience = _PATIENCE_SECONDS if instant is None else 0.0
    try:
        asyncio.run(bring_up_to_date(engine, patience))
        view = engine.view(instant)
        compile_features(engine)
        report = engine.report(engine.compose(view))
        if record:
            engine.record(report, view)
        shown = select(report, symbols, engine)
        warn_about(report, engine)
    finally:
        engine.close()
    if as_json:
        print_json(shown.to_json())
    else:
        _print_table(shown)


def select(report: Report, symbols: Sequence[str], engine: Engine) -> Report:
    """Return the part of a report that is about some symbols; all of it where none is named.

    Raises:
        UnknownSymbolError: no provider has brought one of them.
    """
    if not symbols:
        return report
    wanted = {engine.market.instruments[symbol].symbol for symbol in symbols}
    there = {signal.symbol for signal in report.signals} | report.omitted.keys()
    later = dict.fromkeys(sorted(wanted - there), "its candles begin only later")
    omitted = {symbol: why for symbol, why in report.omitted.items() if symbol in wanted}
    return replace(
        report,
        signals=tuple(signal for signal in report.signals if signal.symbol in wanted),
        omitted={**omitted, **later},
    )


def _print_table(report: Report) -> None:
    console = open_answer()
    told = {name: cell for name, (room, cell) in _COLUMNS.items() if console.width >= room}
    table = Table(
        title=escape(f"Signals as of {report.as_of}, {report.data} data{_regime(report)}"),
        title_justify="left",
        caption=_caption(report, complete=len(told) == len(_COLUMNS)),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in told:
        left = name in {"symbol", "direction", "why"}
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "why")
    for signal in sorted(report.signals, key=lambda s: (-s.confidence, s.symbol)):
        cells = (escape(cell(signal)) for cell in told.values())
        table.add_row(*cells, style=_COLOURS[signal.direction])
    console.print(table)
    for note in dict.fromkeys(note for signal in report.signals for note in signal.data.notes):
        console.print(f"[yellow]{escape(note)}")
    for symbol, why in report.omitted.items():
        console.print(f"[dim]{escape(f'{symbol}: no signal: {why}')}")


def _caption(report: Report, *, complete: bool) -> str | None:
    lines = []
    if any(not signal.calibrated for signal in report.signals):
        lines.append("conf. orders signals; it is not yet fitted to outcomes.")
    if not complete:
        lines.append("A wider terminal shows forecasts, risk and reasons; so does `weft explain`.")
    missing = report.signals[0].missing_models if report.signals else {}
    lines += [f"{name}: {why}" for name, why in sorted(missing.items())]
    return escape("\n".join(lines)) or None


def _regime(report: Report) -> str:
    state = report.signals[0].regime if report.signals else None
    if state is None:
        return ""
    chance = state.probability[state.name] or 0.0
    return f"; regime {state.name.replace('_', ' ')} ({chance:.0%})"


def _forecast(signal: Signal) -> str:
    """Return the 5 % to 95 % quantiles of the forecast that has earned most trust."""
    known = [one for one in signal.forecasts if one.quantiles]
    if not known:
        return ""
    best = max(known, key=lambda one: (one.trust, one.model))
    levels = sorted(best.quantiles, key=float)
    low, high = best.quantiles[levels[0]], best.quantiles[levels[-1]]
    return "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f} %"


def _share(figures: Mapping[str, float | None], name: str) -> str:
    value = figures.get(name)
    return "" if value is None else f"{value:.1%}"


def _price(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if value >= 1000 else f"{value:.5g}"


def _why(signal: Signal) -> str:
    parts = [
        f"{layer.name} {layer.score:+.0f}"
        if layer.score is not None
        else f"{layer.name}: {layer.status}"
        for layer in signal.layers
    ]
    if signal.data.status != "live":
        parts.append(f"market {signal.data.status}")
    return ", ".join(parts)


_COLUMNS: Mapping[str, tuple[int, Callable[[Signal], str]]] = {
    "symbol": (0, lambda signal: signal.symbol),
    "direction": (0, lambda signal: signal.direction.value),
    "score": (0, lambda signal: f"{signal.score:+.1f}"),
    "conf.": (0, lambda signal: f"{signal.confidence:.0f}"),
    "entry": (0, lambda signal: _price(signal.entry)),
    "stop": (0, lambda signal: _price(signal.stop_loss)),
    "target": (0, lambda signal: _price(signal.take_profit)),
    "R/R": (0, lambda signal: f"{signal.risk_reward:.1f}" if signal.risk_reward else ""),
    "size": (0, lambda signal: f"{signal.position_size:.0%}"),
    "forecast": (100, _forecast),
    "VaR 99": (110, lambda signal: _share(signal.risk, "var_99")),
    "stop first": (120, lambda signal: _share(signal.risk, "stop_first")),
    "why": (140, _why),
}
"""Columns of the table: from which width of the terminal on, and what stands in them."""
