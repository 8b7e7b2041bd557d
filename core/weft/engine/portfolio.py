"""Portfolio risk of given positions, measured by the component that the composition chose."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from weft.components.contract_checks import checked_portfolio_estimate
from weft.components.portfolio_risk import PortfolioEstimate
from weft.engine.engine import Engine
from weft.foundation.calls import call
from weft.foundation.errors import ConfigError
from weft.foundation.times import iso


@dataclass(frozen=True, slots=True)
class MeasuredPortfolio:
    """Positions, and what the chosen component measured of them.

    Attributes:
        component: name of the component.
        as_of: the decision row, microseconds since 1970; nothing known later went in.
        positions: signed fraction of the equity by symbol, none of them 0.
        estimate: the component's answer; symbols without any candle by `as_of` are left out.
    """

    component: str
    as_of: int
    positions: Mapping[str, float]
    estimate: PortfolioEstimate


def measure_portfolio(
    engine: Engine, positions: Mapping[str, float], as_of: int | None = None
) -> MeasuredPortfolio:
    """Return what positions can lose together, as known at a decision row.

    Args:
        engine: reads the store and holds the component.
        positions: signed fraction of the equity by symbol, in any spelling; spellings of one
            symbol add up, and fractions of 0 are passed over.
        as_of: microseconds since 1970; None for the newest decision row.

    Raises:
        ConfigError: the configuration chooses no portfolio risk.
        UnknownSymbolError: no provider has brought one of the symbols.
        LookAheadError: `as_of` lies in the future.
        NoDataError: nothing was known by then, or too little to measure anything.
        ComponentError: the component failed, or its answer breaks the contract.
    """
    configured = engine.composition.portfolio_risk
    if configured is None:
        raise ConfigError(
            "no component measures the risk of a portfolio",
            where="portfolio_risk",
            hint="Set portfolio_risk.use to one; `weft plugins list` shows those installed",
        )
    component, title = configured.component, configured.component.title()
    deadline = configured.policy.deadline_seconds
    held = _by_symbol(engine, positions)
    rows = call(title, lambda: component.rows(engine.composition.interval), deadline)
    view = engine.view(as_of, rows)
    known = {symbol: held[symbol] for symbol in view.symbols if symbol in held}
    estimate = PortfolioEstimate(losses=None)
    if known:
        # Compiling would count against the component's deadline.
        engine.features.compile(engine.step_features())
        seen = view.restricted(component.needs, title)
        answer = call(title, lambda: component.measure(seen, MappingProxyType(known)), deadline)
        estimate = checked_portfolio_estimate(answer, known, title)
    unseen = {s: f"no candle by {iso(view.as_of)}" for s in sorted(held.keys() - known.keys())}
    estimate = replace(estimate, left_out={**estimate.left_out, **unseen})
    return MeasuredPortfolio(component.name, view.as_of, held, estimate)


def _by_symbol(engine: Engine, positions: Mapping[str, float]) -> dict[str, float]:
    """Return the fractions other than 0 by the symbols that their names stand for."""
    fractions: dict[str, float] = {}
    for name, fraction in positions.items():
        symbol = engine.market.instruments.named(name).symbol
        fractions[symbol] = fractions.get(symbol, 0.0) + fraction
    return {symbol: fraction for symbol, fraction in fractions.items() if fraction}
