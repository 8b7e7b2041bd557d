"""`weft signals`: compose once and print."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import Direction, Report, Signal
from weft.engine.engine import Engine
from weft.foundation.times import parse_instant
from weft_app.profile import AsOfOption, JsonOption, profile_of
from weft_app.session import (
    compose_report,
    data_label,
    fetch_new,
    open_engine,
    warn_about,
)
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)

_WAIT_SECONDS = 20.0
_COLOURS = {Direction.LONG: "green", Direction.SHORT: "red", Direction.NEUTRAL: "dim"}


@app.command()
def signals(
    context: typer.Context,
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols to show; all by default.")
    ] = None,
    *,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    record: Annotated[bool, typer.Option(help="Write the signals to the ledger.")] = True,
) -> None:
    """Compose signals and print them."""
    profile = profile_of(context)
    instant = None if as_of is None else parse_instant(as_of)
    with closing(open_engine(profile, records=record)) as engine:
        fetch_new(engine, _WAIT_SECONDS if instant is None else 0.0)
        view = engine.view(instant)
        report = compose_report(engine, view)
        if record:
            engine.record(report, view)
        shown = select(report, symbols or (), engine)
        under_way = {key: str(state) for key, state in engine.trainer.under_way().items()}
        warn_about(report, engine)
        data = data_label(report.data, report.as_of, engine)
    if as_json:
        print_json(shown.to_json())
    else:
        _print_table(shown, data, under_way)


def select(report: Report, symbols: Sequence[str], engine: Engine) -> Report:
    """Return the part of a report about some symbols; the whole report where none is named.

    Raises:
        UnknownSymbolError: no provider has brought one of them.
    """
    if not symbols:
        return report
    wanted = {engine.market.instruments.named(symbol).symbol for symbol in symbols}
    reported = {signal.symbol for signal in report.signals} | report.omitted.keys()
    later = dict.fromkeys(sorted(wanted - reported), "its candles begin later")
    omitted = {symbol: why for symbol, why in report.omitted.items() if symbol in wanted}
    return replace(
        report,
        signals=tuple(signal for signal in report.signals if signal.symbol in wanted),
        omitted={**omitted, **later},
    )


def _print_table(report: Report, data: str, under_way: Mapping[str, str]) -> None:
    """Print the signals, and below them the missing layers and models.

    Args:
        report: the signals.
        data: kind and age of the data, for the title.
        under_way: state of the trainings that run now, by component key.
    """
    console = open_results()
    fits = console.width >= _ROOM_FOR_ALL
    chosen = _COLUMNS if fits else {name: _COLUMNS[name] for name in _NARROW}
    table = Table(
        title=escape(f"Signals as of {report.as_of}, {data}{_regime(report)}"),
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
    """Return the reasons of each signal, for a terminal too narrow for that column."""
    table = Table(title="Why", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for signal in signals:
        table.add_row(escape(signal.symbol), escape(_why(signal)), style=_COLOURS[signal.direction])
    return table


def _omitted(report: Report) -> list[str]:
    """Return lines that name the symbols without a signal, grouped by reason."""
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
        lines.append("conf. ranks signals; it is no probability until it is fitted to outcomes.")
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
    probability = state.probability.get(state.name)
    percent = "" if probability is None else f" ({probability:.0%})"
    return f"; regime {state.name.replace('_', ' ')}{percent}"


def _forecast(signal: Signal) -> str:
    """Return the lowest and highest quantile of the forecast with the most trust."""
    known = [forecast for forecast in signal.forecasts if forecast.quantiles]
    if not known:
        return ""
    best = max(known, key=lambda forecast: (forecast.trust, forecast.model))
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
"""Columns of the table, with the text of their cells."""

_ROOM_FOR_ALL = 140
"""Terminal width from which all columns fit."""

_NARROW = ("symbol", "direction", "conf.", "entry", "stop", "target", "size")
"""Columns on a narrower terminal; the reasons follow below the table."""

_FEW = 3
"""Symbols without a signal that are named one by one; more share a line."""
