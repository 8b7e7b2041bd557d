"""What a component declares it will ask its view for, so that just that is loaded."""

from dataclasses import dataclass
from typing import TypeAlias

from weft.domain.calendar import rows_spanned
from weft.foundation.times import DAY, Interval

Scalar: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class CandleNeed:
    """Candles of one interval; None stands for the decision interval.

    Its `warmup` counts rows, or, where `traded` says so, candles: a market with sessions then
    shows as many more rows as it takes to trade them.
    """

    interval: Interval | None
    warmup: int
    traded: bool = False

    def rows(self, interval: Interval, *, sessions: bool) -> int:
        """Return how many rows before the first decision row it reaches.

        Args:
            interval: of the candles.
            sessions: whether some market closes.
        """
        return rows_spanned(self.warmup, interval) if self.traded and sessions else self.warmup


@dataclass(frozen=True, slots=True)
class MetricNeed:
    """A metric on the decision rows, with `warmup` earlier rows; None values where unknown."""

    name: str
    warmup: int


@dataclass(frozen=True, slots=True)
class FeatureNeed:
    """A feature with given options, with `lookback` rows before the decision rows."""

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
    """What every trained model of the composition forecasts on the decision rows."""


@dataclass(frozen=True, slots=True)
class RegimeNeed:
    """Where the market stands on the decision rows."""


PanelNeed: TypeAlias = CandleNeed | MetricNeed | FeatureNeed
"""What reaches so many rows back."""

Need: TypeAlias = PanelNeed | NewsNeed | ForecastNeed | RegimeNeed


def candles(interval: str | None = None, *, warmup: int, traded: bool = False) -> CandleNeed:
    """Ask for candles: the decision rows and `warmup` rows before them.

    Args:
        interval: for instance ``4h``; None for the decision interval.
        warmup: rows before the first decision row that the computation looks back over.
        traded: whether `warmup` counts candles instead of rows, for a computation that passes
            over the rows on which a market is closed.
    """
    parsed = None if interval is None else Interval.parse(interval)
    return CandleNeed(parsed, warmup, traded)


def metric(name: str, *, warmup: int = 0) -> MetricNeed:
    """Ask for a metric by its canonical name, as known at each decision row."""
    return MetricNeed(name, warmup)


def feature(
    name: str, *, interval: str | None = None, lookback: int = 0, **params: Scalar
) -> FeatureNeed:
    """Ask for a feature, for instance ``feature("rsi", window=14)``.

    Args:
        name: the feature's name.
        interval: candles it is computed on; None for the decision interval.
        lookback: rows of it wanted before the first decision row.
        **params: its options; those left out keep their defaults.
    """
    parsed = None if interval is None else Interval.parse(interval)
    return FeatureNeed(name, tuple(sorted(params.items())), parsed, lookback)


def news(*, days: float) -> NewsNeed:
    """Ask for texts published in the `days` before each decision row."""
    return NewsNeed(round(days * DAY))


def forecasts() -> ForecastNeed:
    """Ask for what the models forecast. Models themselves cannot."""
    return ForecastNeed()


def regime() -> RegimeNeed:
    """Ask for the state of the market. The regime itself cannot."""
    return RegimeNeed()
