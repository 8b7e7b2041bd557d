"""`weft explain`: why a signal says what it says, down to the features of each model."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import UNKNOWN_REGIME, LayerReport, RegimeReport, Signal, to_json
from weft.engine.explain import Explanation, explain
from weft_app.progress import phase
from weft_app.session import (
    bring_up_to_date,
    compile_features,
    open_answer,
    open_engine,
    parse_instant,
    print_json,
    warn_about,
)

_BAR = 20


def run(
    symbol: str,
    config: Path | None,
    as_of: str | None,
    overrides: Sequence[str],
    *,
    top: int,
    as_json: bool,
) -> None:
    """Compose, and print what stands behind one symbol's signal.

    Raises:
        UnknownSymbolError: no provider has brought it.
        NoDataError: it has no signal at that row.
    """
    engine = open_engine(config, overrides)
    try:
        asyncio.run(bring_up_to_date(engine))
        compile_features(engine)
        view = engine.view(None if as_of is None else parse_instant(as_of))
        name = engine.market.instruments.named(symbol).symbol
        with phase("Composing, and asking each model why"):
            told = explain(engine, view, name, top)
        under_way = engine.trainer.under_way()
        warn_about(told.report, engine)
    finally:
        engine.close()
    if as_json:
        body = {"signal": told.signal, "features": told.features}
        print_json(to_json(body))
        return
    console = open_answer()
    _print_head(console, told.signal)
    console.print(_layers(told.signal))
    for line in _missing(told.signal, {key: str(one) for key, one in under_way.items()}):
        console.print(f"[yellow]missing[/]  {escape(line)}")
    _print_models(console, told)
    _print_figures(console, "Risk", told.signal.risk)
    _print_figures(console, "Size", told.signal.sizing)


def _print_head(console: Console, signal: Signal) -> None:
    console.print(
        f"[bold]{escape(signal.symbol)}[/] as of {signal.as_of}, {signal.horizon} ahead: "
        f"[bold]{signal.direction.value}[/], score {signal.score:+.1f}, confidence "
        f"{signal.confidence:.0f}{'' if signal.calibrated else ' (orders signals, no chance)'}"
    )
    if signal.regime is not None:
        console.print(_regime(signal.regime))


def _regime(state: RegimeReport) -> str:
    multiplier = f"sizes times {state.position_multiplier or 0.0:.2f}"
    if state.name == UNKNOWN_REGIME:
        return f"Regime unknown: its states have not earned trust ({state.trust:.2f}); {multiplier}"
    chances = ", ".join(f"{n} {p:.0%}" for n, p in state.probability.items() if p is not None)
    return (
        f"Regime {escape(f'{state.name} ({chances})')}, trust {state.trust:.2f}; chance of a "
        f"change within a candle {state.change_probability or 0.0:.1%}, {multiplier}"
    )


def _layers(signal: Signal) -> Table:
    table = Table(title="What each layer adds to the score", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("layer", no_wrap=True)
    for name in ("score", "weight", "adds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("because")
    for layer in sorted(signal.layers, key=lambda one: -abs(_added(one))):
        added = _added(layer)
        bar = "█" * round(_BAR * min(abs(added), 100.0) / 100.0)
        table.add_row(
            escape(layer.name),
            "" if layer.score is None else f"{layer.score:+.1f}",
            f"{layer.weight:.0%}",
            f"{added:+.1f}",
            f"[{'green' if added > 0 else 'red'}]{bar}",
            escape(_first(layer.evidence)) if layer.score is not None else layer.status.value,
        )
    return table


def _added(layer: LayerReport) -> float:
    return 0.0 if layer.score is None else layer.score * layer.weight


def _first(evidence: Mapping[str, float | None], count: int = 5) -> str:
    """Return the first pieces of evidence: layers name the most telling ones first."""
    known = [(name, value) for name, value in evidence.items() if value is not None]
    return ", ".join(f"{name} {value:.4g}" for name, value in known[:count])


def _missing(signal: Signal, under_way: Mapping[str, str]) -> list[str]:
    gone = {**signal.missing_layers, **signal.missing_models}
    return [f"{name}: {under_way.get(name, why)}" for name, why in gone.items()]


def _print_models(console: Console, told: Explanation) -> None:
    for one in told.signal.forecasts:
        quantiles = ", ".join(
            f"{level}: {value:+.2%}" for level, value in one.quantiles.items() if value is not None
        )
        console.print(
            f"[bold]{escape(one.model)}[/] {escape(one.artifact[:8])}, trust {one.trust:.2f}: "
            f"chance of a rise {one.probability_up or 0.0:.1%}, mean {one.mean or 0.0:+.2%}  "
            f"[dim]{escape(quantiles)}"
        )
        features = told.features.get(one.model, {})
        if features:
            moved = ", ".join(f"{name} {value:+.3f}" for name, value in features.items())
            console.print("  " + moved, markup=False)


def _print_figures(console: Console, title: str, figures: Mapping[str, float | str | None]) -> None:
    known = [
        f"{name} {value}" if isinstance(value, str) else f"{name} {value:.4g}"
        for name, value in figures.items()
        if value is not None
    ]
    if known:
        console.print(f"[bold]{title}[/]  " + escape(", ".join(known)))
