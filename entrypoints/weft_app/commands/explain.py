"""`weft explain`: the parts of one signal, down to the features of each model."""

from collections.abc import Mapping
from contextlib import closing
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import UNKNOWN_REGIME, LayerReport, RegimeReport, Signal, to_json
from weft.engine.explain import Explanation, explain
from weft.foundation.times import parse_instant
from weft_app.figures import number, risk_table, sizing_table
from weft_app.profile import AsOfOption, JsonOption, profile_of
from weft_app.progress import phase
from weft_app.session import (
    compile_features,
    data_label,
    fetch_new,
    open_engine,
    warn_about,
)
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)

_BAR = 20


@app.command("explain")
def explain_signal(
    context: typer.Context,
    symbol: Annotated[str, typer.Argument(help="Symbol of the signal, such as BTCUSDT.")],
    *,
    as_of: AsOfOption = None,
    top: Annotated[int, typer.Option(help="Maximum features of each model.", min=1)] = 8,
    as_json: JsonOption = False,
) -> None:
    """Show what each layer adds to a signal, and what moved each model's forecast."""
    with closing(open_engine(profile_of(context))) as engine:
        fetch_new(engine)
        compile_features(engine)
        view = engine.view(None if as_of is None else parse_instant(as_of))
        name = engine.market.instruments.named(symbol).symbol
        with phase("Composing, and computing contributions of the features"):
            explanation = explain(engine, view, name, top)
        under_way = {key: str(state) for key, state in engine.trainer.under_way().items()}
        warn_about(explanation.report, engine)
        data = data_label(explanation.report.data, explanation.report.as_of, engine)
    if as_json:
        body = {"signal": explanation.signal, "features": explanation.features}
        print_json(to_json(body))
    else:
        _print(explanation, data, under_way)


def _print(explanation: Explanation, data: str, under_way: Mapping[str, str]) -> None:
    console, signal = open_results(), explanation.signal
    _print_head(console, signal, data)
    console.print(_layers(signal))
    for line in _missing(signal, under_way):
        console.print(f"[yellow]missing[/]  {escape(line)}", soft_wrap=True)
    _print_models(console, explanation)
    for table in (risk_table(signal.risk), sizing_table(signal.sizing)):
        if table is not None:
            console.print(table)


def _print_head(console: Console, signal: Signal, data: str) -> None:
    console.print(
        f"[bold]{escape(signal.symbol)}[/] as of {signal.as_of}, {escape(data)}, {signal.horizon} "
        f"ahead: [bold]{signal.direction.value}[/], score {signal.score:+.1f}, confidence "
        f"{signal.confidence:.0f}{'' if signal.calibrated else ' (a ranking, not a probability)'}"
    )
    if signal.regime is not None:
        console.print(_regime(signal.regime))


def _regime(state: RegimeReport) -> str:
    multiplier = f"sizes times {state.position_multiplier or 0.0:.2f}"
    if state.name == UNKNOWN_REGIME:
        return f"Regime unknown: trust in its model is {state.trust:.2f}; {multiplier}"
    probabilities = ", ".join(f"{n} {p:.0%}" for n, p in state.probability.items() if p is not None)
    return (
        f"Regime {escape(f'{state.name} ({probabilities})')}, trust {state.trust:.2f}; probability "
        f"of a change at the next candle {state.change_probability or 0.0:.1%}, {multiplier}"
    )


def _layers(signal: Signal) -> Table:
    table = Table(title="What each layer adds to the score", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", no_wrap=True)
    for name in ("score", "weight", "adds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("because")
    for layer in sorted(signal.layers, key=lambda layer: -abs(_added(layer))):
        added = _added(layer)
        bar = "█" * round(_BAR * min(abs(added), 100.0) / 100.0)
        table.add_row(
            escape(layer.name),
            "" if layer.score is None else f"{layer.score:+.1f}",
            f"{layer.weight:.0%}",
            f"{added:+.1f}",
            f"[{'green' if added > 0 else 'red'}]{bar}",
            escape(_first(layer.evidence))
            if layer.score is not None
            else layer.status.value.replace("_", " "),
        )
    return table


def _added(layer: LayerReport) -> float:
    return 0.0 if layer.score is None else layer.score * layer.weight


def _first(evidence: Mapping[str, float | None], count: int = 5) -> str:
    """Return the first figures of the evidence; layers list the most important ones first."""
    known = [(name, value) for name, value in evidence.items() if value is not None]
    return ", ".join(f"{name} {number(value)}" for name, value in known[:count])


def _missing(signal: Signal, under_way: Mapping[str, str]) -> list[str]:
    missing = {**signal.missing_layers, **signal.missing_models}
    by_reason: dict[str, list[str]] = {}
    for name, why in missing.items():
        by_reason.setdefault(under_way.get(name, why), []).append(name)
    return [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]


def _print_models(console: Console, explanation: Explanation) -> None:
    for forecast in explanation.signal.forecasts:
        quantiles = ", ".join(
            f"{float(level):.0%} {value:+.2%}"
            for level, value in forecast.quantiles.items()
            if value is not None
        )
        console.print(
            f"[bold]{escape(forecast.model)}[/] {escape(forecast.artifact[:8])}, trust "
            f"{forecast.trust:.2f}: probability of a rise {forecast.probability_up or 0.0:.1%}, "
            f"mean return {forecast.mean or 0.0:+.2%}  [dim]quantiles {escape(quantiles)}"
        )
        features = explanation.features.get(forecast.model, {})
        if features:
            moved = ", ".join(f"{name} {value:+.3f}" for name, value in features.items())
            console.print("  moved by " + moved, markup=False)
