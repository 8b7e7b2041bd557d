"""`weft signals`: compose once and print."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from weft.engine import Engine
from weft.signal import Direction, Report, Signal
from weft.times import parse_time
from weft_app.session import bring_up_to_date, compile_features, open_engine, warn_about

_PATIENCE_SECONDS = 20.0
_ROOM_FOR_REASONS = 110
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
    asyncio.run(bring_up_to_date(engine, wait_seconds=_PATIENCE_SECONDS if instant is None else 0))
    view = engine.view(instant)
    compile_features(engine)
    report = engine.report(engine.compose(view))
    if record:
        engine.record(report, view)
    shown = select(report, symbols, engine)
    warn_about(report, engine)
    if as_json:
        _print_json(shown)
    else:
        _print_table(shown)
    engine.close()


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


def _print_json(report: Report) -> None:
    text = report.to_json()
    if sys.stdout.isatty():
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2)
    sys.stdout.write(text.decode() + "\n")


def _print_table(report: Report) -> None:
    console = Console(highlight=False)
    roomy = console.width >= _ROOM_FOR_REASONS
    title = f"Signals as of {report.as_of}, {report.data} data"
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in ("symbol", "direction"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "conf.", "entry", "stop", "target", "R/R", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    if roomy:
        table.add_column("why")
    for signal in sorted(report.signals, key=lambda s: (-s.confidence, s.symbol)):
        cells = _row(signal)
        table.add_row(*(cells if roomy else cells[:-1]), style=_COLOURS[signal.direction])
    if any(not signal.calibrated for signal in report.signals):
        table.caption = "conf. orders signals; it is not yet fitted to outcomes."
    console.print(table)
    for symbol, why in report.omitted.items():
        console.print(f"[dim]{symbol}: no signal: {why}")


def _row(signal: Signal) -> list[str]:
    return [
        signal.symbol,
        signal.direction.value,
        f"{signal.score:+.1f}",
        f"{signal.confidence:.0f}",
        *(_price(p) for p in (signal.entry, signal.stop_loss, signal.take_profit)),
        "" if signal.risk_reward is None else f"{signal.risk_reward:.1f}",
        f"{signal.position_size:.0%}",
        _why(signal),
    ]


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
