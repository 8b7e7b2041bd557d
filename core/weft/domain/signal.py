"""The signal: what the engine says about one symbol at one instant, and why."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from weft.foundation.arithmetic import rounded


class Direction(StrEnum):
    """Which way a signal points."""

    LONG = "LONG"
    SHORT = "SHORT"
    NEUTRAL = "NEUTRAL"


class LayerStatus(StrEnum):
    """How a layer came to its answer for one symbol."""

    OK = "ok"
    NO_OPINION = "no_opinion"
    """It ran, and has nothing to say: too little history since the listing or a hole."""
    FAILED = "failed"
    """It raised, overran its deadline or broke its contract; see `missing_layers`."""


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer's part in a signal.

    Attributes:
        name: the layer.
        score: -100 to +100, None where it has no opinion.
        weight: its share of the fused score, 0 to 1.
        confidence: its own, 0 to 1.
        status: how it came to its answer.
        evidence: named figures behind the score.
    """

    name: str
    score: float | None
    weight: float
    confidence: float | None
    status: LayerStatus
    evidence: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """What one model forecasts of a symbol's return until the horizon.

    Attributes:
        model: its name in config.
        artifact: digest of what it was trained to.
        trust: 0 (no better than knowing nothing, on rows after its training) to 1.
        probability_up: chance that the price rises, 0 to 1; None where it has no forecast.
        mean: expected log return.
        quantiles: log return at each level, by the level as text: ``0.05``.
        evidence: further figures, such as how far repeated passes disagree.
    """

    model: str
    artifact: str
    trust: float
    probability_up: float | None
    mean: float | None
    quantiles: Mapping[str, float | None]
    evidence: Mapping[str, float | None]


UNKNOWN_REGIME: Final = "unknown"
"""Name of the regime where what detects it is trusted 0."""


@dataclass(frozen=True, slots=True)
class RegimeReport:
    """Where the market stands.

    Attributes:
        name: the likeliest state; ``unknown`` where the regime is trusted 0.
        trust: how far the regime has earned to be listened to, on rows after its training: 0 to 1.
        probability: of each state, by name, as far from equal chances as the regime is trusted.
        change_probability: chance that the next candle is in another state; None where the name is
            ``unknown``.
        expected_duration: candles the likeliest state lasts on average; None for endless, and
            where the name is ``unknown``.
        position_multiplier: what it does to sizes, 0 to 1.
        artifact: digest of what it was trained to.
    """

    name: str
    trust: float
    probability: Mapping[str, float | None]
    change_probability: float | None
    expected_duration: float | None
    position_multiplier: float | None
    artifact: str


@dataclass(frozen=True, slots=True)
class DataProvenance:
    """What a signal was made of.

    Attributes:
        kind: real, synthetic or sandbox.
        provider: who brought the candles.
        status: live, closed (the market), stale (the candles stop before `as_of`), halted (one
            price and no volume for hours) or broken (the price leapt without a trade between, as
            after a split). Only a live one has an entry.
        last_candle: close of the latest candle, ISO 8601 UTC.
        age_seconds: from that close to `as_of`.
        coverage: share of the candles looked at that were there, 0 to 1.
        notes: what is wrong with the data from now on, and what to do about it; corrections of
            candles that came too late are among it.
        stale_metrics: metrics that count as unknown, as their newest value is too old: its age in
            seconds, by metric.
    """

    kind: str
    provider: str
    status: str
    last_candle: str | None
    age_seconds: float | None
    coverage: float
    notes: tuple[str, ...] = ()
    stale_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Versions:
    """What composed a signal, so that it can be made again.

    Attributes:
        weft: version of the engine.
        config: digest of every setting that can change a signal.
        plugins: distribution and version of each component, by kind and name.
        artifacts: digest of each artifact used, by the component's key in config.
    """

    weft: str
    config: str
    plugins: Mapping[str, str]
    artifacts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signal:
    """What the engine says about one symbol at one instant, and why.

    Figures that the engine reports have nine significant digits (`with_rounded_figures`).

    Attributes:
        id: digest of everything below; equal signals have equal ids.
        symbol: what it is about.
        as_of: the decision row, ISO 8601 UTC; nothing known later went in.
        interval: length of a candle.
        horizon: how far ahead it looks.
        direction: LONG, SHORT or NEUTRAL.
        score: -100 to +100.
        confidence: 0 to 100; see `calibrated`.
        calibrated: whether the confidence was fitted to outcomes. Where it is not, 70 does not
            mean seven in ten.
        entry: price at `as_of`, quote currency; None where the market is closed or stale.
        stop_loss: where the idea is wrong; None for NEUTRAL.
        take_profit: where it has paid; None for NEUTRAL.
        risk_reward: distance to the take profit over distance to the stop loss.
        position_size: fraction of equity, 0 or more.
        layers: what each enabled layer said.
        missing_layers: enabled layers that did not answer, and why.
        forecasts: what each trained model that answered forecasts.
        regime: state of the market; None without a trained detector.
        risk: what can be lost within the signal's horizon, as named figures, and that horizon
            under ``horizon``; empty where the risk component states no figures.
        sizing: what stands behind the size, as named figures.
        missing_models: models, regime or sizer that did not answer or are not trained, by their
            keys in config, and why.
        data: what it was made of.
        versions: what composed it.
    """

    id: str
    symbol: str
    as_of: str
    interval: str
    horizon: str
    direction: Direction
    score: float
    confidence: float
    calibrated: bool
    entry: float | None
    stop_loss: float | None
    take_profit: float | None
    risk_reward: float | None
    position_size: float
    layers: tuple[LayerReport, ...]
    missing_layers: Mapping[str, str]
    forecasts: tuple[ForecastReport, ...]
    regime: RegimeReport | None
    risk: Mapping[str, float | str | None]
    sizing: Mapping[str, float | None]
    missing_models: Mapping[str, str]
    data: DataProvenance
    versions: Versions

    def to_dict(self) -> dict[str, Any]:
        """Return the signal as plain values, with None where a number is not known."""
        return asdict(self)

    def to_json(self) -> bytes:
        """Return the signal as canonical JSON: keys sorted, no NaN, the same bytes every time."""
        return to_json(self)


def to_json(value: object) -> bytes:
    """Return dataclasses and plain values as canonical JSON. NaN and infinities become null."""
    # By itself orjson writes the fields of a dataclass in the order of their declaration.
    option = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
    return orjson.dumps(value, default=_fields, option=option)


def _fields(value: object) -> dict[str, object]:
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    raise TypeError(type(value).__name__)


def with_id(signal: Signal) -> Signal:
    """Return the signal with its id set to the digest of all its other fields."""
    return replace(signal, id=hashlib.sha256(to_json(replace(signal, id=""))).hexdigest()[:32])


def with_rounded_figures(signal: Signal) -> Signal:
    """Return the signal with every figure rounded to `SIGNIFICANT_DIGITS`.

    Machines whose arithmetic differs in the last bits then give the same signal, nearly always.
    """
    changes = {field.name: _rounded(getattr(signal, field.name)) for field in fields(signal)}
    return replace(signal, **changes)


def _rounded(value: Any) -> Any:  # noqa: ANN401  # whatever a signal holds
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _rounded(getattr(value, f.name)) for f in fields(value)})
    return value


def number(value: float) -> float | None:
    """Return a finite number as a float, minus zero as zero; None for NaN and infinities."""
    return float(value) + 0.0 if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Report:
    """All signals of one composition.

    Attributes:
        as_of: the decision row, ISO 8601 UTC.
        data: kind of the data: real, synthetic or sandbox.
        signals: one for each symbol of the universe that has data, by symbol.
        omitted: symbols that have data but get no signal, and why.
        not_recorded: why the signals do not go into the ledger; None where they do.
    """

    as_of: str
    data: str
    signals: tuple[Signal, ...]
    omitted: Mapping[str, str]
    not_recorded: str | None = None

    @property
    def missing_layers(self) -> Mapping[str, str]:
        """Enabled layers that did not answer, and why; alike for all signals."""
        return self.signals[0].missing_layers if self.signals else {}

    def to_json(self) -> bytes:
        """Return the report as canonical JSON."""
        return to_json(self)
