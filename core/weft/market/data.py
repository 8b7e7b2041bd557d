"""What was loaded for a view."""

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
    """What was loaded for a view. Components never see it; they ask the view.

    Attributes:
        interval: the decision interval.
        instruments: one per column of every panel.
        candles: panels by interval, far enough back for everything that is asked of them.
        metrics: by name, what makes a metric's panel on the rows that are wanted. Each is made
            when it is asked for, and held by who asked: all at once they would be most of the
            memory a composition takes.
        make_feature: builds a feature from its name and options.
        engine: computes features.
        listings: where the candles of each column come from.
        read_at: when the store was read, microseconds since 1970; 0 where there is none.
        news: texts, far enough back for everything that is asked of them.
        delay: how long after a close its decision is taken, microseconds.
        horizon: how far ahead signals look, in decision rows.
        corrected: which candles were corrected too late for their rows.
        universe: which symbols were chosen, on the decision rows; None while choosing.
        regime: where the market stands on the decision rows; None where nobody says.
        outlooks: what the models forecast on the decision rows, by model.
        old: age in seconds of each metric on the decision rows where it is too old to count, NaN
            elsewhere, by metric; filled when a report asks for it.
        computed: outputs of features, by what was asked for and on how many decision rows.
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
    outlooks: "Mapping[str, TrustedForecast]" = field(default_factory=dict)
    old: "dict[str, FloatPanel]" = field(default_factory=dict)
    computed: dict[tuple[FeatureNeed, int], Mapping[str, FloatPanel]] = field(default_factory=dict)
