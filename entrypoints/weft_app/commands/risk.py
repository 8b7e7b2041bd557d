"""`weft risk`: what positions can lose together, over the horizon of the signals."""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import Report, to_json
from weft.engine.engine import Engine
from weft.foundation.errors import ConfigError, NoDataError
from weft.foundation.times import parse_instant
from weft_app.figures import percent
from weft_app.portfolio import RiskReport, positions_of, report_portfolio
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

_WHERE = "weft risk"
_NAMES = {
    "volatility_2x": "volatility x 2",
    "volatility_3x": "volatility x 3",
    "volatility_5x": "volatility x 5",
    "correlation_1": "correlation 1",
    "hedges_fail": "no hedge holds",
}
_KINDS = {"var": "VaR", "cvar": "CVaR", "drawdown": "DD"}


@app.command()
def risk(
    context: typer.Context,
    positions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL=FRACTION]...",
            help="Fractions of the equity, negative for a short; those of the signals by default.",
        ),
    ] = None,
    *,
    as_of: AsOfOption = None,
    days: Annotated[
        int | None,
        typer.Option(
            help="Days of history for volatility and correlation (portfolio_risk.days); 60, or "
            "more for long candles.",
            min=1,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the random numbers (portfolio_risk.seed).", min=0)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what positions can lose together, and how much each adds."""
    fractions = parse_positions(positions or ())
    instant = None if as_of is None else parse_instant(as_of)
    profile = profile_of(context)
    options = {"days": days, "seed": seed}
    profile.overrides += [f"portfolio_risk.{k}={n}" for k, n in options.items() if n is not None]
    with closing(open_engine(profile)) as engine:
        fetch_new(engine)
        if not fractions:
            fractions = _positions_of_signals(engine, compose_report(engine, engine.view(instant)))
        report = report_portfolio(engine, fractions, instant)
        data = data_label(str(report.measured["data"]), report.as_of, engine)
    if report.left_out and not report.positions:
        raise NoDataError(
            "; ".join(f"{symbol}: {why}" for symbol, why in report.left_out.items()),
            where=_WHERE,
            hint="Raise --days, or run `weft backfill`",
        )
    if as_json:
        print_json(to_json(report))
    else:
        _print_report(open_results(), report, data)


def parse_positions(texts: Sequence[str]) -> dict[str, float]:
    """Return fractions of the equity by symbol.

    Raises:
        ConfigError: a text is not ``SYMBOL=FRACTION``; one line for each.
    """
    fractions: dict[str, float] = {}
    problems = []
    for text in texts:
        symbol, _, right = text.partition("=")
        fraction = _number(right)
        if not symbol or fraction is None:
            problems.append(f"{text!r} is not SYMBOL=FRACTION with a number, such as BTCUSDT=-0.25")
        elif symbol in fractions:
            problems.append(f"{symbol} is given twice")
        else:
            fractions[symbol] = fraction
    if problems:
        raise ConfigError("some positions cannot be read", where=_WHERE, problems=problems)
    return fractions


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _positions_of_signals(engine: Engine, report: Report) -> dict[str, float]:
    warn_about(report, engine)
    if not report.signals:
        why = next((f"{symbol}: {why}" for symbol, why in report.omitted.items()), "no symbols")
        raise NoDataError(
            f"there is no signal at {report.as_of}; {why}",
            where=_WHERE,
            hint="Name positions as SYMBOL=FRACTION",
        )
    return positions_of(report.signals)


def _print_report(console: Console, report: RiskReport, data: str) -> None:
    if report.figures is None:
        console.print(f"No positions as of {report.as_of}: nothing can be lost.")
        return
    # Not in the table's title and caption, which rich breaks at the width of the table.
    console.print(
        f"Portfolio as of {report.as_of}, gross {report.gross:.1%}, net {report.net:+.1%} of the "
        f"equity, {data}",
        soft_wrap=True,
    )
    console.print(_losses(report, report.figures))
    console.print(
        f"Losses within {report.figures['horizon']}, in percent of the equity, by "
        f"{escape(report.component)}. DD: deepest drawdown on the way.",
        soft_wrap=True,
    )
    console.print(_parts(report, report.figures))
    if report.shocks:
        console.print(_shocks(report))
    for symbol, why in report.left_out.items():
        console.print(f"[yellow]{escape(symbol)} is not in these figures:[/] {escape(why)}")
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
        cells = (percent(value) if isinstance(value, float) else "" for value in values)
        table.add_row(escape(title), *cells)
    return table


def _label(name: str) -> str:
    """Return the heading of a figure: ``CVaR 95`` for ``cvar_95``."""
    kind, _, level = name.partition("_")
    return f"{_KINDS.get(kind, kind)} {level}"


def _parts(report: RiskReport, figures: Mapping[str, float | str]) -> Table:
    title = f"What each position adds to {_label(report.contributions_to)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("symbol", no_wrap=True)
    for name in ("fraction", "volatility a candle", "returns", "adds"):
        table.add_column(name, justify="right", no_wrap=True)
    for position in report.positions:
        table.add_row(
            escape(position.symbol),
            f"{position.fraction:+.1%}",
            "" if position.volatility is None else percent(position.volatility),
            "" if position.returns is None else f"{position.returns:,}",
            f"{position.contribution:+.3%}",
        )
    table.add_section()
    total = figures[report.contributions_to]
    table.add_row("together", f"{report.net:+.1%}", "", "", f"{total:+.3%}")
    return table


def _shocks(report: RiskReport) -> Table:
    table = Table(
        title="If a past fall of the market came again", title_justify="left", box=SIMPLE_HEAD
    )
    table.add_column("shock", no_wrap=True)
    table.add_column("change of the equity", justify="right", no_wrap=True)
    for name, loss in report.shocks.items():
        table.add_row(escape(name.replace("_", " ")), f"{-loss:+.1%}")
    return table


def _measured_on(report: RiskReport) -> str:
    facts = [
        f"{name.replace('_', ' ')} {fact:,}" if isinstance(fact, int) else f"{name} {fact}"
        for name, fact in report.measured.items()
    ]
    text = f"Measured by {report.component} on {', '.join(facts)}."
    if report.repair is not None and report.repair.needed:
        text += (
            f"\nThe correlations were repaired: their smallest eigenvalue was "
            f"{report.repair.least_eigenvalue:.2g}; no correlation moved by more than "
            f"{report.repair.largest_change:.2g}."
        )
    return escape(text)
