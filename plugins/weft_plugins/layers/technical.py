"""The technical layer: trend, momentum, volatility, volume and structure of the candles."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.layer import Layer, Scores
from weft.components.needs import FeatureNeed, Need, candles, feature
from weft.foundation.arrays import FloatPanel
from weft.market.view import View

PARTS = ("trend", "momentum", "volatility", "volume", "structure")

_SOURCES: dict[str, tuple[FeatureNeed, str | None]] = {
    "ema_9": (feature("ema", window=9), None),
    "ema_21": (feature("ema", window=21), None),
    "ema_crossed": (feature("ema_cross", fast=9, slow=21), "crossed"),
    "sma_50": (feature("sma", window=50), None),
    "sma_200": (feature("sma", window=200), None),
    "macd": (feature("macd"), "macd"),
    "macd_signal": (feature("macd"), "signal"),
    "macd_histogram": (feature("macd"), "histogram"),
    "adx": (feature("adx", window=14), "adx"),
    "rsi_14": (feature("rsi", window=14), None),
    "rsi_7": (feature("rsi", window=7), None),
    "rsi_divergence": (feature("rsi_divergence", window=14, slow_candles=4), "spread"),
    "bollinger_upper": (feature("bollinger"), "upper"),
    "bollinger_middle": (feature("bollinger"), "middle"),
    "bollinger_lower": (feature("bollinger"), "lower"),
    "bollinger_position": (feature("bollinger"), "position"),
    "atr_14": (feature("atr", window=14), None),
    "obv_ratio": (feature("obv", window=20), "ratio"),
    "vwap": (feature("vwap", window=24), "vwap"),
    "volume_ratio": (feature("volume_ratio", window=20), None),
    "order_block": (feature("order_block"), "state"),
    "fair_value_gap": (feature("fair_value_gap"), "distance"),
}
"""Name of each indicator in the evidence, its feature, and the output of that feature."""

_LEAST_RANGE = 1e-6


class Technical(Layer):
    """Scores a symbol by the standard indicators of its candles.

    Each part lies between -1 and +1:

    - *trend*: EMA 9 over EMA 21, close over SMA 50 and over SMA 200, and the MACD histogram, all
      in units of the average true range; halved where the ADX shows no trend;
    - *momentum*: RSI 14 and RSI 7 around 50, and RSI 14 less the RSI of candles four times as long;
    - *volatility*: reversion to the middle of the Bollinger band, where the ADX shows no trend;
    - *volume*: on-balance volume of the last 20 candles, and close over VWAP, halved where the
      volume is half of its mean or less;
    - *structure*: order blocks and fair value gaps that are still open.

    The score is their weighted mean times 100. The evidence holds each part's contribution in
    points, which add up to the score, and every indicator. While some indicators warm up, the
    score is that of the others, and the confidence is their share of the weight; with less than
    half of the weight, and for a market that does not move, there is no opinion. Each indicator's
    feature names its source; the weights and scales are our judgement, fitted to nothing.
    """

    name = "technical"

    class Config(ComponentConfig):
        """Options: the weight of each part; only their ratios matter."""

        trend: float = Field(
            default=0.35, ge=0, description="weight of the moving averages and MACD"
        )
        momentum: float = Field(default=0.25, ge=0, description="weight of the RSI")
        volatility: float = Field(default=0.10, ge=0, description="weight of the Bollinger band")
        volume: float = Field(default=0.15, ge=0, description="weight of volume and VWAP")
        structure: float = Field(default=0.15, ge=0, description="weight of order blocks and gaps")

        @model_validator(mode="after")
        def _some_weight(self) -> Self:
            if not any(getattr(self, part) for part in PARTS):
                raise ValueError(f"at least one of {', '.join(PARTS)} must be above 0")
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The last close, and every indicator."""
        return [candles(warmup=0), *dict.fromkeys(need for need, _ in _SOURCES.values())]

    def score(self, view: View) -> Scores:
        """Return the weighted mean of the parts that are known."""
        close = view.candles().close[-view.steps :]
        indicators = _indicators(view)
        parts = _parts(close, indicators)
        weights = {part: float(getattr(self.config, part)) for part in PARTS}
        all_weights = sum(weights.values())
        known = {part: ~np.isnan(panel) for part, panel in parts.items()}
        weight = sum((weights[p] * known[p] for p in PARTS), np.zeros_like(close))
        share = weight / all_weights
        is_known = (share >= 0.5) & ~np.isnan(close)
        points = {
            part: np.divide(
                100.0 * weights[part] * np.where(known[part], panel, 0.0),
                weight,
                out=np.full_like(panel, np.nan),
                where=is_known & known[part],
            )
            for part, panel in parts.items()
        }
        total = sum((np.nan_to_num(p) for p in points.values()), np.zeros_like(close))
        return view.scores(
            # Rounding may carry a sum of points a hair beyond the range of a score.
            np.where(is_known, np.clip(total, -100.0, 100.0), np.nan),
            confidence=share,
            evidence={**points, **indicators},
        )


def _indicators(view: View) -> dict[str, FloatPanel]:
    return {name: view.feature(need, output=output) for name, (need, output) in _SOURCES.items()}


def _parts(close: FloatPanel, x: Mapping[str, FloatPanel]) -> dict[str, FloatPanel]:
    """Return each part of the score, -1 to +1; NaN where none of its indicators is known."""
    # A market that does not move has no range to measure distances in, and no momentum: its
    # averages only decay from moves long past.
    still = x["atr_14"] <= _LEAST_RANGE * close
    reach = np.where(still, np.nan, x["atr_14"])
    trending = np.minimum(x["adx"] / 25.0, 1.0)
    trend = _mean(
        np.tanh((x["ema_9"] - x["ema_21"]) / reach),
        np.tanh((close - x["sma_50"]) / (3.0 * reach)),
        np.tanh((close - x["sma_200"]) / (6.0 * reach)),
        np.tanh(2.0 * x["macd_histogram"] / reach),
    )
    momentum = _mean(
        np.tanh((x["rsi_14"] - 50.0) / 15.0),
        np.tanh((x["rsi_7"] - 50.0) / 20.0),
        np.tanh(x["rsi_divergence"] / 15.0),
    )
    stretch = np.clip(2.0 * x["bollinger_position"] - 1.0, -1.5, 1.5) / 1.5
    volume = _mean(np.tanh(2.0 * x["obv_ratio"]), np.tanh((close - x["vwap"]) / (2.0 * reach)))
    structure = _mean(x["order_block"], np.tanh(x["fair_value_gap"] * close / (2.0 * reach)))
    return {
        "trend": trend * (0.5 + 0.5 * trending),
        "momentum": np.where(still, np.nan, momentum),
        "volatility": -stretch * (1.0 - trending),
        "volume": volume * np.clip(x["volume_ratio"], 0.5, 1.0),
        "structure": structure,
    }


def _mean(*panels: FloatPanel) -> FloatPanel:
    """Return the mean over the panels that are known, cell by cell; NaN where none is."""
    known = sum((~np.isnan(p) for p in panels), np.zeros(panels[0].shape))
    total = sum((np.nan_to_num(p) for p in panels), np.zeros(panels[0].shape))
    return np.divide(total, known, out=np.full_like(total, np.nan), where=known > 0)
