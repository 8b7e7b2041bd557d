"""The view: everything that was known at an instant, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from weft.components.contract_checks import checked_feature
from weft.components.feature import PanelFeature, StepFeature
from weft.components.layer import Scores
from weft.components.needs import (
    CandleNeed,
    FeatureNeed,
    ForecastNeed,
    MetricNeed,
    Need,
    NewsNeed,
    RegimeNeed,
    Scalar,
)
from weft.components.needs import feature as feature_need
from weft.domain.candles import Candles, align_rows
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, Times, read_only
from weft.foundation.errors import ComponentError, NotTrainedError
from weft.foundation.times import Interval, iso
from weft.market.data import MarketData
from weft.market.metrics import MetricPanel
from weft.market.news import News

if TYPE_CHECKING:
    import polars as pl

    from weft.components.model import RegimeState, TrustedForecast


class View:
    """Everything that was known at `as_of`, as panels of shape (time, symbol).

    Args:
        data: the loaded data.
        steps: number of decision rows at the end of the panels: 1 for live, more for history.
        needs: declared needs of the component; None allows everything that is loaded.
        component: title of the component, for error messages.
        learned: the component's artifact as returned by its `load`; None if it is not trained.
    """

    def __init__(
        self,
        data: MarketData,
        steps: int = 1,
        needs: Sequence[Need] | None = None,
        component: str = "view",
        learned: object = None,
    ) -> None:
        self._data = data
        self._needs = needs
        self._component = component
        self._learned = learned
        self.steps = steps

    # Rows and columns

    @property
    def interval(self) -> Interval:
        """The decision interval; each close is a row."""
        return self._data.interval

    @property
    def times(self) -> Times:
        """The decision rows, microseconds since 1970 (steps,)."""
        return self._decisions.times[-self.steps :]

    @property
    def as_of(self) -> int:
        """The latest decision row; the view holds nothing that became known later."""
        return int(self._decisions.times[-1])

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._decisions.symbols

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Instruments of the columns."""
        return self._data.instruments

    @property
    def horizon(self) -> int:
        """How far ahead signals look, in decision rows: `horizon_candles` of the settings."""
        return self._data.horizon

    @property
    def universe(self) -> BoolPanel:
        """Whether each symbol was tradable and chosen at each decision row (steps, symbol).

        Raises:
            ComponentError: a feature needs earlier rows, for which no universe was computed.
        """
        if self._data.universe is None:
            return np.ones((self.steps, len(self.symbols)), dtype=np.bool_)
        if len(self._data.universe) < self.steps:
            raise ComponentError(
                "asked for the universe on rows before the decision rows",
                where=self._component,
                hint="Ask for a feature that ranks over the universe without lookback",
            )
        return self._data.universe[-self.steps :]

    # Data

    def candles(self, interval: str | Interval | None = None) -> Candles:
        """Return the declared warm-up and the decision rows of one interval's candles.

        Candles longer than the decision interval end with the last one closed by `as_of`; use
        `align` to bring values computed on them to the decision rows.

        Raises:
            ComponentError: the component did not declare this need.
        """
        wanted = self.interval if interval is None else Interval.parse(interval)
        panel = self._panel(wanted)
        if self._needs is None:
            return panel
        sessions = bool(panel.closable.any())
        warmups = [
            need.rows(wanted, sessions=sessions)
            for need in self._needs
            if isinstance(need, CandleNeed) and (need.interval or self.interval) == wanted
        ]
        if not warmups:
            raise self._undeclared(f'candles("{wanted}", warmup=...)')
        first = self._row_of(panel, int(self.times[0]))
        return panel.slice(max(0, first - max(warmups)), len(panel))

    def metric(self, name: str) -> MetricPanel:
        """Return a metric's declared warm-up and decision rows, each as known at that row.

        Raises:
            ComponentError: the component did not declare this need.
        """
        panel_of = self._data.metrics.get(name)
        warmups = [
            need.warmup
            for need in self._needs or ()
            if isinstance(need, MetricNeed) and need.name == name
        ]
        if panel_of is None or (self._needs is not None and not warmups):
            raise self._undeclared(f'metric("{name}")')
        return panel_of(self._decisions.times[-(self.steps + max(warmups, default=0)) :])

    def feature(
        self,
        what: str | FeatureNeed,
        *,
        output: str | None = None,
        interval: str | None = None,
        lookback: int = 0,
        **params: Scalar,
    ) -> FloatPanel:
        """Return a feature on the decision rows and `lookback` rows before them.

        Args:
            what: the feature's name, for instance ``rsi``; or the need that declares it, which
                says all of the below but `output`.
            output: which of its outputs; None for the first.
            interval: candles it is computed on; None for the decision interval. A coarser one
                reaches each decision row as the last candle closed by then.
            lookback: rows wanted before the first decision row.
            **params: its options; those left out keep their defaults.

        Raises:
            ComponentError: the component did not declare that it needs it, or the feature has
                no such output.
        """
        if isinstance(what, FeatureNeed):
            need = what
        else:
            need = feature_need(what, interval=interval, lookback=lookback, **params)
        if self._needs is not None and not any(
            isinstance(n, FeatureNeed)
            and (n.name, n.params, n.interval) == (need.name, need.params, need.interval)
            and n.lookback >= need.lookback
            for n in self._needs
        ):
            raise self._undeclared(f'feature("{need.name}", ...) with the same options')
        key = (need, self.steps)
        if key not in self._data.computed:
            self._data.computed[key] = self._compute(need)
        outputs = self._data.computed[key]
        wanted = output or next(iter(outputs))
        if wanted not in outputs:
            raise ComponentError(
                f"feature {need.name!r} has no output {wanted!r}",
                where=self._component,
                hint=f"It has {', '.join(outputs)}",
            )
        return outputs[wanted]

    def news(self) -> News:
        """Return the texts published within the declared days before the first row, and since.

        A text counts on a decision row if its `known_at` is not after `decided` of that row.

        Raises:
            ComponentError: the component did not declare this need.
        """
        reaches = [need.reach for need in self._needs or () if isinstance(need, NewsNeed)]
        if self._needs is None:
            return self._data.news
        if not reaches:
            raise self._undeclared("news(days=...)")
        return self._data.news.between(int(self.times[0]) - max(reaches), int(self.decided[-1]))

    @property
    def decided(self) -> Times:
        """Time of the decision of each row, microseconds since 1970 (steps,)."""
        return self.times + self._data.delay

    def regime(self) -> "RegimeState | None":
        """Return the market regime on the decision rows; None without a trained detector.

        Raises:
            ComponentError: the component did not declare this need, or requests rows before the
                decision rows.
        """
        self._expect_declared(RegimeNeed, "regime()")
        state = self._data.regime
        if state is None:
            return None
        self._expect_rows(len(state.probability))
        return state.last(self.steps)

    def forecasts(self) -> "Mapping[str, TrustedForecast]":
        """Return the forecast of each trained model on the decision rows, by name in config.

        Raises:
            ComponentError: the component did not declare this need.
        """
        self._expect_declared(ForecastNeed, "forecasts()")
        for outlook in self._data.forecasts.values():
            self._expect_rows(len(outlook.forecast.mean))
        return MappingProxyType(self._data.forecasts)

    @property
    def learned(self) -> Any:  # noqa: ANN401  # whatever the component's `load` returned
        """The component's artifact that was in use at the first decision row.

        Raises:
            NotTrainedError: the component was not trained by then.
        """
        if self._learned is None:
            raise NotTrainedError(
                f"was not trained by {iso(int(self.times[0]))}",
                where=self._component,
                hint="`weft train` trains it; `weft guide` says what that needs",
            )
        return self._learned

    @property
    def is_trained(self) -> bool:
        """Whether the component has an artifact in `learned`."""
        return self._learned is not None

    def frame(self, symbol: str, interval: str | None = None) -> "pl.DataFrame":
        """Return the candles of one symbol as a polars frame, one row per candle.

        Columns: close_time (UTC), open, high, low, close, volume.
        """
        from weft.market.frames import frame_of  # noqa: PLC0415  # only frames need polars

        return frame_of(self.candles(interval), symbol, self._component)

    # Answers of a component

    def align(self, values: FloatPanel, candles: Candles) -> FloatPanel:
        """Return the value of the last candle closed by each decision row.

        Args:
            values: one row for each row of `candles`, or for its last rows.
            candles: the candles on which they were computed.
        """
        return align_rows(values, candles, self.times)

    def scores(
        self,
        score: FloatPanel,
        *,
        confidence: FloatPanel | float = 1.0,
        evidence: Mapping[str, FloatPanel] | None = None,
    ) -> Scores:
        """Return a layer's answer, cut to the decision rows.

        Args:
            score: -100 to +100, NaN for no opinion; at least `steps` rows, newest last.
            confidence: 0 to 1, a number or a panel.
            evidence: named panels behind the score.
        """
        is_number = np.ndim(confidence) == 0
        panel = np.broadcast_to(confidence, np.shape(score)) if is_number else confidence
        return Scores(
            score=self._last(score),
            confidence=self._last(np.asarray(panel)),
            evidence={name: self._last(panel) for name, panel in (evidence or {}).items()},
        )

    def with_universe(self, members: BoolPanel) -> "View":
        """Return this view with `members` (steps, symbol) as its universe."""
        # Step features use candles only; other features may depend on the universe.
        computed = {
            key: panels
            for key, panels in self._data.computed.items()
            if isinstance(self._data.make_feature(key[0]), StepFeature)
        }
        data = replace(self._data, universe=read_only(members), computed=computed)
        return View(data, self.steps, self._needs, self._component, self._learned)

    def with_regime(self, state: "RegimeState | None") -> "View":
        """Return this view with a market regime on its decision rows."""
        data = replace(self._data, regime=state)
        return View(data, self.steps, self._needs, self._component, self._learned)

    def with_forecasts(self, forecasts: "Mapping[str, TrustedForecast]") -> "View":
        """Return this view with the models' forecasts on its decision rows."""
        data = replace(self._data, forecasts=forecasts)
        return View(data, self.steps, self._needs, self._component, self._learned)

    @property
    def loaded(self) -> MarketData:
        """The loaded data, for the composing code.

        Raises:
            ComponentError: the view is a component's own, which sees what it declared.
        """
        if self._needs is not None:
            raise ComponentError(
                "asked its view for what lies behind it",
                where=self._component,
                hint="Declare what it needs, and ask for that",
            )
        return self._data

    def restricted(self, needs: Sequence[Need], component: str, learned: object = None) -> "View":
        """Return this view restricted to the declared needs and warm-ups of a component."""
        return View(self._data, self.steps, needs, component, learned)

    # Internals

    @property
    def _decisions(self) -> Candles:
        return self._data.candles[self._data.interval]

    def _last(self, panel: FloatPanel) -> FloatPanel:
        if not isinstance(panel, np.ndarray):
            raise ComponentError(
                f"returned a {type(panel).__name__} as a panel, expected a NumPy array",
                where=self._component,
                hint="np.asarray(...) or .to_numpy() makes one",
            )
        if panel.ndim != 2 or panel.shape[0] < self.steps or panel.shape[1] != len(self.symbols):
            raise ComponentError(
                f"a panel has shape {panel.shape}; expected at least {self.steps} rows and "
                f"{len(self.symbols)} columns",
                where=self._component,
            )
        return panel[panel.shape[0] - self.steps :]

    def _panel(self, interval: Interval) -> Candles:
        panel = self._data.candles.get(interval)
        if panel is None:
            raise self._undeclared(f'candles("{interval}", warmup=...)')
        return panel

    @staticmethod
    def _row_of(panel: Candles, instant: int) -> int:
        """Return the row of the last candle closed by an instant."""
        return int(np.searchsorted(panel.times, instant, side="right")) - 1

    def _compute(self, need: FeatureNeed) -> Mapping[str, FloatPanel]:
        rows = self.steps + need.lookback
        feature = self._data.make_feature(need)
        if isinstance(feature, PanelFeature):
            view = View(self._data, rows, feature.needs, f"feature {need.name}")
            title = f"feature {need.name}"
            return checked_feature(feature.compute(view), feature.outputs, view, title)
        if not isinstance(feature, StepFeature):
            raise ComponentError(
                f"feature {need.name!r} is neither a PanelFeature nor a StepFeature",
                where=self._component,
                hint="Derive it from one of the two",
            )
        panel = self._panel(need.interval or self.interval)
        if panel.interval == self.interval:
            panels = self._data.engine.panels(feature, panel, rows)
            return {name: read_only(values) for name, values in panels.items()}
        times = self._decisions.times[len(self._decisions) - rows :]
        first = max(0, self._row_of(panel, int(times[0])))
        other = self._data.engine.panels(feature, panel, len(panel) - first)
        return {name: read_only(align_rows(values, panel, times)) for name, values in other.items()}

    def _expect_declared(self, kind: type[Need], need: str) -> None:
        if self._needs is not None and not any(isinstance(n, kind) for n in self._needs):
            raise self._undeclared(need)

    def _expect_rows(self, known: int) -> None:
        if known < self.steps:
            raise ComponentError(
                "asked for forecasts or the regime on rows before the decision rows",
                where=self._component,
                hint="They are known on the decision rows only",
            )

    def _undeclared(self, need: str) -> ComponentError:
        return ComponentError(
            f"used data that it does not declare, at {iso(self.as_of)}",
            where=self._component,
            hint=f"Add {need} to its needs",
        )
