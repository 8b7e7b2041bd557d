"""Weft weaves many strands of evidence about a market into one calibrated, explained signal.

The names below are the public surface for plugin authors and for programs that embed the engine.
They are imported on first use, so that ``import weft`` itself costs next to nothing.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from weft.foundation.version import API_VERSION, __version__

# Where Intel's vector library is installed, numba computes the last columns of a panel, which fill
# no vector, by other functions than the rest, so that a number depends on how many there are.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

if TYPE_CHECKING:
    from weft.components.base import Component, ComponentConfig, Local
    from weft.components.ensemble import Ensemble, Fusion
    from weft.components.execution import Allocator, Executor, Sink
    from weft.components.feature import Feature, PanelFeature, StepFeature, step
    from weft.components.layer import Layer, Scores
    from weft.components.model import Forecast, Model, Regime, RegimeState, TrustedForecast
    from weft.components.needs import candles, feature, forecasts, metric, news, regime
    from weft.components.portfolio_risk import (
        CorrelationRepair,
        PortfolioEstimate,
        PortfolioLosses,
        PortfolioRisk,
        PositionRisk,
    )
    from weft.components.provider import Batch, HttpConfig, Provider, Request
    from weft.components.risk import Levels, Risk, Sizer, Sizes
    from weft.components.trained import Artifact, Evaluation, Trained, Training
    from weft.components.universe import Universe
    from weft.domain.candles import Candles
    from weft.domain.instruments import Instrument, InstrumentTable
    from weft.domain.signal import Signal
    from weft.engine.engine import Engine
    from weft.foundation.times import Interval
    from weft.market.view import View
    from weft.plugins.hookspecs import hookimpl
    from weft.sources.series import Point, Series, SeriesProvider, Wanted

_HOMES = {
    "weft.components.base": ("Component", "ComponentConfig", "Local"),
    "weft.components.ensemble": ("Ensemble", "Fusion"),
    "weft.components.execution": ("Allocator", "Executor", "Sink"),
    "weft.components.feature": ("Feature", "PanelFeature", "StepFeature", "step"),
    "weft.components.layer": ("Layer", "Scores"),
    "weft.components.model": ("Forecast", "Model", "TrustedForecast", "Regime", "RegimeState"),
    "weft.components.needs": ("candles", "feature", "forecasts", "metric", "news", "regime"),
    "weft.components.portfolio_risk": (
        "CorrelationRepair",
        "PortfolioEstimate",
        "PortfolioLosses",
        "PortfolioRisk",
        "PositionRisk",
    ),
    "weft.components.provider": ("Batch", "HttpConfig", "Provider", "Request"),
    "weft.components.risk": ("Levels", "Risk", "Sizer", "Sizes"),
    "weft.components.trained": ("Artifact", "Evaluation", "Trained", "Training"),
    "weft.sources.series": ("Point", "Series", "SeriesProvider", "Wanted"),
    "weft.components.universe": ("Universe",),
    "weft.engine.engine": ("Engine",),
    "weft.domain.candles": ("Candles",),
    "weft.domain.instruments": ("Instrument", "InstrumentTable"),
    "weft.market.view": ("View",),
    "weft.plugins.hookspecs": ("hookimpl",),
    "weft.domain.signal": ("Signal",),
    "weft.foundation.times": ("Interval",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

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
    "regime",
    "step",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # the module protocol for lazy attributes says Any
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'weft' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
