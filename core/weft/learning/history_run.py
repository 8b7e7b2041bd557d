"""Decisions of a composition over a long history, composed block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weft.components.ensemble import Fusion
from weft.components.model import Forecast, RegimeState, TrustedForecast
from weft.components.needs import Need
from weft.components.risk import Levels
from weft.components.trained import ComposedDecisions, TrainingProgress, ignore_progress
from weft.compose.composing import Composed, compose
from weft.compose.composition import Composition
from weft.domain.calendar import BLOCK
from weft.foundation.arrays import FloatPanel
from weft.learning.champions import ActiveArtifacts
from weft.market.market import Market
from weft.market.view import View

ROWS_AT_ONCE: Final = BLOCK
"""Decision rows of a block: with fewer, most of the work would be warm-up."""

_Cells: TypeAlias = tuple[slice, NDArray[np.int64]]


def compose_history(
    composition: Composition,
    market: Market,
    last: int,
    rows: int,
    *,
    needs: Sequence[Need],
    active: ActiveArtifacts,
    progress: TrainingProgress = ignore_progress,
    at_once: int = ROWS_AT_ONCE,
) -> tuple[View, ComposedDecisions]:
    """Return a view of many decision rows, and the decisions of a composition on them.

    Rows are composed in blocks, each with its own view and warm-up. No row depends on the rows
    composed with it, so the numbers equal those of one view of all rows, to the last bit. Memory
    holds one block and the returned panels.

    The decisions hold score, confidence, direction and `calibrated` of the fusion and the prices of
    the levels, without layer weights and risk figures. The view holds the universe, the regime and
    the forecasts of its rows. Where a component gave no result on a block, or a symbol had not
    traded by its end, these are NaN, and score and direction are 0.

    Args:
        composition: composition to run; without its deadlines.
        market: source of the views.
        last: last decision row, microseconds since 1970.
        rows: number of decision rows.
        needs: needs of the component that receives the view.
        active: artifacts of the trained components as of the first row.
        progress: called with the number of composed rows.
        at_once: rows in a calendar block.

    Raises:
        NoDataError: no instrument had a candle by the end of the first block.
        ComponentError: a required component failed.
    """
    unhurried = composition.unhurried()
    view = market.planned_for(needs).view(last, rows)
    history = _History(view)
    # Blocks follow the calendar: the rows of a block then do not depend on the span, and features,
    # which start at the same blocks, need the least warm-up.
    first_block = at_once - view.interval.index(int(view.times[0])) % at_once
    for start, stop in pairwise([0, *range(first_block, rows, at_once), rows]):
        block = market.view(int(view.times[stop - 1]), stop - start)
        composed = compose(unhurried, block, active.learned, active.problems)
        history.add(slice(start, stop), composed)
        progress(stop, rows, composed=stop / rows)
    return history.result_view(), history.decisions()


def first_half(progress: TrainingProgress) -> TrainingProgress:
    """Return a progress callback scaled to the first half of the bar."""

    def report(done: float, total: float, **figures: float) -> None:
        progress(done, 2.0 * total, **figures)

    return report


def second_half(progress: TrainingProgress) -> TrainingProgress:
    """Return a progress callback scaled to the second half of the bar."""

    def report(done: float, total: float, **figures: float) -> None:
        progress(total + done, 2.0 * total, **figures)

    return report


@dataclass(slots=True)
class _History:
    """Panels over all rows of a view, filled block by block."""

    view: View
    calibrated: bool = True
    regime: RegimeState | None = None
    forecasts: dict[str, TrustedForecast] = field(default_factory=dict)
    panels: dict[str, NDArray[Any]] = field(default_factory=dict)

    def add(self, block: slice, composed: Composed) -> None:
        """Copy the results of a block of rows."""
        # A symbol that had not traded by the end of the block has no column in its view.
        place = {symbol: number for number, symbol in enumerate(self.view.symbols)}
        cells = block, np.array([place[symbol] for symbol in composed.view.symbols])
        fusion, levels = composed.fusion, composed.levels
        self.calibrated = self.calibrated and fusion.calibrated
        self._put("universe", cells, composed.universe, np.False_)
        self._put("score", cells, fusion.score, 0.0)
        self._put("confidence", cells, fusion.confidence, 0.0)
        self._put("direction", cells, fusion.direction, np.int8(0))
        self._put("entry", cells, levels.entry)
        self._put("stop_loss", cells, levels.stop_loss)
        self._put("take_profit", cells, levels.take_profit)
        if composed.regime is not None:
            self._add_regime(block, composed.regime)
        for name, forecast in composed.forecasts.items():
            self._add_forecast(name, cells, forecast)

    def _add_regime(self, block: slice, state: RegimeState) -> None:
        states = np.arange(len(state.names))
        probability = self._put("regime", (block, states), state.probability, width=len(states))
        self.regime = replace(state, probability=probability)

    def _add_forecast(self, name: str, cells: _Cells, trusted: TrustedForecast) -> None:
        block = trusted.forecast

        def put(part: str, panel: FloatPanel) -> FloatPanel:
            return self._put(f"{name} {part}", cells, panel)

        forecast = Forecast(
            mean=put("mean", block.mean),
            probability_up=put("probability_up", block.probability_up),
            quantiles={n: put(f"quantile {n}", panel) for n, panel in block.quantiles.items()},
            evidence={n: put(f"evidence {n}", panel) for n, panel in block.evidence.items()},
        )
        self.forecasts[name] = replace(trusted, forecast=forecast)

    def _put(
        self,
        name: str,
        cells: _Cells,
        values: NDArray[Any],
        blank: float | np.generic = np.nan,
        width: int | None = None,
    ) -> NDArray[Any]:
        """Copy values into the panel of that name; a new panel is blank."""
        if name not in self.panels:
            shape = (self.view.steps, len(self.view.symbols) if width is None else width)
            self.panels[name] = np.full(shape, blank)
        self.panels[name][cells] = values
        return self.panels[name]

    def result_view(self) -> View:
        """Return the view with universe, regime and forecasts."""
        view = self.view.with_universe(self.panels["universe"])
        return view.with_regime(self.regime).with_forecasts(self.forecasts)

    def decisions(self) -> ComposedDecisions:
        """Return the decisions on all rows."""
        panels = self.panels
        return ComposedDecisions(
            Fusion(
                score=panels["score"],
                confidence=panels["confidence"],
                direction=panels["direction"],
                weights={},
                calibrated=self.calibrated,
            ),
            Levels(panels["entry"], panels["stop_loss"], panels["take_profit"]),
        )
