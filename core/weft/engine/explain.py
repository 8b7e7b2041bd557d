"""Explaining: the evidence behind a signal, down to the features of each model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from weft.components.contract_checks import checked_contributions
from weft.components.model import Model
from weft.domain.signal import Report, Signal, number
from weft.engine.engine import Engine
from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import NoDataError
from weft.market.view import View


@dataclass(frozen=True, slots=True)
class Explanation:
    """A signal, and the features behind each model's forecast.

    Attributes:
        report: all signals of the row.
        signal: the explained signal.
        features: contributions of the strongest features to each model's forecast, in units of
            the model, the strongest first.
    """

    report: Report
    signal: Signal
    features: Mapping[str, Mapping[str, float]]


def explain(engine: Engine, view: View, symbol: str, top: int = 8) -> Explanation:
    """Return the explanation of a symbol's signal at the last decision row of a view.

    Args:
        engine: that composes.
        view: the data.
        symbol: of the signal.
        top: largest number of features of each model.

    Raises:
        NoDataError: the symbol has no signal at that row.
    """
    composed = engine.compose(view)
    report = engine.report(composed)
    signal = next((s for s in report.signals if s.symbol == symbol), None)
    if signal is None:
        raise NoDataError(
            f"{symbol} has no signal at {report.as_of}: "
            f"{report.omitted.get(symbol, 'its candles begin only later')}"
        )
    column = view.symbols.index(symbol)
    learned = engine.active_artifacts(view).learned
    features: dict[str, dict[str, float]] = {}
    for configured in engine.composition.models:
        name, model = configured.policy.name, configured.component
        if name not in composed.forecasts:
            continue
        ready = learned[f"models.{name}"].ready
        seen = composed.view.restricted(model.needs, f"model {name}", ready)
        deadline = configured.policy.deadline_seconds
        outcome = engine.composition.calls.attempt(
            f"model {name}", partial(_contributions, model, seen, name), deadline
        )
        added = {n: number(panel[-1, column]) for n, panel in (outcome.value or {}).items()}
        known = {n: value for n, value in added.items() if value}
        strongest = sorted(known, key=lambda n: -abs(known[n]))[:top]
        features[name] = {n: known[n] for n in strongest}
    return Explanation(report, signal, features)


def _contributions(model: Model, view: View, name: str) -> Mapping[str, FloatPanel]:
    return checked_contributions(model.contributions(view), view, f"model {name}")
