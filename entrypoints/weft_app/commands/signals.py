"""`weft signals`: compose once and print."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import Direction, Report, Signal
from weft.engine.engine import Engine
from weft_app.session import (
    bring_up_to_date,
    compose_report,
    open_answer,
    open_engine,
    parse_instant,
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
    instant = None if as_of is None else parse_instant(as_of)
    engine = open_engine(config, overrides, records=record)
    patience = _PATIENCE_SECONDS if instant is None else 0.0
    try:
        asyncio.run(bring_up_to_date(engine, patience))
        view = engine.view(instant)
        report = compose_report(engine, view)
        if record:
            engine.record(report, view)
        shown = select(report, symbols, engine)
        under_way = engine.trainer.under_way()
        warn_about(report, engine)
    finally:
        engine.close()
    if as_json:
        print_json(shown.to_json())
    else:
        _print_table(shown, {key: str(one) for key, one in under_way.items()})


def select(report: Report, symbols: Sequence[str], engine: Engine) -> Report:
    """Return the part of a report that is about some symbols; all of it where none is named.

    Raises:
        UnknownSymbolError: no provider has brought one of them.
    """
    if not symbols:
        return report
    wanted = {engine.market.instruments.named(symbol).symbol for symbol in symbols}
    there = {signal.symbol for signal in report.signals} | report.omitted.keys()
    later = dict.fromkeys(sorted(wanted - there), "its candles begin only later")
    omitted = {symbol: why for symbol, why in report.omitted.items() if symbol in wanted}
    return replace(
        report,
        signals=tuple(signal for signal in report.signals if signal.symbol in wanted),
        omitted={**omitted, **later},
    )


def _print_table(report: Report, under_way: Mapping[str, str] = MappingProxyType({})) -> None:
    """Print the signals, and below them what is missing and why.

    Args:
        report: the signals.
        under_way: how far the trainings of components are that are being trained, by key.
    """
    console = open_answer()
    fits = console.width >= _ROOM_FOR_ALL
    chosen = _COLUMNS if fits else {name: _COLUMNS[name] for name in _NARROW}
    table = Table(
        title=escape(f"Signals as of {report.as_of}, {report.data} data{_regime(report)}"),
        title_justify="left",
        caption=_caption(report, under_way),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in chosen:
        left = name in {"symbol", "direction", "why"}
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "why")
    signals = sorted(report.signals, key=lambda s: (-s.confidence, s.symbol))
    for signal in signals:
        cells = (escape(cell(signal)) for cell in chosen.values())
        table.add_row(*cells, style=_COLOURS[signal.direction])
    console.print(table)
    if not fits:
        console.print(_reasons(signals))
    for note in dict.fromkeys(note for signal in report.signals for note in signal.data.notes):
        console.print(f"[yellow]{escape(note)}", soft_wrap=True)
    if report.not_recorded is not None:
        console.print(f"[yellow]not recorded: {escape(report.not_recorded)}", soft_wrap=True)
    for line in _omitted(report):
        console.print(f"[dim]{escape(line)}", soft_wrap=True)


def _reasons(signals: Sequence[Signal]) -> Table:
    """Return why each signal is as it is, for a terminal without room for that beside it."""
    table = Table(title="Why", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for signal in signals:
        table.add_row(escape(signal.symbol), escape(_why(signal)), style=_COLOURS[signal.direction])
    return table


def _omitted(report: Report) -> list[str]:
    """Return which symbols have no signal, those for the same reason in one line."""
    by_reason: dict[str, list[str]] = {}
    for symbol, why in report.omitted.items():
        by_reason.setdefault(why, []).append(symbol)
    lines = []
    for why, symbols in by_reason.items():
        if len(symbols) <= _FEW:
            lines += [f"{symbol}: no signal: {why}" for symbol in symbols]
        else:
            lines.append(f"{len(symbols)} other symbols have no signal: {why}")
    return lines


def _caption(report: Report, under_way: Mapping[str, str]) -> str | None:
    lines = []
    if any(not signal.calibrated for signal in report.signals):
        lines.append("conf. orders signals; it is not yet fitted to outcomes.")
    lines += [
        f"The signals lack the layer {name}: {why}"
        for name, why in sorted(report.missing_layers.items())
    ]
    missing = report.signals[0].missing_models if report.signals else {}
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(missing.items()):
        by_reason.setdefault(under_way.get(name, why), []).append(name)
    lines += [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]
    return escape("\n".join(lines)) or None


def _regime(report: Report) -> str:
    state = report.signals[0].regime if report.signals else None
    if state is None:
        return ""
    chance = state.probability.get(state.name)
    sure = "" if chance is None else f" ({chance:.0%})"
    return f"; regime {state.name.replace('_', ' ')}{sure}"


def _forecast(signal: Signal) -> str:
    """Return the 5 % to 95 % quantiles of the forecast that has earned most trust."""
    known = [one for one in signal.forecasts if one.quantiles]
    if not known:
        return ""
    best = max(known, key=lambda one: (one.trust, one.model))
    levels = sorted(best.quantiles, key=float)
    low, high = best.quantiles[levels[0]], best.quantiles[levels[-1]]
    return "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f} %"


def _share(figures: Mapping[str, float | str | None], name: str) -> str:
    value = figures.get(name)
    return f"{value:.1%}" if isinstance(value, float) else ""


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


_COLUMNS: Mapping[str, Callable[[Signal], str]] = {
    "symbol": lambda signal: signal.symbol,
    "direction": lambda signal: signal.direction.value,
    "score": lambda signal: f"{signal.score:+.1f}",
    "conf.": lambda signal: f"{signal.confidence:.0f}",
    "entry": lambda signal: _price(signal.entry),
    "stop": lambda signal: _price(signal.stop_loss),
    "target": lambda signal: _price(signal.take_profit),
    "R/R": lambda signal: f"{signal.risk_reward:.1f}" if signal.risk_reward else "",
    "size": lambda signal: f"{signal.position_size:.0%}",
    "forecast": _forecast,
    "VaR 99": lambda signal: _share(signal.risk, "var_99"),
    "stop first": lambda signal: _share(signal.risk, "stop_first"),
    "why": _why,
}
"""Columns of the table, and what stands in them."""

_ROOM_FOR_ALL = 140
"""Width from which on all columns have room."""

_NARROW = ("symbol", "direction", "conf.", "entry", "stop", "target", "size")
"""Columns that a narrower terminal shows; the reasons then follow below the table."""

_FEW = 3
"""Symbols without a signal for one reason that are named one by one."""
