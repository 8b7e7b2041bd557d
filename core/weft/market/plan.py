"""How far back a view must reach for everything that will be asked of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from weft.components.feature import Feature, StepFeature
from weft.components.needs import FeatureNeed, MetricNeed, Need
from weft.errors import ConfigError
from weft.features.engine import first_row_needed
from weft.times import Interval


@dataclass(frozen=True, slots=True)
class Plan:
    """What a composition's components need, taken together.

    Attributes:
        interval: the decision interval.
        base: candles that are fetched; all others are joined from them.
        needs: of all components, and of the features they ask for.
        warmups: candles each feature runs up over; 0 where it is no step feature.
    """

    interval: Interval
    base: Interval
    needs: tuple[Need, ...]
    warmups: dict[FeatureNeed, int]

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Every interval a panel is wanted of, the finest first."""
        wanted = {self.interval}
        wanted |= {n.interval for n in self.needs if not isinstance(n, MetricNeed) and n.interval}
        return tuple(sorted(wanted))

    @property
    def metrics(self) -> dict[str, int]:
        """Warm-up rows wanted of each metric."""
        wanted: dict[str, int] = {}
        for need in self.needs:
            if isinstance(need, MetricNeed):
                wanted[need.name] = max(need.warmup, wanted.get(need.name, 0))
        return wanted

    def features(self) -> tuple[FeatureNeed, ...]:
        """Return every feature that is asked for."""
        return tuple(n for n in self.needs if isinstance(n, FeatureNeed))

    def first_open(self, interval: Interval, first_decision: int) -> int:
        """Return the open time of the earliest candle of `interval` that is needed.

        Args:
            interval: of the candles.
            first_decision: close of the first decision row, microseconds since 1970.
        """
        newest = interval.floor(first_decision)
        index = interval.index(newest)
        needed = index
        for need in self.needs:
            own = self.interval if isinstance(need, MetricNeed) else need.interval or self.interval
            if own != interval:
                continue
            if isinstance(need, FeatureNeed):
                first = first_row_needed(index - need.lookback, self.warmups[need])
                needed = min(needed, first if self.warmups[need] else index - need.lookback)
            else:
                needed = min(needed, index - need.warmup)
        return newest - (index - needed + 1) * interval.micros

    def base_rows(self, first_decision: int, last_decision: int) -> int:
        """Return how many base candles up to `last_decision` are needed."""
        opened = min(self.first_open(i, first_decision) for i in self.intervals)
        return (self.base.floor(last_decision) - self.base.floor(opened)) // self.base.micros


def make_plan(
    interval: Interval,
    base: Interval,
    needs: Iterable[Need],
    make_feature: Callable[[FeatureNeed], Feature],
) -> Plan:
    """Collect what components need, following features that need features.

    Raises:
        ConfigError: something needs candles that the base candles cannot be joined into.
        UnknownPluginError: a feature is not installed.
    """
    pending = list(needs)
    found: dict[Need, None] = {}
    warmups: dict[FeatureNeed, int] = {}
    while pending:
        need = pending.pop()
        if need in found:
            continue
        found[need] = None
        if not isinstance(need, FeatureNeed):
            continue
        feature = make_feature(need)
        if isinstance(feature, StepFeature):
            warmups[need] = feature.warmup
        else:
            warmups[need] = 0
            pending.extend(feature.needs)
    plan = Plan(interval, base, tuple(found), warmups)
    for wanted in plan.intervals:
        if wanted.micros % base.micros:
            raise ConfigError(
                f"{wanted} candles cannot be joined from {base} ones",
                where="base_interval",
                hint=f"Set base_interval to one that divides {wanted}, or leave it out",
            )
    return plan
