"""Stop, target and possible losses of a signal, by simulated paths of a jump diffusion."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import FeatureNeed, Need, candles, feature
from weft.components.risk import Levels, Risk
from weft.foundation.arrays import BoolPanel, FloatPanel, IntPanel
from weft.market.view import View
from weft_plugins.risks.atr_levels import entry_prices, levels_at
from weft_plugins.risks.monte_carlo.barriers import NO_JUMPS, Shape, Table, shape_table
from weft_plugins.risks.monte_carlo.cells import STRESSES, first_passage, losses
from weft_plugins.risks.monte_carlo.fits import Fits, Spans, fit_cells
from weft_plugins.risks.monte_carlo.shocks import SHOCKS
from weft_plugins.risks.monte_carlo.uncertainty import expected_volatility, long_run_variance
from weft_plugins.risks.monte_carlo.wicks import Wicks, wicks_of
from weft_plugins.risks.sessions import closed, log_returns, paces

_FACTORS = 9
_BITCOIN = "BTC"
_LOSSES = ("var_95", "var_99", "cvar_95", "cvar_99", "drawdown_median", "drawdown_95")
_STRESSES = tuple(f"stress_{times}x_var_99" for times in STRESSES)


class MonteCarlo(Risk):
    """Sets levels and states possible losses by simulating Merton's jump diffusion (1976).

    All figures are of the signal's horizon (`View.horizon` decision rows).

    **Levels.** The stop and the target start a number of average true ranges from the close. Where
    the stop is reached first on more than a share `most_stopped` of the paths, both move away from
    the close by the same factor, which keeps the ratio of gain to loss: the smallest of nine
    factors up to `widest` that is enough, or else the widest.

    **Paths.** The paths of each point on a lattice of jump shapes are simulated once, in units of a
    candle's volatility, and all cells share them. A cell interpolates between the four points
    around its own fit, and its volatility scales the paths. A row therefore has the same figures
    among few rows and among many, and two cells differ by their markets, not by random draws.
    Prices have no drift: over a horizon, the error of an estimated drift is larger than the drift.

    **Volatility.** The variance expected lies halfway between the recent one and the long-run one
    (Corsi 2009). Each path draws its volatility, lognormal around the expected one (Hull and
    White 1987); its spread is estimated from how far past expectations were off over horizons that
    have ended. On 16 perpetuals of 2020 to 2025, 24 hours ahead, `var_95` was exceeded in 4.3 % of
    hours on the long side and 5.1 % on the short, `var_99` in 0.9 and 1.2 %.

    **Wicks.** Between two closes prices go further than the paths do. How much further is estimated
    from the highs and lows of the long run, and levels count as that much nearer (`Wicks`). On the
    same perpetuals, 24 hours ahead, the stop was reached first in 39.5 % of cases where 37.6 % were
    stated, the target in 21.9 % where 20.3 % were; levels below the close more often than stated,
    those above it hardly.

    **Markets with sessions.** The first candle of a session holds the overnight move, and the
    horizon has as many candles as the same rows of an earlier week (`paces`). On six US stocks,
    mostly 2023 to 2025, 24 hours ahead, with an exit at the next opening where the market was
    closed by then, `var_95` was exceeded in 5.7 % of hours on the long side and 4.5 % on the short,
    `var_99` in 1.8 and 0.7 %.

    **Figures.** Losses are fractions of the position's value on the side of the signal, long for
    NEUTRAL, and negative for gains:

    - `var_95`, `var_99`, `cvar_95`, `cvar_99`: value at risk and expected shortfall at the horizon;
    - `drawdown_median`, `drawdown_95`: quantiles of the deepest fall from a high on the way;
    - prefix `gbm_`: the same without jumps and at the expected volatility;
    - `stress_2x_var_99` and so on: `var_99` at a multiple of the volatility;
    - `shock_...`: the loss if a past fall of the market came again;
    - `stop_first`, `target_first`, `neither`: chances within the horizon, NaN for NEUTRAL. A level
      is reached where a price between two closes touches it; where one candle touches both levels,
      the stop counts.
    - `volatility`, `jump_intensity`, `jump_mean`, `jump_deviation`: per candle;
    - `volatility_uncertainty`: deviation of the logarithm of the volatility over the horizon, 0.35
      where it is often off by a factor of 1.4;
    - `wicks_above`, `wicks_below`: how far candles reach to either side over how far they close
      from the close before, 1 for Brownian motion, NaN where highs and lows hold no information;
    - `widened`: the factor by which the levels moved away.

    Where too little history is known the figures are NaN, and the levels are those of the ranges.
    """

    name = "monte_carlo"

    class Config(ComponentConfig):
        """Options."""

        paths: int = Field(default=10_000, ge=200, le=200_000, description="simulated paths")
        seed: int = Field(default=0, ge=0, description="of the random numbers")
        window: int = Field(default=720, ge=100, description="candles the jumps are estimated from")
        refit: int = Field(default=24, ge=1, description="candles between two such estimates")
        volatility_window: int = Field(
            default=24, ge=2, description="returns in the volatility of now"
        )
        long_volatility_window: int = Field(
            default=2160, ge=2, description="candles in the volatility of the long run"
        )
        uncertainty_window: int = Field(
            default=2160, ge=100, description="candles that tell how far off the volatility is"
        )
        atr_window: int = Field(default=14, ge=2, description="candles the range is averaged over")
        stop_atr: float = Field(
            default=2.0, gt=0, description="least distance of the stop loss, in ranges"
        )
        target_atr: float = Field(
            default=3.0, gt=0, description="least distance of the take profit, in ranges"
        )
        most_stopped: float = Field(
            default=0.4, gt=0, le=1, description="chance that the stop is reached first, at most"
        )
        widest: float = Field(
            default=2.0, ge=1, le=10, description="most that the distances are multiplied by"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Candles and volatility over the windows before the estimates of the first row."""
        return [
            candles(warmup=self._reach),
            self._volatility,
            feature("atr", window=self.config.atr_window),
        ]

    @property
    def _reach(self) -> int:
        # The volatility expected at the first row of the window needs the long run before it.
        return self._lookback + (self._blocks + 1) * self.config.refit + 1

    @property
    def _lookback(self) -> int:
        return max(self.config.window, self.config.uncertainty_window) + self.config.refit

    @property
    def _blocks(self) -> int:
        return -(-self.config.long_volatility_window // self.config.refit)

    @property
    def _volatility(self) -> FeatureNeed:
        window = self.config.volatility_window
        return feature("volatility", lookback=self._lookback, window=window)

    def levels(self, view: View, fusion: Fusion) -> Levels:
        """Return levels on the side of the signal, and the figures of its horizon.

        Levels are NaN for NEUTRAL and closed markets.
        """
        config = self.config
        fits, wicks = self._fitted(view), self._wicks(view)
        reach = view.feature("atr", window=config.atr_window)
        close = entry_prices(view, reach)
        factor = self._widened(fits, wicks, close, fusion.direction, reach)
        stop, target = self._levels(close, fusion.direction, reach, factor)
        stopped, reached = self._chances(fits, wicks, close, stop, target)
        figures = {
            **self._losses(fits, fusion.direction),
            **_shocks(view, fusion.direction, fits.known),
            "stop_first": stopped,
            "target_first": reached,
            "neither": 1.0 - stopped - reached,
            "widened": np.where(np.isnan(stopped), np.nan, factor),
            "volatility": fits.deviation,
            "volatility_uncertainty": fits.uncertainty,
            "wicks_above": np.where(fits.known, wicks.above, np.nan),
            "wicks_below": np.where(fits.known, wicks.below, np.nan),
            "jump_intensity": fits.intensity,
            "jump_mean": fits.jump_mean,
            "jump_deviation": fits.jump_deviation,
        }
        return Levels(entry=close, stop_loss=stop, take_profit=target, figures=figures)

    def _fitted(self, view: View) -> Fits:
        config, index = self.config, view.interval.index(view.as_of)
        candles_ = view.candles()
        change = log_returns(candles_)
        long = long_run_variance(change, index, config.refit, self._blocks)
        return fit_cells(
            change,
            closed(candles_),
            expected_volatility(view.feature(self._volatility), long),
            paces(candles_, view.steps, view.horizon, self._reach),
            index,
            Spans(config.window, config.uncertainty_window, view.horizon, config.refit),
        )

    def _wicks(self, view: View) -> Wicks:
        candles_, index = view.candles(), view.interval.index(view.as_of)
        # Older candles lie before the blocks of the long run.
        rows = slice(-(view.steps + (self._blocks + 1) * self.config.refit + 1), None)
        wicks = wicks_of(
            candles_.high[rows],
            candles_.low[rows],
            candles_.marked_close()[rows],
            index,
            self.config.refit,
            self._blocks,
        )
        return Wicks(wicks.above[-view.steps :], wicks.below[-view.steps :])

    def _table(self, shape: Shape, horizon: int) -> Table:
        return shape_table(shape, horizon, self.config.paths, self.config.seed)

    def _levels(
        self, close: FloatPanel, direction: IntPanel, reach: FloatPanel, factor: FloatPanel
    ) -> tuple[FloatPanel, FloatPanel]:
        ranges = factor * reach
        return levels_at(
            close, direction, self.config.stop_atr * ranges, self.config.target_atr * ranges
        )

    def _widened(
        self,
        fits: Fits,
        wicks: Wicks,
        close: FloatPanel,
        direction: IntPanel,
        reach: FloatPanel,
    ) -> FloatPanel:
        """Return the factor that the distances of each cell are multiplied by."""
        factors = np.ones_like(close)
        narrow = fits.known & (direction != 0)
        for factor in np.geomspace(1.0, self.config.widest, _FACTORS):
            factors[narrow] = factor
            levels = self._levels(close, direction, reach, np.full_like(close, factor))
            stopped, _ = self._chances(fits, wicks, close, *levels)
            narrow &= stopped > self.config.most_stopped
            if not narrow.any():
                break
        return factors

    def _chances(
        self,
        fits: Fits,
        wicks: Wicks,
        close: FloatPanel,
        stop: FloatPanel,
        target: FloatPanel,
    ) -> tuple[FloatPanel, FloatPanel]:
        """Return the chances that the stop, and the target, is reached first."""
        priced = fits.known & ~np.isnan(stop + target)
        stopped, reached = (np.where(priced, 0.0, np.nan) for _ in range(2))
        for shape, weights in fits.weights.items():
            cells = priced & (weights > 0.0)
            weight, entry = weights[cells], close[cells]
            chances = first_passage(
                self._table(shape, fits.horizon),
                np.where(target[cells] > stop[cells], 1.0, -1.0),
                fits.width[cells],
                fits.uncertainty[cells],
                np.abs(np.log(stop[cells] / entry)),
                np.abs(np.log(target[cells] / entry)),
                # In units of the paths' steps, like the other distances.
                (wicks.above / fits.pace)[cells],
                (wicks.below / fits.pace)[cells],
            )
            stopped[cells] += weight * chances[0]
            reached[cells] += weight * chances[1]
        return stopped, reached

    def _losses(self, fits: Fits, direction: IntPanel) -> Mapping[str, FloatPanel]:
        """Return the losses with jumps, without jumps, and under stress."""
        nothing = np.where(fits.known, 0.0, np.nan)
        figures = {name: nothing.copy() for name in (*_LOSSES, *_STRESSES)}
        plain = {name: nothing.copy() for name in _LOSSES}
        for long in (True, False):
            side = fits.known & ((direction >= 0) == long)
            for shape, weights in fits.weights.items():
                cells = side & (weights > 0.0)
                lost = losses(
                    self._table(shape, fits.horizon),
                    long,
                    fits.width[cells],
                    fits.uncertainty[cells],
                )
                for name, panel in figures.items():
                    panel[cells] += weights[cells] * lost[name]
            lost = losses(
                self._table(NO_JUMPS, fits.horizon),
                long,
                fits.width[side],
                np.zeros(int(side.sum())),
            )
            for name, panel in plain.items():
                panel[side] = lost[name]
        return figures | {f"gbm_{name}": panel for name, panel in plain.items()}


def _shocks(view: View, direction: IntPanel, known: BoolPanel) -> Mapping[str, FloatPanel]:
    """Return the loss of a position if a past fall of the market came again."""
    bitcoin = np.array([i.base == _BITCOIN for i in view.instruments], dtype=np.bool_)
    side = np.where(direction >= 0, 1.0, -1.0)
    return {
        f"shock_{shock.name}": np.where(
            known, -side * np.where(bitcoin, shock.bitcoin, shock.others), np.nan
        )
        for shock in SHOCKS
    }
