"""What a composition said over a long history: composed some rows at a time, told as a whole."""

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
"""Decision rows composed at once: with fewer, most of the work would be their warm-up."""

_Cells: TypeAlias = tuple[slice, NDArray[np.int64]]


def compose_history(
    composition: Composition,
    market: Market,
    last: int,
    rows: int,
    *,
    needs: Sequence[Need],
    in_use: ActiveArtifacts,
    progress: TrainingProgress = ignore_progress,
    at_once: int = ROWS_AT_ONCE,
) -> tuple[View, ComposedDecisions]:
    """Return a view of many decision rows, and what the composition said on them.

    Rows are composed block by block, each on a view of its own with its own warm-up. No row
    depends on how many others are composed with it, so that the numbers are those of one view of
    all rows, to the last bit; memory holds one block, and the panels that are told.

    Of the fusion, score, confidence, direction and `calibrated` are kept, of the levels the
    prices; layer weights and figures of the risk are dropped. The view knows the universe, the
    regime and the forecasts of its rows. Where a component did not answer on a block, or a symbol
    had not traded yet by the end of one, these are NaN, and a score or a direction is 0.

    Args:
        composition: whose opinions; its deadlines are lifted.
        market: gives the views that are composed.
        last: the last decision row, microseconds since 1970.
        rows: decision rows.
        needs: what the view that is returned is for.
        in_use: what the trained components had learnt by the first row.
        progress: told how many of the rows are composed.
        at_once: rows in a block of the calendar.

    Raises:
        NoDataError: no instrument had a candle by the end of the first block.
        ComponentError: a component that must not be missing failed.
    """
    unhurried = composition.unhurried()
    view = market.planned_for(needs).view(last, rows)
    history = _History(view)
    # By the calendar: which rows are composed together then does not depend on the span, and
    # features, which start by it too, need the least warm-up.
    whole = at_once - view.interval.index(int(view.times[0])) % at_once
    for start, stop in pairwise([0, *range(whole, rows, at_once), rows]):
        seen = market.view(int(view.times[stop - 1]), stop - start)
        said = compose(unhurried, seen, in_use.learned, in_use.problems)
        history.take_in(slice(start, stop), said)
        progress(stop, rows, composed=stop / rows)
    return history.seen(), history.opinions()


def first_half(progress: TrainingProgress) -> TrainingProgress:
    """Return what tells of something that is the first half of a training."""

    def told(done: float, total: float, **figures: float) -> None:
        progress(done, 2.0 * total, **figures)

    return told


def second_half(progress: TrainingProgress) -> TrainingProgress:
    """Return what tells of something that is the second half of a training."""

    def told(done: float, total: float, **figures: float) -> None:
        progress(total + done, 2.0 * total, **figures)

    return told


@dataclass(slots=True)
class _History:
    """Panels over all rows of a view, filled block by block."""

    view: View
    calibrated: bool = True
    regime: RegimeState | None = None
    outlooks: dict[str, TrustedForecast] = field(default_factory=dict)
    panels: dict[str, NDArray[Any]] = field(default_factory=dict)

    def take_in(self, block: slice, said: Composed) -> None:
        """Copy what was said on a block of the rows."""
        # A symbol that had not traded by the end of the block has no column in it.
        place = {symbol: number for number, symbol in enumerate(self.view.symbols)}
        cells = block, np.array([place[symbol] for symbol in said.view.symbols])
        fusion, levels = said.fusion, said.levels
        self.calibrated = self.calibrated and fusion.calibrated
        self._put("universe", cells, said.universe, np.False_)
        self._put("score", cells, fusion.score, 0.0)
        self._put("confidence", cells, fusion.confidence, 0.0)
        self._put("direction", cells, fusion.direction, np.int8(0))
        self._put("entry", cells, levels.entry)
        self._put("stop_loss", cells, levels.stop_loss)
        self._put("take_profit", cells, levels.take_profit)
        if said.regime is not None:
            self._take_in_regime(block, said.regime)
        for name, outlook in said.outlooks.items():
            self._take_in_outlook(name, cells, outlook)

    def _take_in_regime(self, block: slice, state: RegimeState) -> None:
        states = np.arange(len(state.names))
        whole = self._put("regime", (block, states), state.probability, width=len(states))
        self.regime = replace(state, probability=whole)

    def _take_in_outlook(self, name: str, cells: _Cells, outlook: TrustedForecast) -> None:
        said = outlook.forecast

        def put(what: str, panel: FloatPanel) -> FloatPanel:
            return self._put(f"{name} {what}", cells, panel)

        whole = Forecast(
            mean=put("mean", said.mean),
            probability_up=put("probability_up", said.probability_up),
            quantiles={n: put(f"quantile {n}", panel) for n, panel in said.quantiles.items()},
            evidence={n: put(f"evidence {n}", panel) for n, panel in said.evidence.items()},
        )
        self.outlooks[name] = replace(outlook, forecast=whole)

    def _put(
        self,
        name: str,
        cells: _Cells,
        values: NDArray[Any],
        blank: float | np.generic = np.nan,
        width: int | None = None,
    ) -> NDArray[Any]:
        """Copy values into the panel of that name, begun with a blank in every cell."""
        if name not in self.panels:
            shape = (self.view.steps, len(self.view.symbols) if width is None else width)
            self.panels[name] = np.full(shape, blank)
        self.panels[name][cells] = values
        return self.panels[name]

    def seen(self) -> View:
        """Return the view, knowing universe, regime and forecasts."""
        view = self.view.with_universe(self.panels["universe"])
        return view.with_regime(self.regime).with_forecasts(self.outlooks)

    def opinions(self) -> ComposedDecisions:
        """Return what was said on all rows."""
        said = self.panels
        return ComposedDecisions(
            Fusion(
                score=said["score"],
                confidence=said["confidence"],
                direction=said["direction"],
                weights={},
                calibrated=self.calibrated,
            ),
            Levels(said["entry"], said["stop_loss"], said["take_profit"]),
        )
