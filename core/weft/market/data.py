"""Data loaded for a view."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weft.components.feature import Feature
from weft.components.needs import FeatureNeed
from weft.domain.candles import Candles
from weft.domain.instruments import Instrument
from weft.features.engine import FeatureEngine
from weft.foundation.arrays import BoolPanel, FloatPanel, Times
from weft.foundation.times import Interval
from weft.market.corrections import Corrected
from weft.market.listings import SymbolSources
from weft.market.metrics import MetricPanel
from weft.market.news import NO_NEWS, News

if TYPE_CHECKING:
    from weft.components.model import RegimeState, TrustedForecast


@dataclass(frozen=True, slots=True)
class MarketData:
    """Data loaded for a view. Components do not see it; they use the view.

    Attributes:
        interval: the decision interval.
        instruments: one per column of every panel.
        candles: panels by interval, with all declared warm-ups.
        metrics: functions that build the panel of a metric on given rows, by metric. Panels are
            built on request: together they would need most of the memory of a composition.
        make_feature: builds a feature from its name and options.
        engine: computes features.
        listings: sources of the candles of each column.
        read_at: when the store was read, microseconds since 1970; 0 without a store.
        news: texts, with all declared reach.
        delay: time from a close to its decision, microseconds.
        horizon: how far ahead signals look, in decision rows.
        corrected: candles that were corrected too late for their rows.
        universe: chosen symbols on the decision rows; None before the universe rule has run.
        regime: market regime on the decision rows; None without a regime detector.
        forecasts: forecasts on the decision rows, by model.
        old: age in seconds of each metric on the decision rows where it is too old to count, NaN
            elsewhere, by metric; filled when a report needs it.
        computed: outputs of features, by need and number of decision rows.
    """

    interval: Interval
    instruments: tuple[Instrument, ...]
    candles: Mapping[Interval, Candles]
    metrics: Mapping[str, Callable[[Times], MetricPanel]]
    make_feature: Callable[[FeatureNeed], Feature]
    engine: FeatureEngine
    listings: tuple[SymbolSources, ...] = ()
    read_at: int = 0
    news: News = NO_NEWS
    delay: int = 0
    horizon: int = 12
    corrected: Corrected = field(default_factory=dict)
    universe: BoolPanel | None = None
    regime: "RegimeState | None" = None
    forecasts: "Mapping[str, TrustedForecast]" = field(default_factory=dict)
    old: "dict[str, FloatPanel]" = field(default_factory=dict)
    computed: dict[tuple[FeatureNeed, int], Mapping[str, FloatPanel]] = field(default_factory=dict)
