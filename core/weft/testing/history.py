"""A market in arrays, which gives views of any component without a store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np

from weft.components.feature import Feature
from weft.components.model import Forecast, RegimeState, TrustedForecast
from weft.components.needs import FeatureNeed, Need
from weft.domain.candles import (
    FIELDS,
    aggregate,
    candles_from_arrays,
    closable_rows,
    find_presence,
    remembered_rows,
)
from weft.domain.instruments import Instrument, describe
from weft.domain.vocabulary import METRICS
from weft.features.engine import FeatureEngine
from weft.foundation.arrays import FloatPanel, RowCounts, Times
from weft.foundation.errors import ConfigError
from weft.foundation.times import SECOND, Interval, parse_time
from weft.market.data import MarketData
from weft.market.metrics import MetricPanel
from weft.market.news import NO_NEWS, News
from weft.market.plan import Plan, make_plan
from weft.market.view import View
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry

START = parse_time("2024-01-01T00:00:00Z")
"""Close of the first row of a made-up history."""


def installed_feature(need: FeatureNeed) -> Feature:
    """Return an installed feature with the options of a need."""
    cls = _registry().load(Feature.kind, need.name)
    feature = cls(cls.Config.model_validate(dict(need.params)))
    if not isinstance(feature, Feature):
        raise ConfigError(f"{need.name} is not a feature")
    return feature


@cache
def _registry() -> Registry:
    return Registry(discover())


@dataclass(frozen=True, slots=True)
class History:
    """Candles of a few symbols, and metrics, as plain arrays.

    Attributes:
        interval: length of a candle.
        instruments: one for each column.
        candles: open, high, low, close and volume, each (time, symbol); NaN without a candle.
        metrics: panels on the same rows, by metric name; other metrics are NaN.
        news: texts, of which each view holds those known by its last row.
        regime: state of the market at each row; None for no regime.
        forecasts: forecasts at each row, by model.
        first_close: close of the first row, microseconds since 1970.
    """

    interval: Interval
    instruments: tuple[Instrument, ...]
    candles: Mapping[str, FloatPanel]
    metrics: Mapping[str, FloatPanel]
    news: News = NO_NEWS
    regime: RegimeState | None = None
    forecasts: Mapping[str, TrustedForecast] = field(default_factory=dict)
    first_close: int = START

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.candles["close"])

    def cut(self, rows: int) -> "History":
        """Return the first `rows` rows."""
        first = self._map(lambda panel: panel[:rows])
        state = self.regime and replace(self.regime, probability=self.regime.probability[:rows])
        return replace(first, regime=state)

    def after(self, rows: int, replacement: Callable[[FloatPanel], FloatPanel]) -> "History":
        """Return this history with candles and metrics after the first `rows` rows replaced.

        Later texts are left out. Later forecasts and regimes come in reverse order, so that each
        is still a valid one; a forecast is NaN where its replacement would be.
        """

        def change(panel: FloatPanel) -> FloatPanel:
            return np.concatenate([panel[:rows], replacement(panel[rows:])])

        def reverse(panel: FloatPanel) -> FloatPanel:
            later = panel[rows:]
            other = np.where(np.isnan(later[::-1]), later, later[::-1])
            removed = np.isnan(replacement(np.ones_like(later)))
            return np.concatenate([panel[:rows], np.where(removed, np.nan, other)])

        return self._continued(
            rows,
            candles={name: change(panel) for name, panel in self.candles.items()},
            metrics={name: change(panel) for name, panel in self.metrics.items()},
            forecasts={
                name: _changed(outlook, reverse) for name, outlook in self.forecasts.items()
            },
        )

    def noisy_after(self, rows: int, rng: np.random.Generator) -> "History":
        """Return this history with another market after the first `rows` rows.

        The noise is still a market: each high is the highest price of its candle, each low the
        lowest, and each metric is within its range.
        """
        noisy = self.after(rows, lambda panel: np.exp(rng.normal(0.0, 3.0, panel.shape)))
        prices = {name: panel.copy() for name, panel in noisy.candles.items()}
        ends = np.stack([prices["open"][rows:], prices["close"][rows:]])
        reach = np.exp(np.abs(rng.normal(0.0, 0.1, ends.shape)))
        prices["high"][rows:] = ends.max(axis=0) * reach[0]
        prices["low"][rows:] = ends.min(axis=0) / reach[1]
        metrics = {
            name: np.concatenate([panel[:rows], _in_range(name, panel[rows:])])
            for name, panel in noisy.metrics.items()
        }
        return replace(noisy, candles=prices, metrics=metrics)

    def _continued(
        self,
        rows: int,
        candles: Mapping[str, FloatPanel],
        metrics: Mapping[str, FloatPanel],
        forecasts: Mapping[str, TrustedForecast],
    ) -> "History":
        """Return this history with other panels, no later texts and later regimes reversed."""
        known_by = self.first_close + (rows - 1) * self.interval.micros
        since = int(self.news.event_time.min(initial=0))
        state = self.regime
        if state is not None:
            past, later = state.probability[:rows], state.probability[rows:]
            state = replace(state, probability=np.concatenate([past, later[::-1]]))
        news = self.news.between(since, known_by)
        return replace(
            self, candles=candles, metrics=metrics, forecasts=forecasts, regime=state, news=news
        )

    def without_metrics(self, since: int) -> "History":
        """Return this history without metrics from a row on, as where sources stop."""
        stopped = {name: panel.copy() for name, panel in self.metrics.items()}
        for panel in stopped.values():
            panel[since:] = np.nan
        return replace(self, metrics=stopped)

    def columns(self, order: np.ndarray) -> "History":
        """Return this history with its symbols in another order."""
        picked = tuple(self.instruments[int(column)] for column in order)
        return replace(self._map(lambda panel: panel[:, order]), instruments=picked)

    def view(
        self,
        needs: Sequence[Need],
        *,
        steps: int = 1,
        component: str = "component",
        make_feature: Callable[[FeatureNeed], Feature] = installed_feature,
        engine: FeatureEngine | None = None,
        learned: object = None,
        horizon: int = 12,
    ) -> View:
        """Return the view at the last row, cut to the needs of a component.

        Args:
            needs: of the component.
            steps: number of decision rows.
            component: title of the component, for error messages.
            make_feature: builds features; by default the installed ones.
            engine: computes features; by default a new one.
            learned: the artifact of the component, as its `load` returned it.
            horizon: how far ahead signals look, in decision rows.
        """
        plan = make_plan(self.interval, self.interval, needs, make_feature, horizon=horizon)
        last = self.first_close + (self.rows - 1) * self.interval.micros
        first = last - (steps - 1) * self.interval.micros
        sessions = not all(instrument.always_open for instrument in self.instruments)
        rows = max(plan.base_rows(first, last, sessions=sessions), steps)
        data = self._data(plan, rows, steps, make_feature, engine or FeatureEngine(1))
        return View(data, steps, needs, component, learned)

    def _data(
        self,
        plan: Plan,
        rows: int,
        steps: int,
        make_feature: Callable[[FeatureNeed], Feature],
        engine: FeatureEngine,
    ) -> MarketData:
        last = self.first_close + (self.rows - 1) * self.interval.micros
        times = last - np.arange(rows - 1, -1, -1, dtype=np.int64) * self.interval.micros
        columns = {name: self._tail(panel, rows) for name, panel in self.candles.items()}
        base = candles_from_arrays(
            self.interval, times, self.instruments, columns, self._since_traded(rows)
        )
        panels = {self.interval: base}
        for interval in plan.intervals:
            if interval != self.interval:
                opened = plan.first_open(interval, int(times[-steps]), sessions=True)
                start = max(0, (opened - int(times[0])) // self.interval.micros + 1)
                panels[interval] = aggregate(base.slice(start, rows), interval)
        return MarketData(
            interval=self.interval,
            instruments=self.instruments,
            candles=panels,
            metrics={name: partial(self._metric, name) for name in plan.metrics},
            make_feature=make_feature,
            engine=engine,
            horizon=plan.horizon,
            news=self._news_of(plan, int(times[-steps]), last),
            regime=self.regime and self.regime.last(steps),
            forecasts={name: _last(outlook, steps) for name, outlook in self.forecasts.items()},
        )

    def _news_of(self, plan: Plan, first: int, last: int) -> News:
        reach = plan.news_reach
        return NO_NEWS if reach is None else self.news.between(first - reach, last)

    def _since_traded(self, rows: int) -> RowCounts | None:
        """Return the rows since each symbol traded, as of the row before the last `rows` rows."""
        earlier = self.candles["close"][: max(0, self.rows - rows)]
        if not len(earlier):
            return None
        remembered = remembered_rows(self.interval)
        closable = closable_rows(self.instruments, self.interval)
        _, since = find_presence(earlier[-remembered:], closable, remembered)
        latest: RowCounts = since[-1]
        return latest

    def _metric(self, name: str, times: Times) -> MetricPanel:
        unknown = np.full((self.rows, len(self.instruments)), np.nan)
        values = self._tail(self.metrics.get(name, unknown), len(times))
        known = ~np.isnan(values)
        index = np.arange(len(values))[:, None]
        newest = np.maximum.accumulate(np.where(known, index, -1), axis=0)
        ages = (index - newest) * (self.interval.micros / SECOND)
        return MetricPanel(
            name,
            times,
            values,
            age_seconds=np.where(newest >= 0, ages, np.nan),
            sources=known.astype(np.int8),
            spread=np.full_like(values, np.nan),
        )

    def _map(self, change: Callable[[FloatPanel], FloatPanel]) -> "History":
        return replace(
            self,
            candles={name: change(panel) for name, panel in self.candles.items()},
            metrics={name: change(panel) for name, panel in self.metrics.items()},
            forecasts={name: _changed(outlook, change) for name, outlook in self.forecasts.items()},
        )

    def _tail(self, panel: FloatPanel, rows: int) -> FloatPanel:
        """Return the last rows, NaN before the history begins."""
        missing = max(0, rows - len(panel))
        before = np.full((missing, panel.shape[1]), np.nan)
        return np.ascontiguousarray(np.concatenate([before, panel[len(panel) - rows + missing :]]))


def _in_range(name: str, panel: FloatPanel) -> FloatPanel:
    """Return the values of a metric, clipped to the range of its unit."""
    metric = METRICS.get(name)
    if metric is None:
        return panel
    low = -np.inf if metric.lowest is None else metric.lowest
    high = np.inf if metric.highest is None else metric.highest
    return np.clip(panel, low, high)


def _changed(
    outlook: TrustedForecast, change: Callable[[FloatPanel], FloatPanel]
) -> TrustedForecast:
    """Return a forecast with all its panels changed."""
    original = outlook.forecast
    forecast = Forecast(
        mean=change(original.mean),
        probability_up=change(original.probability_up),
        quantiles={level: change(panel) for level, panel in original.quantiles.items()},
        evidence={name: change(panel) for name, panel in original.evidence.items()},
    )
    return replace(outlook, forecast=forecast)


def _last(outlook: TrustedForecast, steps: int) -> TrustedForecast:
    return _changed(outlook, lambda panel: panel[-steps:])


def listed_later(history: History, since: int) -> History:
    """Return a history in which bitcoin, and a peer of a coin, were listed lately.

    Args:
        history: of two coins or more, which get real names.
        since: rows since the listing.
    """
    names = ("BTCUSDT", "FETUSDT", "RENDERUSDT")[: len(history.instruments) - 1]
    instruments = (*map(describe, names), *history.instruments[len(names) :])
    new = np.isin([instrument.base for instrument in instruments], ("BTC", "RENDER"))
    early = np.arange(history.rows)[:, None] < history.rows - since
    candles = {n: np.where(early & new, np.nan, p) for n, p in history.candles.items()}
    return replace(history, instruments=instruments, candles=candles)


def random_history(
    seed: int = 0,
    *,
    symbols: int = 4,
    rows: int = 3000,
    interval: str = "1h",
    metrics: tuple[str, ...] = (),
    flaws: bool = True,
) -> History:
    """Return a random walk of a few coins and one stock.

    Args:
        seed: the same seed gives the same history.
        symbols: number of columns, at least 2; the last is a stock with trading sessions.
        rows: number of candles.
        interval: length of a candle.
        metrics: names of metrics to fill with noise.
        flaws: whether a coin is listed late, another has a hole, and volumes are sometimes 0.
    """
    rng = np.random.default_rng(seed)
    names = [f"COIN{i}USDT" for i in range(symbols - 1)]
    instruments = (*(describe(n) for n in names), describe("STOCK"))
    shock = rng.standard_t(4, (rows, symbols)) * 0.008 + rng.normal(0, 0.004, (rows, 1))
    close = np.exp(np.cumsum(shock, axis=0)) * 10.0 ** rng.integers(-3, 5, symbols)
    opened = np.vstack([close[:1], close[:-1]])
    reach = np.abs(rng.normal(0, 0.003, (2, rows, symbols)))
    candles = {
        "open": opened,
        "high": np.maximum(opened, close) * (1 + reach[0]),
        "low": np.minimum(opened, close) * (1 - reach[1]),
        "close": close,
        "volume": rng.lognormal(5, 1, (rows, symbols)),
    }
    absent = np.zeros((rows, symbols), dtype=np.bool_)
    hour = np.arange(rows) % 24
    absent[(hour < 14) | (hour > 20), -1] = True
    if flaws:
        absent[: rows // 3, 0] = True
        if symbols > 2:
            absent[rows - rows // 4 : rows - rows // 4 + 40, 1] = True
        candles["volume"][rng.random((rows, symbols)) < 0.01] = 0.0
    for name in FIELDS:
        candles[name] = np.where(absent, np.nan, candles[name])
    noise = {name: np.cumsum(rng.normal(0, 1, (rows, symbols)), axis=0) for name in metrics}
    return History(Interval.parse(interval), instruments, candles, noise)
