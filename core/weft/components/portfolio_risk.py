"""Portfolio risks: what positions in several symbols can lose together."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from weft.components.base import Component

if TYPE_CHECKING:
    from weft.foundation.times import Interval
    from weft.market.view import View

Fact: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class PortfolioLosses:
    """Losses of a portfolio over a horizon, as fractions of the equity; negative for gains.

    Attributes:
        horizon: decision rows ahead.
        value_at_risk: by confidence level, such as 0.95: the loss that the portfolio exceeds with
            a probability of 1 - level by the end of the horizon.
        expected_shortfall: by the same levels: the mean loss in the worst 1 - level of cases.
        drawdown: by probability, such as 0.5 for the median: quantiles of the deepest fall from
            an earlier high within the horizon; empty where they are not estimated.
    """

    horizon: int
    value_at_risk: Mapping[float, float]
    expected_shortfall: Mapping[float, float]
    drawdown: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PositionRisk:
    """One position's part in the risk of the portfolio.

    Attributes:
        contribution: its part in the expected shortfall at `PortfolioEstimate.contribution_level`,
            as a fraction of the equity; negative for a hedge.
        volatility: deviation of the symbol's log return over one candle; None where not estimated.
        returns: number of returns that the volatility was estimated from; None where it was not.
    """

    contribution: float
    volatility: float | None = None
    returns: int | None = None


@dataclass(frozen=True, slots=True)
class CorrelationRepair:
    """Changes that made a matrix of estimated correlations positive definite.

    Attributes:
        needed: whether any correlation was changed.
        least_eigenvalue: smallest eigenvalue of the estimated matrix; a matrix with one below 0
            is no correlation matrix.
        largest_change: largest absolute change of a correlation.
        distance: Frobenius norm of all changes.
    """

    needed: bool
    least_eigenvalue: float
    largest_change: float
    distance: float


@dataclass(frozen=True, slots=True)
class PortfolioEstimate:
    """The risk of a portfolio as of one decision row.

    Attributes:
        losses: of all measured positions; None where no position could be measured.
        positions: the measured positions by symbol; their contributions add up to the expected
            shortfall at `contribution_level`.
        contribution_level: confidence level of the contributions, one of those of `losses`.
        left_out: symbols of the positions that could not be measured, and why. Each position is
            either measured or left out.
        stresses: losses under changed assumptions, by name, such as ``volatility_2x``.
        shocks: loss if a past event came again, by its name, as a fraction of the equity.
        repair: of the estimated correlations; None where none were estimated.
        basis: what the estimate rests on, by name: rows, first and last instant, paths, seed.
        notes: limits of the estimate that its reader has to know.
    """

    losses: PortfolioLosses | None
    positions: Mapping[str, PositionRisk] = field(default_factory=dict)
    contribution_level: float = 0.95
    left_out: Mapping[str, str] = field(default_factory=dict)
    stresses: Mapping[str, PortfolioLosses] = field(default_factory=dict)
    shocks: Mapping[str, float] = field(default_factory=dict)
    repair: CorrelationRepair | None = None
    basis: Mapping[str, Fact] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class PortfolioRisk(Component):
    """Measures what positions in several symbols can lose together. It changes no signal.

    Example::

        class Historical(PortfolioRisk):
            name = "historical"
            needs = [candles(warmup=0)]

            def rows(self, interval):
                return 501

            def measure(self, view, positions):
                close = view.candles().close
                returns = dict(zip(view.symbols, (close[1:] / close[:-1] - 1.0).T))
                known = [symbol for symbol in positions if np.isfinite(returns[symbol]).all()]
                missing = {s: "a return is missing" for s in positions if s not in known}
                if not known:
                    return PortfolioEstimate(None, left_out=missing)
                losses = np.stack([-positions[symbol] * returns[symbol] for symbol in known])
                worst = losses[:, np.argsort(losses.sum(axis=0))[-25:]]
                total = worst.sum(axis=0)
                parts = dict(zip(known, map(PositionRisk, worst.mean(axis=1))))
                estimate = PortfolioLosses(1, {0.95: total[0]}, {0.95: total.mean()})
                return PortfolioEstimate(estimate, parts, left_out=missing)
    """

    kind: ClassVar[str] = "portfolio_risk"

    def rows(self, interval: "Interval") -> int:
        """Return how many decision rows the view of `measure` has: 1 unless overridden.

        Args:
            interval: the decision interval.
        """
        del interval
        return 1

    @abstractmethod
    def measure(self, view: "View", positions: Mapping[str, float]) -> PortfolioEstimate:
        """Return the risk of positions as of the view's last decision row.

        Args:
            view: what was known; `view.horizon` is how far ahead signals look.
            positions: signed fraction of the equity by symbol, at least one, none of them 0; each
                symbol is a column of the view.
        """
