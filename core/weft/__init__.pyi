from .components.base import (
    Component,
    ComponentConfig,
    Local,
)
from .components.ensemble import (
    Ensemble,
    Fusion,
)
from .components.execution import (
    Allocator,
    Executor,
    Sink,
)
from .components.feature import (
    Feature,
    PanelFeature,
    StepFeature,
    step,
)
from .components.layer import (
    Layer,
    Scores,
)
from .components.model import (
    Forecast,
    Model,
    Regime,
    RegimeState,
    TrustedForecast,
)
from .components.needs import (
    candles,
    feature,
    forecasts,
    metric,
    news,
    regime,
)
from .components.portfolio_risk import (
    CorrelationRepair,
    PortfolioEstimate,
    PortfolioLosses,
    PortfolioRisk,
    PositionRisk,
)
from .components.provider import (
    Batch,
    HttpConfig,
    Provider,
    Request,
)
from .components.risk import (
    Levels,
    Risk,
    Sizer,
    Sizes,
)
from .components.trained import (
    Artifact,
    Evaluation,
    Trained,
    Training,
)
from .components.universe import Universe
from .domain.candles import Candles
from .domain.instruments import (
    Instrument,
    InstrumentTable,
)
from .domain.signal import Signal
from .engine.engine import Engine
from .engine.session import Session, open  # noqa: A004  # users write weft.open
from .foundation.times import Interval
from .foundation.version import (
    API_VERSION,
    __version__,
)
from .market.view import View
from .plugins.hookspecs import hookimpl
from .sources.series import (
    Point,
    Series,
    SeriesProvider,
    Wanted,
)

__all__ = [
    "API_VERSION",
    "Allocator",
    "Artifact",
    "Batch",
    "Candles",
    "Component",
    "ComponentConfig",
    "CorrelationRepair",
    "Engine",
    "Ensemble",
    "Evaluation",
    "Executor",
    "Feature",
    "Forecast",
    "Fusion",
    "HttpConfig",
    "Instrument",
    "InstrumentTable",
    "Interval",
    "Layer",
    "Levels",
    "Local",
    "Model",
    "PanelFeature",
    "Point",
    "PortfolioEstimate",
    "PortfolioLosses",
    "PortfolioRisk",
    "PositionRisk",
    "Provider",
    "Regime",
    "RegimeState",
    "Request",
    "Risk",
    "Scores",
    "Series",
    "SeriesProvider",
    "Session",
    "Signal",
    "Sink",
    "Sizer",
    "Sizes",
    "StepFeature",
    "Trained",
    "Training",
    "TrustedForecast",
    "Universe",
    "View",
    "Wanted",
    "__version__",
    "candles",
    "feature",
    "forecasts",
    "hookimpl",
    "metric",
    "news",
    "open",
    "regime",
    "step",
]
