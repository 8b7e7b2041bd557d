"""The report of `weft risk` and of ``GET /risk``: what positions can lose together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.components.portfolio_risk import CorrelationRepair, Fact, PortfolioLosses
from weft.compose.reporting import span_name
from weft.domain.signal import Direction, Signal
from weft.engine.engine import Engine
from weft.engine.portfolio import MeasuredPortfolio, measure_portfolio
from weft.foundation.times import Interval, iso

_SIDES = {Direction.LONG: 1.0, Direction.SHORT: -1.0, Direction.NEUTRAL: 0.0}


@dataclass(frozen=True, slots=True)
class Position:
    """One position, and its part in what the portfolio can lose.

    Attributes:
        symbol: of the position.
        fraction: of the equity, negative for a short.
        volatility: deviation of the log return of one candle; null where not estimated.
        returns: number of returns that the volatility was estimated from; null where it was not.
        contribution: part of the position in the expected shortfall that `RiskReport` names in
            `contributions_to`, as a fraction of the equity, negative for a hedge.
    """

    symbol: str
    fraction: float
    volatility: float | None
    returns: int | None
    contribution: float


@dataclass(frozen=True, slots=True)
class RiskReport:
    """What positions can lose together.

    A block of figures names its horizon under ``horizon`` (such as ``12h``). ``var_95`` is the loss
    exceeded in 5 % of cases, ``cvar_95`` the mean loss in these cases (the expected shortfall),
    ``drawdown_median`` and ``drawdown_95`` are quantiles of the deepest fall from a high on the
    way; all are fractions of the equity.

    Attributes:
        as_of: the decision row, ISO 8601 UTC; nothing known later went in.
        component: the portfolio risk that measured, by its name.
        gross: sum of the sizes of all positions measured, as a fraction of the equity.
        net: the same, with shorts subtracted.
        positions: those measured, the largest contribution first.
        contributions_to: the figure that the contributions add up to, such as ``cvar_95``.
        figures: as measured; null where there is no position.
        stresses: the same figures under changed assumptions, by name.
        shocks: loss if a past event came again, negative for a gain.
        repair: of the estimated correlations; null where none were estimated.
        left_out: positions that are in none of the figures, and why.
        notes: limits of the figures.
        measured: what the figures rest on.
    """

    as_of: str
    component: str
    gross: float
    net: float
    positions: tuple[Position, ...]
    contributions_to: str
    figures: Mapping[str, float | str] | None
    stresses: Mapping[str, Mapping[str, float | str]]
    shocks: Mapping[str, float]
    repair: CorrelationRepair | None
    left_out: Mapping[str, str]
    notes: tuple[str, ...]
    measured: Mapping[str, Fact]


def positions_of(signals: Iterable[Signal]) -> dict[str, float]:
    """Return the fraction of the equity that each signal would have in its symbol."""
    return {signal.symbol: _SIDES[signal.direction] * signal.position_size for signal in signals}


def report_portfolio(
    engine: Engine, positions: Mapping[str, float], as_of: int | None = None
) -> RiskReport:
    """Return what positions can lose together, as known at a decision row.

    Args:
        engine: reads the store and holds the component.
        positions: signed fraction of the equity by symbol.
        as_of: microseconds since 1970; None for the newest decision row.

    Raises:
        WeftError: see `measure_portfolio`.
    """
    portfolio = measure_portfolio(engine, positions, as_of)
    estimate, composition = portfolio.estimate, engine.composition
    interval = composition.interval
    fractions = [portfolio.positions[symbol] for symbol in estimate.positions]
    return RiskReport(
        as_of=iso(portfolio.as_of),
        component=portfolio.component,
        gross=sum(map(abs, fractions)),
        net=sum(fractions),
        positions=_positions(portfolio),
        contributions_to=f"cvar_{_percent(estimate.contribution_level)}",
        figures=None if estimate.losses is None else _figures(estimate.losses, interval),
        stresses={name: _figures(s, interval) for name, s in estimate.stresses.items()},
        shocks=estimate.shocks,
        repair=estimate.repair,
        left_out=estimate.left_out,
        notes=estimate.notes,
        measured={
            **estimate.basis,
            "data": composition.data_kind.value,
            "interval": interval.name,
            "horizon_candles": composition.horizon_candles,
        },
    )


def _positions(portfolio: MeasuredPortfolio) -> tuple[Position, ...]:
    positions = [
        Position(
            symbol,
            portfolio.positions[symbol],
            measured.volatility,
            measured.returns,
            measured.contribution,
        )
        for symbol, measured in portfolio.estimate.positions.items()
    ]
    return tuple(sorted(positions, key=lambda position: (-position.contribution, position.symbol)))


def _figures(losses: PortfolioLosses, interval: Interval) -> dict[str, float | str]:
    """Return losses as figures by name, and their horizon."""
    return {
        "horizon": span_name(losses.horizon, interval),
        **{f"var_{_percent(level)}": loss for level, loss in losses.value_at_risk.items()},
        **{f"cvar_{_percent(level)}": loss for level, loss in losses.expected_shortfall.items()},
        **{
            "drawdown_median" if share == 0.5 else f"drawdown_{_percent(share)}": fall
            for share, fall in losses.drawdown.items()
        },
    }


def _percent(level: float) -> str:
    """Return a level in percent, as figures are named: 95, or 97.5."""
    return f"{100.0 * level:g}"
