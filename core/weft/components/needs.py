"""Needs: the data a component declares, so that the core loads only that."""

from dataclasses import dataclass
from typing import TypeAlias

from weft.domain.calendar import rows_spanned
from weft.foundation.times import DAY, Interval

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class CandleNeed:
    """Candles of an interval; None stands for the decision interval.

    `warmup` counts rows. With `traded` it counts candles: a market with sessions then needs more
    rows, since closed rows have no candle.
    """

    interval: Interval | None
    warmup: int
    traded: bool = False

    def rows(self, interval: Interval, *, sessions: bool) -> int:
        """Return the number of rows before the first decision row.

        Args:
            interval: of the candles.
            sessions: whether some market of the view closes.
        """
        return rows_spanned(self.warmup, interval) if self.traded and sessions else self.warmup


@dataclass(frozen=True, slots=True)
class MetricNeed:
    """A metric on the decision rows and `warmup` rows before them; NaN where unknown."""

    name: str
    warmup: int


@dataclass(frozen=True, slots=True)
class FeatureNeed:
    """A feature with its options, on the decision rows and `lookback` rows before them."""

    name: str
    params: tuple[tuple[str, Scalar], ...]
    interval: Interval | None
    lookback: int


@dataclass(frozen=True, slots=True)
class NewsNeed:
    """Texts published up to `reach` microseconds before the first decision row."""

    reach: int


@dataclass(frozen=True, slots=True)
class ForecastNeed:
    """The forecasts of all trained models on the decision rows."""


@dataclass(frozen=True, slots=True)
class RegimeNeed:
    """The state of the market on the decision rows."""


PanelNeed: TypeAlias = CandleNeed | MetricNeed | FeatureNeed
"""A need that reaches a number of rows back."""

Need: TypeAlias = PanelNeed | NewsNeed | ForecastNeed | RegimeNeed


def candles(interval: str | None = None, *, warmup: int, traded: bool = False) -> CandleNeed:
    """Declare candles: the decision rows and `warmup` rows before them.

    Args:
        interval: for instance ``4h``; None for the decision interval.
        warmup: rows before the first decision row that the computation uses.
        traded: whether `warmup` counts candles instead of rows, for a computation that skips the
            rows on which a market is closed.
    """
    parsed = None if interval is None else Interval.parse(interval)
    return CandleNeed(parsed, warmup, traded)


def metric(name: str, *, warmup: int = 0) -> MetricNeed:
    """Declare a metric by its canonical name, as known at each decision row."""
    return MetricNeed(name, warmup)


def feature(
    name: str, *, interval: str | None = None, lookback: int = 0, **params: Scalar
) -> FeatureNeed:
    """Declare a feature, for instance ``feature("rsi", window=14)``.

    Args:
        name: of the feature.
        interval: of the candles it is computed on; None for the decision interval.
        lookback: rows before the first decision row.
        **params: options of the feature; others keep their defaults.
    """
    parsed = None if interval is None else Interval.parse(interval)
    return FeatureNeed(name, tuple(sorted(params.items())), parsed, lookback)


def news(*, days: float) -> NewsNeed:
    """Declare texts published in the `days` before each decision row."""
    return NewsNeed(round(days * DAY))


def forecasts() -> ForecastNeed:
    """Declare the forecasts of the models. Not available to models."""
    return ForecastNeed()


def regime() -> RegimeNeed:
    """Declare the state of the market. Not available to the regime."""
    return RegimeNeed()
