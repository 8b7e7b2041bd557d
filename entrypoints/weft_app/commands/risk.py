"""`weft risk`: what positions can lose together, over the horizon of the signals."""

import asyncio
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import to_json
from weft.engine.engine import Engine
from weft.foundation.errors import ConfigError, NoDataError
from weft_app.portfolio import RiskReport, positions_of, report_portfolio
from weft_app.session import (
    bring_up_to_date,
    compose_report,
    open_answer,
    open_engine,
    parse_instant,
    print_json,
    warn_about,
)

_WHERE = "weft risk"
_NAMES = {
    "volatility_2x": "volatility x 2",
    "volatility_3x": "volatility x 3",
    "volatility_5x": "volatility x 5",
    "correlation_1": "correlation 1",
    "hedges_fail": "no hedge holds",
}
_KINDS = {"var": "VaR", "cvar": "CVaR", "drawdown": "DD"}


def run(
    positions: Sequence[str],
    config: Path | None,
    as_of: str | None,
    overrides: Sequence[str],
    *,
    days: int | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Bring the store up to date, and print what the positions can lose together.

    Args:
        positions: as ``SYMBOL=FRACTION`` of the equity; none for those of the present signals.
        config: config file; None for the default one.
        as_of: a past instant; None for the newest close.
        overrides: keys to override, as ``key.path=value``.
        days: days of returns that are measured, `portfolio_risk.days`; None for what it says.
        seed: of the random numbers, `portfolio_risk.seed`; None for what it says.
        as_json: whether to print JSON.

    Raises:
        ConfigError: a position is no symbol and fraction.
        UnknownSymbolError: no provider has brought one of them.
        NoDataError: there are no signals, or none of the positions can be measured.
    """
    asked = parse_positions(positions)
    instant = None if as_of is None else parse_instant(as_of)
    options = {"days": days, "seed": seed}
    given = [f"portfolio_risk.{key}={n}" for key, n in options.items() if n is not None]
    engine = open_engine(config, [*overrides, *given])
    try:
        asyncio.run(bring_up_to_date(engine))
        held = asked or _of_signals(engine, instant)
        report = report_portfolio(engine, held, instant)
    finally:
        engine.close()
    if report.left_out and not report.positions:
        raise NoDataError(
            "; ".join(f"{symbol}: {why}" for symbol, why in report.left_out.items()),
            where=_WHERE,
            hint="Raise --days, or run `weft backfill`",
        )
    if as_json:
        print_json(to_json(report))
    else:
        _print_report(open_answer(), report)


def parse_positions(texts: Sequence[str]) -> dict[str, float]:
    """Return fractions of the equity by symbol.

    Raises:
        ConfigError: one line for each text that is no ``SYMBOL=FRACTION``.
    """
    found: dict[str, float] = {}
    problems = []
    for text in texts:
        symbol, _, said = text.partition("=")
        fraction = _number(said)
        if not symbol or fraction is None:
            problems.append(f"{text!r} is no SYMBOL=FRACTION with a number, such as BTCUSDT=-0.25")
        elif symbol in found:
            problems.append(f"{symbol} is given twice")
        else:
            found[symbol] = fraction
    if problems:
        raise ConfigError("positions that cannot be read", where=_WHERE, problems=problems)
    return found


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_signals(engine: Engine, instant: int | None) -> dict[str, float]:
    view = engine.view(instant)
    report = compose_report(engine, view)
    warn_about(report, engine)
    if not report.signals:
        why = next((f"{symbol}: {why}" for symbol, why in report.omitted.items()), "no symbols")
        raise NoDataError(
            f"there is no signal at {report.as_of}; {why}",
            where=_WHERE,
            hint="Give positions, as SYMBOL=FRACTION",
        )
    return positions_of(report.signals)


def _print_report(console: Console, report: RiskReport) -> None:
    if report.figures is None:
        console.print(f"No positions as of {report.as_of}: nothing can be lost.")
        return
    # Not as the title of the table, which would be broken at the table's width.
    console.print(
        f"Portfolio as of {report.as_of}, gross {report.gross:.1%}, net {report.net:+.1%} of the "
        f"equity, {report.measured['data']} data",
        soft_wrap=True,
    )
    console.print(_losses(report, report.figures))
    console.print(
        f"Losses within {report.figures['horizon']}, of the equity, by "
        f"{escape(report.component)}. DD: deepest fall on the way.",
        soft_wrap=True,
    )
    console.print(_parts(report, report.figures))
    if report.shocks:
        console.print(_shocks(report))
    for symbol, why in report.left_out.items():
        console.print(f"[yellow]{escape(symbol)} is in none of these figures:[/] {escape(why)}")
    for note in report.notes:
        console.print(f"[yellow]{escape(note)}")
    console.print(f"[dim]{_measured_on(report)}", soft_wrap=True)


def _losses(report: RiskReport, figures: Mapping[str, float | str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = [name for name, value in figures.items() if isinstance(value, float)]
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(_label(name), justify="right", no_wrap=True)
    rows = {"as measured": figures, **{_NAMES.get(n, n): f for n, f in report.stresses.items()}}
    for title, block in rows.items():
        values = (block.get(name) for name in names)
        cells = (f"{value:.2%}" if isinstance(value, float) else "" for value in values)
        table.add_row(escape(title), *cells)
    return table


def _label(name: str) -> str:
    """Return how a table heads a figure: ``CVaR 95`` for ``cvar_95``."""
    kind, _, level = name.partition("_")
    return f"{_KINDS.get(kind, kind)} {level}"


def _parts(report: RiskReport, figures: Mapping[str, float | str]) -> Table:
    added = _label(report.contributions_to)
    table = Table(
        title=f"What each position adds to {added}", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("symbol", no_wrap=True)
    for name in ("fraction", "volatility", "returns", "adds"):
        table.add_column(name, justify="right", no_wrap=True)
    for position in report.positions:
        table.add_row(
            escape(position.symbol),
            f"{position.fraction:+.1%}",
            "" if position.volatility is None else f"{position.volatility:.2%}",
            "" if position.returns is None else f"{position.returns:,}",
            f"{position.contribution:+.3%}",
        )
    table.add_section()
    table.add_row(
        "together", f"{report.net:+.1%}", "", "", f"{figures[report.contributions_to]:+.3%}"
    )
    return table


def _shocks(report: RiskReport) -> Table:
    table = Table(title="If a fall of the past came again", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("shock", no_wrap=True)
    table.add_column("change of the equity", justify="right", no_wrap=True)
    for name, loss in report.shocks.items():
        table.add_row(name, f"{-loss:+.1%}")
    return table


def _measured_on(report: RiskReport) -> str:
    facts = [
        f"{name.replace('_', ' ')} {fact:,}" if isinstance(fact, int) else f"{name} {fact}"
        for name, fact in report.measured.items()
    ]
    lines = [f"Measured by {report.component} on {', '.join(facts)}."]
    if report.repair is not None and report.repair.needed:
        lines.append(
            f"The correlations were repaired: their smallest eigenvalue was "
            f"{report.repair.least_eigenvalue:.2g}; no correlation moved by more than "
            f"{report.repair.largest_change:.2g}."
        )
    return escape("\n".join(lines))
