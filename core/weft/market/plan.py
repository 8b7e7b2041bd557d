"""Combined needs of all components: how far back the data of a view must reach."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from weft.components.feature import Feature, StepFeature
from weft.components.needs import (
    CandleNeed,
    FeatureNeed,
    MetricNeed,
    Need,
    NewsNeed,
    PanelNeed,
)
from weft.features.engine import first_row_needed
from weft.foundation.errors import ConfigError
from weft.foundation.times import Interval


@dataclass(frozen=True, slots=True)
class Plan:
    """Combined needs of the components of a composition.

    Attributes:
        interval: the decision interval.
        base: length of the candles that are fetched; longer ones are aggregated from them.
        needs: needs of all components, and of the features they use.
        warmups: warm-up of each step feature, in candles.
        delay: time from a close to its decision, microseconds; facts that become known in between
            count.
        horizon: how far ahead signals look, in decision rows.
    """

    interval: Interval
    base: Interval
    needs: tuple[Need, ...]
    warmups: dict[FeatureNeed, int]
    delay: int = 0
    horizon: int = 12

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Intervals of the candle panels, the shortest first."""
        wanted = {self.interval}
        wanted |= {
            n.interval for n in self.needs if isinstance(n, CandleNeed | FeatureNeed) and n.interval
        }
        return tuple(sorted(wanted))

    @property
    def metrics(self) -> dict[str, int]:
        """Number of warm-up rows by metric."""
        wanted: dict[str, int] = {}
        for need in self.needs:
            if isinstance(need, MetricNeed):
                wanted[need.name] = max(need.warmup, wanted.get(need.name, 0))
        return wanted

    @property
    def news_reach(self) -> int | None:
        """Time before the first decision row from which texts are needed; None without a need."""
        return max((n.reach for n in self.needs if isinstance(n, NewsNeed)), default=None)

    def features(self) -> tuple[FeatureNeed, ...]:
        """Return all features that are needed."""
        return tuple(n for n in self.needs if isinstance(n, FeatureNeed))

    def first_open(self, interval: Interval, first_decision: int, *, sessions: bool) -> int:
        """Return the open time of the earliest candle of `interval` that is needed.

        Args:
            interval: length of the candles.
            first_decision: close of the first decision row, microseconds since 1970.
            sessions: whether some market has closing hours, so that its candles lie further apart.
        """
        newest = interval.floor(first_decision)
        index = interval.index(newest)
        needed = index
        for need in self.needs:
            if not isinstance(need, PanelNeed) or _interval_of(need, self.interval) != interval:
                continue
            if isinstance(need, FeatureNeed):
                # Lookback is a number of decision rows, whatever candles the feature uses.
                first = interval.index(first_decision - need.lookback * self.interval.micros)
                if need in self.warmups:
                    apart = interval if sessions else None
                    first = first_row_needed(first, self.warmups[need], apart)
            elif isinstance(need, CandleNeed):
                first = index - need.rows(interval, sessions=sessions)
            else:
                first = index - need.warmup
            needed = min(needed, first)
        return newest - (index - needed + 1) * interval.micros

    def base_rows(self, first_decision: int, last_decision: int, *, sessions: bool) -> int:
        """Return the number of base candles needed up to `last_decision`."""
        opened = min(self.first_open(i, first_decision, sessions=sessions) for i in self.intervals)
        return (self.base.floor(last_decision) - self.base.floor(opened)) // self.base.micros


def make_plan(
    interval: Interval,
    base: Interval,
    needs: Iterable[Need],
    make_feature: Callable[[FeatureNeed], Feature],
    delay: int = 0,
    horizon: int = 12,
) -> Plan:
    """Return the combined needs of components, those of nested features included.

    Args:
        interval: the decision interval.
        base: length of the candles that are fetched.
        needs: needs of the components.
        make_feature: builds a feature from its name and options.
        delay: time from a close to its decision, microseconds.
        horizon: how far ahead signals look, in decision rows.

    Raises:
        ConfigError: a component needs candles that the base candles cannot be aggregated to.
        UnknownPluginError: a feature is not installed.
    """
    pending = list(needs)
    resolved: dict[Need, None] = {}
    warmups: dict[FeatureNeed, int] = {}
    while pending:
        need = pending.pop()
        if need in resolved:
            continue
        resolved[need] = None
        if not isinstance(need, FeatureNeed):
            continue
        feature = make_feature(need)
        if isinstance(feature, StepFeature):
            warmups[need] = feature.warmup
        elif need.interval in {None, interval}:
            pending.extend(_reaching_back(n, need.lookback, interval) for n in feature.needs)
        else:
            raise ConfigError(
                f"{need.name} is computed on the decision rows, not on {need.interval} candles",
                where=f"feature {need.name}",
                hint="Declare it without an interval",
            )
    plan = Plan(interval, base, tuple(resolved), warmups, delay, horizon)
    for wanted in plan.intervals:
        if not wanted.holds(base):
            raise ConfigError(
                f"{wanted} candles cannot be aggregated from {base} candles",
                where="base_interval",
                hint=f"Set base_interval to one that divides {wanted}, or leave it out",
            )
    return plan


def _interval_of(need: PanelNeed, decision: Interval) -> Interval:
    """Return the candle interval of a need."""
    return decision if isinstance(need, MetricNeed) else need.interval or decision


def _reaching_back(need: Need, lookback: int, decision: Interval) -> Need:
    """Return the need of a feature, extended by `lookback` decision rows."""
    if isinstance(need, FeatureNeed):
        return replace(need, lookback=need.lookback + lookback)
    if isinstance(need, NewsNeed):
        return NewsNeed(need.reach + lookback * decision.micros)
    if not isinstance(need, CandleNeed | MetricNeed):
        return need
    # Upside-down floor division rounds up.
    rows = -(-lookback * decision.micros // _interval_of(need, decision).micros)
    return replace(need, warmup=need.warmup + rows)
