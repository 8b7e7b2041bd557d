"""Input columns of the trees: named groups without units, comparable between markets.

No column is a price or an amount: returns and distances are in units of the symbol's volatility,
volumes are relative to their mean, metrics are shares or changes of a logarithm. Each cell depends
on a fixed number of past rows, so it is the same however many rows a view has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weft.components.needs import FeatureNeed, Need, candles, feature, metric
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft.foundation.times import DAY, WEEK
from weft.market.view import View

FeatureGroup: TypeAlias = Literal["base", "momentum", "volume", "sentiment", "derivatives"]
Matrix: TypeAlias = NDArray[np.float32]

WARMUP: Final = 168
"""Rows of candles and metrics before the decision rows."""

_VOLATILITY = feature("volatility", window=48)
_FAST_VOLATILITY = feature("volatility", window=24)
_SLOW_VOLATILITY = feature("volatility", window=168)
_ATR = feature("atr", window=14)


def names(groups: Sequence[FeatureGroup]) -> tuple[str, ...]:
    """Return the names of the columns, in the order in which the groups are defined."""
    return tuple(column.name for column in _chosen(groups))


def needs(groups: Sequence[FeatureGroup]) -> tuple[Need, ...]:
    """Return the needs a component must declare to compute these groups."""
    declared: list[Need] = [candles(warmup=WARMUP), _VOLATILITY]
    declared += [need for column in _chosen(groups) for need in column.needs]
    return tuple(dict.fromkeys(declared))


def matrix(view: View, groups: Sequence[FeatureGroup], cells: BoolPanel) -> Matrix:
    """Return the columns of each cell that is set (cell, column); NaN where unknown.

    Args:
        view: view of a component that declares the `needs` of these groups.
        groups: groups of columns.
        cells: rows and symbols to compute (steps, symbol); the result is in the order of
            ``cells.ravel()``.
    """
    inputs = _Inputs(view)
    chosen = _chosen(groups)
    at = np.flatnonzero(cells)
    values = np.empty((len(at), len(chosen)), dtype=np.float32)
    # Constant or extreme prices divide by zero; such cells become NaN below.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for number, column in enumerate(chosen):
            panel = np.broadcast_to(column.compute(inputs), cells.shape)
            values[:, number] = panel.take(at)
    values[~np.isfinite(values)] = np.nan
    return values


class _Inputs:
    """Panels that columns are computed from, over the decision rows."""

    def __init__(self, view: View) -> None:
        self.view = view

    @cached_property
    def closes(self) -> FloatPanel:
        """Closes of `WARMUP` rows and the decision rows; NaN before history begins."""
        return _padded(self.view.candles().close, self.view.steps + WARMUP)

    @cached_property
    def close(self) -> FloatPanel:
        return self.closes[WARMUP:]

    @cached_property
    def volatility(self) -> FloatPanel:
        """Volatility of one candle; it may be 0."""
        return self.feature(_VOLATILITY)

    @cached_property
    def true_range(self) -> FloatPanel:
        """Average true range, in quote currency."""
        return self.feature(_ATR)

    def feature(self, need: FeatureNeed, output: str | None = None) -> FloatPanel:
        return self.view.feature(need, output=output)

    def moved(self, rows: int) -> FloatPanel:
        """Return the log return over `rows` rows over volatility times the root of `rows`."""
        before = self.closes[WARMUP - rows : len(self.closes) - rows]
        leapt = self.view.candles().leapt_within(rows)[-len(before) :]
        before = np.where(leapt, np.nan, before)
        move: FloatPanel = np.log(self.close / before) / (self.volatility * np.sqrt(rows))
        return move

    def distance(self, need: FeatureNeed, candles_back: float) -> FloatPanel:
        """Return the relative distance of the close above a price, in units of a usual move."""
        unit = self.volatility * np.sqrt(candles_back)
        above: FloatPanel = (self.close / self.feature(need) - 1.0) / unit
        return above

    def metric(self, name: str) -> FloatPanel:
        return _padded(self.view.metric(name).values, self.view.steps)

    def growth(self, name: str, rows: int) -> FloatPanel:
        """Return the change of the logarithm of a metric over `rows` rows."""
        values = _padded(self.view.metric(name).values, self.view.steps + rows)
        logs = _log(values)
        return logs[rows:] - logs[: len(logs) - rows]

    def phase(self, period: int) -> tuple[Floats, Floats]:
        """Return sine and cosine of each row's position in a period of the calendar."""
        angle = (self.view.times % period)[:, None] * (2.0 * np.pi / period)
        return np.sin(angle), np.cos(angle)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its name, its computation and its needs."""

    name: str
    compute: Callable[[_Inputs], FloatPanel]
    needs: tuple[Need, ...] = ()


def _chosen(groups: Sequence[FeatureGroup]) -> list[_Column]:
    return [column for group, columns in _GROUPS.items() if group in groups for column in columns]


def _padded(panel: FloatPanel, rows: int) -> FloatPanel:
    """Return the last `rows` rows, with NaN before history begins."""
    missing = rows - len(panel)
    if missing <= 0:
        return panel[len(panel) - rows :]
    return np.concatenate([np.full((missing, panel.shape[1]), np.nan), panel])


def _log(panel: FloatPanel) -> FloatPanel:
    """Return the logarithm; NaN for values of 0 or less."""
    return np.log(np.where(panel > 0.0, panel, np.nan))


def _return(rows: int) -> _Column:
    return _Column(f"return_{rows}", lambda inputs: inputs.moved(rows))


def _average(window: int) -> _Column:
    need = feature("sma", window=window)
    return _Column(f"sma_{window}_distance", lambda inputs: inputs.distance(need, window), (need,))


def _scaled(name: str, need: FeatureNeed, output: str | None = None, scale: float = 1.0) -> _Column:
    return _Column(name, lambda inputs: inputs.feature(need, output) * scale, (need,))


def _volume_ratio(window: int) -> _Column:
    need = feature("volume_ratio", window=window)
    return _Column(f"volume_ratio_{window}", lambda inputs: _log(inputs.feature(need)), (need,))


def _growth(name: str, rows: int) -> _Column:
    need = metric(name, warmup=rows)
    return _Column(f"{name}_growth_{rows}", lambda inputs: inputs.growth(name, rows), (need,))


def _level(name: str, scale: float = 1.0) -> _Column:
    return _Column(name, lambda inputs: inputs.metric(name) * scale, (metric(name),))


def _ratio(name: str) -> _Column:
    return _Column(f"{name}_log", lambda inputs: _log(inputs.metric(name)), (metric(name),))


def _liquidation_balance(inputs: _Inputs) -> FloatPanel:
    """Return liquidated longs minus shorts, over their sum, -1 to 1."""
    longs, shorts = inputs.metric("long_liquidations_usd"), inputs.metric("short_liquidations_usd")
    return np.asarray((longs - shorts) / (longs + shorts))


_ADX, _MACD, _RSI_SPREAD = feature("adx", window=14), feature("macd"), feature("rsi_divergence")
_CROSS, _VWAP = feature("ema_cross", fast=9, slow=21), feature("vwap", window=24)

_GROUPS: Final[dict[FeatureGroup, tuple[_Column, ...]]] = {
    "base": (
        *map(_return, (1, 6, 24, 168)),
        _Column("volatility", lambda inputs: _log(inputs.volatility)),
        _Column(
            "volatility_change",
            lambda inputs: _log(
                inputs.feature(_FAST_VOLATILITY) / inputs.feature(_SLOW_VOLATILITY)
            ),
            (_FAST_VOLATILITY, _SLOW_VOLATILITY),
        ),
        _Column(
            "reach", lambda inputs: inputs.true_range / (inputs.close * inputs.volatility), (_ATR,)
        ),
        _scaled("bollinger_position", feature("bollinger"), "position"),
        _scaled("adx", _ADX, "adx", 0.01),
        _Column(
            "directed",
            lambda inputs: (
                (inputs.feature(_ADX, "plus_di") - inputs.feature(_ADX, "minus_di")) / 100
            ),
            (_ADX,),
        ),
        *map(_average, (50, 200)),
        _Column("day_sine", lambda inputs: inputs.phase(DAY)[0]),
        _Column("day_cosine", lambda inputs: inputs.phase(DAY)[1]),
        _Column("week_sine", lambda inputs: inputs.phase(WEEK)[0]),
        _Column("week_cosine", lambda inputs: inputs.phase(WEEK)[1]),
    ),
    "momentum": (
        *map(_return, (3, 12, 72)),
        _scaled("rsi_7", feature("rsi", window=7), scale=0.01),
        _scaled("rsi_14", feature("rsi", window=14), scale=0.01),
        _scaled("rsi_spread", _RSI_SPREAD, "spread", 0.01),
        _Column(
            "macd", lambda inputs: inputs.feature(_MACD, "macd") / inputs.true_range, (_MACD, _ATR)
        ),
        _Column(
            "macd_histogram",
            lambda inputs: inputs.feature(_MACD, "histogram") / inputs.true_range,
            (_MACD, _ATR),
        ),
        _Column(
            "ema_spread",
            lambda inputs: inputs.feature(_CROSS, "spread") / inputs.volatility,
            (_CROSS,),
        ),
        _scaled("since_crossing", _CROSS, "candles_since", 0.002),
    ),
    "volume": (
        *map(_volume_ratio, (20, 168)),
        _scaled("obv_ratio_20", feature("obv", window=20), "ratio"),
        _scaled("obv_ratio_72", feature("obv", window=72), "ratio"),
        _Column(
            "vwap_distance",
            lambda inputs: inputs.feature(_VWAP, "distance") / inputs.volatility,
            (_VWAP,),
        ),
    ),
    "sentiment": (
        _level("social_sentiment"),
        _level("news_sentiment"),
        _level("social_dominance"),
        _level("fear_greed", 0.01),
        _growth("social_volume", 24),
        _growth("social_volume", 168),
        _growth("news_volume", 24),
    ),
    "derivatives": (
        _level("funding_rate", 1e4),
        _growth("open_interest_usd", 24),
        _ratio("long_short_ratio"),
        _ratio("taker_buy_sell_ratio"),
        _Column(
            "liquidated",
            _liquidation_balance,
            (metric("long_liquidations_usd"), metric("short_liquidations_usd")),
        ),
    ),
}
