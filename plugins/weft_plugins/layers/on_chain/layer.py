"""The on-chain and derivatives layer: each metric ranked among its history."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.layer import Layer, Scores
from weft.components.needs import Need, candles, feature, metric
from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import nearest
from weft.foundation.times import HOUR, SECOND
from weft.market.view import View
from weft_plugins.layers.on_chain.metrics import (
    GROUPS,
    LEVELS,
    LIQUIDATIONS,
    READINGS,
    Reading,
)
from weft_plugins.layers.on_chain.ranks import rank_in_history, sample_rows

_LIQUIDATED: Final = ("long_liquidations_usd", "short_liquidations_usd")
_OPEN_INTEREST: Final = "open_interest_usd"
_LEVELS: Final = feature("liquidation_levels")


class OnChain(Layer):
    """Scores a coin by the ranks of its on-chain and derivatives metrics in their history.

    Each metric, or the logarithm of its change over `change_rows`, is ranked among its values of
    the last `history_rows`, as they were known on rows `sample_rows` apart: -1 is the lowest, 0 the
    median, +1 the highest. A restatement counts from when it was known. A metric's score is its
    rank times its sign (`weft_plugins.layers.on_chain.metrics` has sign, weight and reason; `signs`
    overrides them).

    The metrics make up groups: *valuation*, *flows* to and from exchanges, *positioning* in
    derivatives, *liquidations*, *miners*, *holders*, *smart_money*, *activity* and *order_book*.
    A metric's weight is that of its group times its share of the group. The score is the weighted
    mean of the metrics that are known, times 100, and the confidence the share of the weight that
    is known. Where nothing is known there is no opinion.

    A metric is unknown where its value is older than `stale_after` times its usual interval (or the
    decision interval, where that is longer), where fewer than `least_samples` of its history are
    known, and where it has never moved. Where sources disagree, the metric loses the share of its
    weight that their spread covers in its history.

    *liquidations* holds two readings. `liquidation_imbalance` is the asymmetry of forced closes
    that happened: the mean of long less short liquidations over `liquidation_rows`, over the open
    interest, or over both together where that is unknown. `liquidation_levels` is the balance of
    the feature of that name, from -1 to +1, unranked: where more leveraged positions near the price
    would be closed by force above it than below, it favours a rise. That price is drawn to the
    heavier side is traders' folklore, and the levels are estimates: we know of no published study
    that confirms it. It has a fifth of the group's weight, and `signs` can invert or exclude it.

    The evidence holds the points of each group, which add up to the score, the rank of each metric
    by its name, and the prices of the heaviest clusters of liquidation levels near the
    close, `liquidation_level_above` and `liquidation_level_below`.
    """

    name = "on_chain"

    class Config(ComponentConfig):
        """Options. Only the ratios of the weights matter."""

        valuation: float = Field(default=0.20, ge=0, description="weight of MVRV, SOPR, NUPL, ...")
        flows: float = Field(default=0.20, ge=0, description="weight of exchange flows")
        positioning: float = Field(
            default=0.20, ge=0, description="weight of funding, open interest, ..."
        )
        liquidations: float = Field(default=0.05, ge=0, description="weight of forced closes")
        miners: float = Field(default=0.05, ge=0, description="weight of miners")
        holders: float = Field(default=0.10, ge=0, description="weight of holders and coin age")
        smart_money: float = Field(default=0.10, ge=0, description="weight of labelled wallets")
        activity: float = Field(default=0.05, ge=0, description="weight of use and adoption")
        order_book: float = Field(default=0.05, ge=0, description="weight of the order book")

        signs: Mapping[str, Literal[-1, 0, 1]] = Field(
            default_factory=dict,
            description="other signs: {funding_rate: 1}; 0 leaves a metric out",
        )
        history_rows: int = Field(default=2160, ge=20, description="rows a value is ranked among")
        sample_rows: int = Field(
            default=25,
            ge=1,
            description="rows between samples of them; no multiple of a day, or each is taken at "
            "the same hour",
        )
        least_samples: int = Field(default=20, ge=3, description="samples that must be known")
        change_rows: int = Field(default=168, ge=1, description="rows that changes reach over")
        liquidation_rows: int = Field(default=24, ge=1, description="rows of forced closes")
        stale_after: float = Field(
            default=3.0, gt=0, description="usual intervals after which a value is too old"
        )

        @model_validator(mode="after")
        def _options_fit(self) -> Self:
            if not any(getattr(self, group) for group in GROUPS):
                raise ValueError(f"at least one of {', '.join(GROUPS)} must be above 0")
            if self.least_samples * self.sample_rows > self.history_rows:
                raise ValueError(
                    f"history_rows ({self.history_rows}) hold fewer than least_samples "
                    f"({self.least_samples}) samples, {self.sample_rows} rows apart"
                )
            for name in self.signs:
                if name not in READINGS:
                    close = nearest(name, list(READINGS))
                    raise ValueError(f"no metric {name!r}" + (f": {close}?" if close else ""))
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Every metric that has a weight, with its history, and the liquidation levels."""
        config, reach = self.config, dict[str, int]()
        for reading in self._readings():
            back = config.change_rows if reading.form == "change" else 0
            names: tuple[str, ...] = (reading.name,)
            if reading.name == LEVELS:
                continue
            if reading.name == LIQUIDATIONS:
                back, names = config.liquidation_rows, (*_LIQUIDATED, _OPEN_INTEREST)
            for name in names:
                reach[name] = max(reach.get(name, 0), config.history_rows + back)
        needs: list[Need] = [metric(name, warmup=rows) for name, rows in reach.items()]
        if READINGS[LEVELS] in self._readings():
            needs += [_LEVELS, candles(warmup=0)]
        return needs

    def _readings(self) -> list[Reading]:
        config = self.config
        return [
            reading
            for reading in READINGS.values()
            if getattr(config, reading.group) and config.signs.get(reading.name, reading.sign)
        ]

    def score(self, view: View) -> Scores:
        """Return the weighted mean of the metrics that are known."""
        config, shape = self.config, (view.steps, len(view.symbols))
        readings = self._readings()
        group_weights = {
            group: sum(r.weight for r in readings if r.group == group) for group in GROUPS
        }
        known_weight, parts = np.zeros(shape), {group: np.zeros(shape) for group in GROUPS}
        ranks = dict[str, FloatPanel]()
        for reading in readings:
            place, doubt = self._rank_of(view, reading)
            weight = getattr(config, reading.group) * reading.weight / group_weights[reading.group]
            weight_known = np.where(np.isnan(place), 0.0, weight * (1.0 - doubt))
            sign = config.signs.get(reading.name, reading.sign)
            parts[reading.group] += sign * weight_known * np.nan_to_num(place)
            known_weight += weight_known
            ranks[reading.name] = place
        is_known = known_weight > 0.0
        points = {
            group: np.divide(100.0 * part, known_weight, out=np.full(shape, np.nan), where=is_known)
            for group, part in parts.items()
        }
        total = sum(points.values(), np.zeros(shape))
        weights = sum(getattr(config, group) for group in GROUPS if group_weights[group])
        return view.scores(
            # Rounding may carry a sum of points a hair beyond the range of a score.
            np.clip(total, -100.0, 100.0),
            confidence=np.clip(known_weight / weights, 0.0, 1.0),
            evidence={
                **{f"{group}_points": p for group, p in points.items()},
                **ranks,
                **(_clusters(view) if LEVELS in ranks else {}),
            },
        )

    def _rank_of(self, view: View, reading: Reading) -> tuple[FloatPanel, FloatPanel]:
        """Return a metric's rank, and the share of its history that its sources' spread covers."""
        if reading.name == LIQUIDATIONS:
            rows = _MetricRows(view, _LIQUIDATED[0], self.config)
            return rows.ranks(self._imbalance(view, rows)), np.zeros(
                (view.steps, len(view.symbols))
            )
        if reading.name == LEVELS:
            balance = view.feature(_LEVELS, output="balance")
            return balance, np.zeros(balance.shape)
        rows = _MetricRows(view, reading.name, self.config)
        return rows.ranks(rows.read(reading)), rows.doubt(reading)

    def _imbalance(self, view: View, rows: "_MetricRows") -> FloatPanel:
        longs, shorts = (self._recent(view, name, rows) for name in _LIQUIDATED)
        limit = _patience(view, READINGS[_OPEN_INTEREST], self.config)
        panel = view.metric(_OPEN_INTEREST)
        skip = len(panel.values) - rows.count
        at = rows.wanted + skip
        base = np.where(panel.age_seconds[at] <= limit, panel.values[at], np.nan)
        base = np.where(base > 0.0, base, longs + shorts)
        asymmetry: FloatPanel = np.divide(
            longs - shorts, base, out=np.full(longs.shape, np.nan), where=base > 0.0
        )
        return asymmetry

    def _recent(self, view: View, name: str, rows: "_MetricRows") -> FloatPanel:
        """Return the mean of the last rows before each wanted row, where half are known."""
        panel = view.metric(name)
        limit = _patience(view, READINGS[LIQUIDATIONS], self.config)
        skip = len(panel.values) - rows.count
        total, known = np.zeros((2, len(rows.wanted), len(view.symbols)))
        for back in range(self.config.liquidation_rows):
            at = rows.wanted + skip - back
            inside = (at >= 0)[:, None]
            at = np.maximum(at, 0)
            value = np.where(inside & (panel.age_seconds[at] <= limit), panel.values[at], np.nan)
            total += np.nan_to_num(value)
            known += ~np.isnan(value)
        enough = 2.0 * known >= self.config.liquidation_rows
        mean: FloatPanel = np.divide(total, known, out=np.full_like(total, np.nan), where=enough)
        return mean


def _clusters(view: View) -> dict[str, FloatPanel]:
    """Return the prices of the heaviest clusters of liquidation levels on either side."""
    close = view.candles().close[-view.steps :]
    return {
        f"liquidation_level_{side}": close * (1.0 + sign * view.feature(_LEVELS, output=output))
        for side, sign, output in (("above", 1, "nearest_above"), ("below", -1, "nearest_below"))
    }


def _patience(view: View, reading: Reading, options: "OnChain.Config") -> float:
    """Return the greatest age of a known value, seconds; at least the decision interval's."""
    usual = max(reading.hours * HOUR, view.interval.micros)
    return float(options.stale_after * usual / SECOND)


@dataclass
class _MetricRows:
    """The rows of a metric that are used: samples of its history, and the decision rows."""

    view: View
    name: str
    options: OnChain.Config

    def __post_init__(self) -> None:
        self.panel = self.view.metric(self.name)
        self.count = len(self.panel.values)
        first = self.view.interval.index(int(self.panel.times[0]))
        # The decision rows come last, also where some of them are samples.
        self.sampled = sample_rows(first, self.count, self.options.sample_rows)
        self.decision_rows = np.arange(self.count - self.view.steps, self.count)
        self.wanted: NDArray[np.int64] = np.concatenate([self.sampled, self.decision_rows])

    def ranks(self, values: FloatPanel) -> FloatPanel:
        """Return the ranks of the decision rows among the samples."""
        return self._rank(values[len(self.sampled) :], values)

    def read(self, reading: Reading) -> FloatPanel:
        """Return the metric in its form on the wanted rows."""
        return self._formed(reading, self._fresh(reading, self.wanted), self.wanted)

    def doubt(self, reading: Reading) -> FloatPanel:
        """Return the share of the history that the sources' spread covers on the decision rows."""
        spread = np.nan_to_num(self.panel.spread[self.decision_rows])
        if not spread.any():
            return np.zeros(spread.shape)
        history = self.read(reading)
        value = self._fresh(reading, self.decision_rows)
        low, high = (
            self._rank(
                self._formed(reading, value + side * spread / 2.0, self.decision_rows), history
            )
            for side in (-1.0, 1.0)
        )
        # A low end without a logarithm is below all of the history.
        low = np.where(np.isnan(low), -1.0, low)
        return np.where(spread > 0.0, np.clip((np.nan_to_num(high) - low) / 2.0, 0.0, 1.0), 0.0)

    def _rank(self, values: FloatPanel, history: FloatPanel) -> FloatPanel:
        config = self.options
        past = history[: len(self.sampled)]
        return rank_in_history(
            values,
            past,
            self.decision_rows,
            self.sampled,
            window=config.history_rows,
            least=config.least_samples,
        )

    def _fresh(self, reading: Reading, at: NDArray[np.int64]) -> FloatPanel:
        limit = _patience(self.view, reading, self.options)
        fresh = self.panel.age_seconds[at] <= limit
        values: FloatPanel = np.where(fresh, self.panel.values[at], np.nan)
        return values

    def _formed(self, reading: Reading, values: FloatPanel, at: NDArray[np.int64]) -> FloatPanel:
        if reading.form == "level":
            return values
        before = at - self.options.change_rows
        past = self._fresh(reading, np.maximum(before, 0))
        possible = (values > 0.0) & (past > 0.0) & (before >= 0)[:, None]
        ratio = np.divide(values, past, out=np.ones(values.shape), where=possible)
        return np.where(possible, np.log(ratio), np.nan)
