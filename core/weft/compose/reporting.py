"""Reporting: turns composed panels into signals."""

from collections.abc import Container, Mapping
from dataclasses import replace

import numpy as np

from weft.components.provider import SourceKind
from weft.components.risk import RISK_HORIZON, Levels
from weft.compose.composing import Composed
from weft.compose.composition import COVERAGE_ROWS, Composition
from weft.compose.data_notes import notes, stale_notes, status, too_old
from weft.domain.candles import NEVER, Candles, Presence
from weft.domain.signal import (
    UNKNOWN_REGIME,
    DataProvenance,
    Direction,
    ForecastReport,
    LayerReport,
    LayerStatus,
    RegimeReport,
    Report,
    Signal,
    number,
    with_id,
    with_rounded_figures,
)
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import SECOND, Interval, iso
from weft.market.corrections import note_of
from weft.market.view import View

PERCENT = 100.0
"""A signal states its confidence from 0 to 100; components state it from 0 to 1."""

_DIRECTIONS = {1: Direction.LONG, -1: Direction.SHORT, 0: Direction.NEUTRAL}


class Reporter:
    """Turns the decisions of a composition into signals.

    Args:
        composition: that took the decisions.
    """

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._providers = {p.component.source: p.component for p in composition.providers}
        self._horizon = span_name(composition.horizon_candles, composition.interval)

    def report(
        self, composed: Composed, row: int = -1, symbols: Container[str] | None = None
    ) -> Report:
        """Return the signals of one decision row.

        Args:
            composed: the decisions.
            row: which decision row; the last by default.
            symbols: the symbols to report on; all of the view where None.
        """
        view = composed.view
        candles = view.candles()
        at = len(candles) - view.steps + row if row >= 0 else len(candles) + row
        as_of = int(candles.times[at])
        omitted: dict[str, str] = {}
        signals = []
        for column, symbol in enumerate(view.symbols):
            if symbols is not None and symbol not in symbols:
                continue
            reason = self._reason_to_omit(composed, candles, at, row, column)
            if reason is None:
                signals.append(self._signal(composed, candles, at, row, column))
            else:
                omitted[symbol] = reason
        kind = self._composition.data_kind.value
        return Report(iso(as_of), kind, tuple(signals), omitted, composed.not_recorded)

    def _reason_to_omit(
        self, composed: Composed, candles: Candles, at: int, row: int, column: int
    ) -> str | None:
        if not composed.universe[row, column]:
            return f"not in the universe ({self._composition.universe.name})"
        missed = int(candles.rows_since_traded[at, column])
        if missed <= max(self._composition.max_age_candles, int(candles.closable[column])):
            return None
        last = _last_close(candles, at, column)
        return f"its candles stop at {iso(last)}" if last else "no candle for more than 12 days"

    def _signal(
        self, composed: Composed, candles: Candles, at: int, row: int, column: int
    ) -> Signal:
        symbol = candles.symbols[column]
        fusion, levels = composed.fusion, composed.levels
        entry = number(levels.entry[row, column])
        # Without an entry, such as in a closed market, a direction cannot be acted on.
        direction = _DIRECTIONS[int(fusion.direction[row, column])] if entry else Direction.NEUTRAL
        acts = direction is not Direction.NEUTRAL
        stop = number(levels.stop_loss[row, column]) if acts else None
        take = number(levels.take_profit[row, column]) if acts else None
        size = number(composed.sizes.fraction[row, column]) if acts else None
        signal = with_rounded_figures(
            Signal(
                id="",
                symbol=symbol,
                as_of=iso(int(candles.times[at])),
                interval=candles.interval.name,
                horizon=self._horizon,
                direction=direction,
                score=number(fusion.score[row, column]) or 0.0,
                confidence=(number(fusion.confidence[row, column]) or 0.0) * PERCENT,
                calibrated=fusion.calibrated,
                entry=entry,
                stop_loss=stop,
                take_profit=take,
                risk_reward=_risk_reward(entry, stop, take),
                position_size=size or 0.0,
                layers=self._layers(composed, row, column),
                missing_layers=composed.missing,
                forecasts=self._forecasts(composed, row, column),
                regime=self._regime(composed, row),
                risk=self._risk(levels, row, column),
                sizing=_figures(composed.sizes.evidence, row, column),
                missing_models=composed.missing_models,
                data=self._data(composed.view, candles, at, row, column),
                versions=replace(self._composition.versions, artifacts=composed.artifacts),
            )
        )
        return with_id(signal)

    def _risk(self, levels: Levels, row: int, column: int) -> dict[str, float | str | None]:
        figures = _figures(levels.figures, row, column)
        return {RISK_HORIZON: self._horizon, **figures} if figures else {}

    def _layers(self, composed: Composed, row: int, column: int) -> tuple[LayerReport, ...]:
        reports = []
        for name, scores in composed.scores.items():
            score = number(scores.score[row, column])
            reports.append(
                LayerReport(
                    name=name,
                    score=score,
                    weight=number(composed.fusion.weights[name][row, column]) or 0.0,
                    confidence=number(scores.confidence[row, column]),
                    status=LayerStatus.NO_OPINION if score is None else LayerStatus.OK,
                    evidence=_figures(scores.evidence, row, column),
                )
            )
        absent = [LayerReport(n, None, 0.0, None, LayerStatus.FAILED, {}) for n in composed.missing]
        return tuple(sorted(reports + absent, key=lambda layer: layer.name))

    def _forecasts(self, composed: Composed, row: int, column: int) -> tuple[ForecastReport, ...]:
        return tuple(
            ForecastReport(
                model=name,
                artifact=outlook.artifact,
                trust=outlook.trust,
                probability_up=number(outlook.forecast.probability_up[row, column]),
                mean=number(outlook.forecast.mean[row, column]),
                quantiles={
                    f"{level:g}": number(panel[row, column])
                    for level, panel in sorted(outlook.forecast.quantiles.items())
                },
                evidence=_figures(outlook.forecast.evidence, row, column),
            )
            for name, outlook in sorted(composed.forecasts.items())
            if number(outlook.forecast.probability_up[row, column]) is not None
        )

    def _regime(self, composed: Composed, row: int) -> RegimeReport | None:
        state = composed.regime
        if state is None or np.isnan(state.probability[row]).any():
            return None
        likeliest, known = int(np.argmax(state.probability[row])), state.trust > 0.0
        return RegimeReport(
            name=state.names[likeliest] if known else UNKNOWN_REGIME,
            trust=state.trust,
            probability=dict(zip(state.names, map(number, state.probability[row]), strict=True)),
            change_probability=number(state.change_probability[row]) if known else None,
            expected_duration=number(state.expected_duration[likeliest]) if known else None,
            position_multiplier=number(state.position_multiplier[row]),
            artifact=composed.artifacts["regime"],
        )

    def _data(self, view: View, candles: Candles, at: int, row: int, column: int) -> DataProvenance:
        last = _last_close(candles, at, column)
        window = candles.presence[at + 1 - COVERAGE_ROWS : at + 1, column]
        expected = max(int(np.count_nonzero(window != Presence.CLOSED)), 1)
        series = view.loaded.listings[column].at(int(candles.times[at]))
        provider = self._providers.get(series.source) if series else None
        ages = {name: number(panel[row, column]) for name, panel in too_old(view).items()}
        stale = {name: age for name, age in sorted(ages.items()) if age is not None}
        about_candles = notes(candles, at, column, view.instruments[column])
        return DataProvenance(
            kind=(provider.source_kind if provider else SourceKind.REAL).value,
            provider=provider.key if provider else "unknown",
            status=status(candles, at, column),
            last_candle=None if last is None else iso(last),
            age_seconds=None if last is None else (int(candles.times[at]) - last) / SECOND,
            coverage=float(np.count_nonzero(window == Presence.TRADED) / expected),
            notes=(
                *about_candles,
                *_corrections(view, candles, at, column),
                *stale_notes(stale),
            ),
            stale_metrics=stale,
        )


def _corrections(view: View, candles: Candles, at: int, column: int) -> tuple[str, ...]:
    """Return a note on corrections that became known after the rows of the view."""
    as_of = int(candles.times[at])
    series = view.loaded.listings[column].at(as_of)
    if series is None:
        return ()
    corrections = view.loaded.corrected.get((series.source, candles.symbols[column]))
    first = int(candles.times[0]) - candles.interval.micros
    note = None if corrections is None else note_of(corrections, first, as_of)
    return () if note is None else (note,)


def _figures(panels: Mapping[str, FloatPanel], row: int, column: int) -> dict[str, float | None]:
    return {name: number(panel[row, column]) for name, panel in panels.items()}


def _last_close(candles: Candles, at: int, column: int) -> int | None:
    """Return the close of a symbol's latest candle; None where it is older than the view."""
    missed = int(candles.rows_since_traded[at, column])
    return None if missed >= NEVER else int(candles.times[at]) - missed * candles.interval.micros


def _risk_reward(entry: float | None, stop: float | None, take: float | None) -> float | None:
    if entry is None or stop is None or take is None or stop == entry:
        return None
    return abs(take - entry) / abs(entry - stop)


def span_name(count: int, interval: Interval) -> str:
    """Return the length of a number of candles: ``12h`` for twelve of an hour."""
    number_of, unit = int(interval.name[:-1]), interval.name[-1]
    return f"{count * number_of}{unit}"
