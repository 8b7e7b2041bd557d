"""What learned models look at: named groups of columns without units, alike in every market.

No column is a price or an amount: returns and distances are in units of the symbol's own
volatility, volumes against their own mean, metrics as shares or as changes of a logarithm. Each
cell follows from a fixed stretch of the past, so that it is the same however many rows are asked
for.
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
"""Rows that candles and metrics are looked back over."""

_VOLATILITY = feature("volatility", window=48)
_FAST_VOLATILITY = feature("volatility", window=24)
_SLOW_VOLATILITY = feature("volatility", window=168)
_ATR = feature("atr", window=14)


def names(groups: Sequence[FeatureGroup]) -> tuple[str, ...]:
    """Return the names of the columns, in their order, which is that of the groups' definition."""
    return tuple(column.name for column in _chosen(groups))


def needs(groups: Sequence[FeatureGroup]) -> tuple[Need, ...]:
    """Return what a component must declare to look at these groups."""
    wanted: list[Need] = [candles(warmup=WARMUP), _VOLATILITY]
    wanted += [need for column in _chosen(groups) for need in column.needs]
    return tuple(dict.fromkeys(wanted))


def matrix(view: View, groups: Sequence[FeatureGroup], cells: BoolPanel) -> Matrix:
    """Return one row per cell that is set, in the order of ``cells.ravel()``; NaN where unknown.

    Args:
        view: of a component that declares `needs` of these groups.
        groups: which columns.
        cells: which rows and symbols (steps, symbol).
    """
    known = _Known(view)
    chosen = _chosen(groups)
    at = np.flatnonzero(cells)
    found = np.empty((len(at), len(chosen)), dtype=np.float32)
    # A market that stands still, or explodes, divides by zero; what comes of it is unknown.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for number, column in enumerate(chosen):
            panel = np.broadcast_to(column.compute(known), cells.shape)
            found[:, number] = panel.take(at)
    found[~np.isfinite(found)] = np.nan
    return found


class _Known:
    """What columns are computed from; every panel is cut to the decision rows."""

    def __init__(self, view: View) -> None:
        self.view = view

    @cached_property
    def closes(self) -> FloatPanel:
        """Return the closes of `WARMUP` rows and the decision rows; NaN before history begins."""
        return _padded(self.view.candles().close, self.view.steps + WARMUP)

    @cached_property
    def close(self) -> FloatPanel:
        return self.closes[WARMUP:]

    @cached_property
    def volatility(self) -> FloatPanel:
        """Return the volatility of one candle, which may be 0."""
        return self.feature(_VOLATILITY)

    @cached_property
    def reach(self) -> FloatPanel:
        """Return the average true range, in quote currency."""
        return self.feature(_ATR)

    def feature(self, need: FeatureNeed, output: str | None = None) -> FloatPanel:
        return self.view.feature(need, output=output)

    def moved(self, rows: int) -> FloatPanel:
        """Return the log return over `rows` rows in units of what volatility lets expect."""
        before = self.closes[WARMUP - rows : len(self.closes) - rows]
        leapt = self.view.candles().leapt_within(rows)[-len(before) :]
        before = np.where(leapt, np.nan, before)
        move: FloatPanel = np.log(self.close / before) / (self.volatility * np.sqrt(rows))
        return move

    def distance(self, need: FeatureNeed, candles_back: float) -> FloatPanel:
        """Return how far the close lies above a price, in units of a usual move."""
        usual = self.volatility * np.sqrt(candles_back)
        above: FloatPanel = (self.close / self.feature(need) - 1.0) / usual
        return above

    def metric(self, name: str) -> FloatPanel:
        return _padded(self.view.metric(name).values, self.view.steps)

    def grown(self, name: str, rows: int) -> FloatPanel:
        """Return by how much the logarithm of a metric has changed over `rows` rows."""
        values = _padded(self.view.metric(name).values, self.view.steps + rows)
        logs = _log(values)
        return logs[rows:] - logs[: len(logs) - rows]

    def turning(self, period: int) -> tuple[Floats, Floats]:
        """Return where each row lies within a period of the calendar, as a sine and a cosine."""
        angle = (self.view.times % period)[:, None] * (2.0 * np.pi / period)
        return np.sin(angle), np.cos(angle)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: its name, what it asks the view for, and how it is computed."""

    name: str
    compute: Callable[[_Known], FloatPanel]
    needs: tuple[Need, ...] = ()


def _chosen(groups: Sequence[FeatureGroup]) -> list[_Column]:
    return [column for group, columns in _GROUPS.items() if group in groups for column in columns]


def _padded(panel: FloatPanel, rows: int) -> FloatPanel:
    """Return the last `rows` rows, with unknown ones before history begins."""
    missing = rows - len(panel)
    if missing <= 0:
        return panel[len(panel) - rows :]
    return np.concatenate([np.full((missing, panel.shape[1]), np.nan), panel])


def _log(panel: FloatPanel) -> FloatPanel:
    """Return the logarithm; NaN where there is none."""
    return np.log(np.where(panel > 0.0, panel, np.nan))


def _return(rows: int) -> _Column:
    return _Column(f"return_{rows}", lambda known: known.moved(rows))


def _average(window: int) -> _Column:
    need = feature("sma", window=window)
    return _Column(f"sma_{window}_distance", lambda known: known.distance(need, window), (need,))


def _scaled(name: str, need: FeatureNeed, output: str | None = None, scale: float = 1.0) -> _Column:
    return _Column(name, lambda known: known.feature(need, output) * scale, (need,))


def _busy(window: int) -> _Column:
    need = feature("volume_ratio", window=window)
    return _Column(f"volume_ratio_{window}", lambda known: _log(known.feature(need)), (need,))


def _growth(name: str, rows: int) -> _Column:
    need = metric(name, warmup=rows)
    return _Column(f"{name}_growth_{rows}", lambda known: known.grown(name, rows), (need,))


def _level(name: str, scale: float = 1.0) -> _Column:
    return _Column(name, lambda known: known.metric(name) * scale, (metric(name),))


def _ratio(name: str) -> _Column:
    return _Column(f"{name}_log", lambda known: _log(known.metric(name)), (metric(name),))


def _closed_by_force(known: _Known) -> FloatPanel:
    """Return liquidated longs less shorts over both, -1 to 1."""
    longs, shorts = known.metric("long_liquidations_usd"), known.metric("short_liquidations_usd")
    return np.asarray((longs - shorts) / (longs + shorts))


_ADX, _MACD, _RSI_SPREAD = feature("adx", window=14), feature("macd"), feature("rsi_divergence")
_CROSS, _VWAP = feature("ema_cross", fast=9, slow=21), feature("vwap", window=24)

_GROUPS: Final[dict[FeatureGroup, tuple[_Column, ...]]] = {
    "base": (
        *map(_return, (1, 6, 24, 168)),
        _Column("volatility", lambda known: _log(known.volatility)),
        _Column(
            "volatility_change",
            lambda known: _log(known.feature(_FAST_VOLATILITY) / known.feature(_SLOW_VOLATILITY)),
            (_FAST_VOLATILITY, _SLOW_VOLATILITY),
        ),
        _Column("reach", lambda known: known.reach / (known.close * known.volatility), (_ATR,)),
        _scaled("bollinger_position", feature("bollinger"), "position"),
        _scaled("adx", _ADX, "adx", 0.01),
        _Column(
            "directed",
            lambda known: (known.feature(_ADX, "plus_di") - known.feature(_ADX, "minus_di")) / 100,
            (_ADX,),
        ),
        *map(_average, (50, 200)),
        _Column("day_sine", lambda known: known.turning(DAY)[0]),
        _Column("day_cosine", lambda known: known.turning(DAY)[1]),
        _Column("week_sine", lambda known: known.turning(WEEK)[0]),
        _Column("week_cosine", lambda known: known.turning(WEEK)[1]),
    ),
    "momentum": (
        *map(_return, (3, 12, 72)),
        _scaled("rsi_7", feature("rsi", window=7), scale=0.01),
        _scaled("rsi_14", feature("rsi", window=14), scale=0.01),
        _scaled("rsi_spread", _RSI_SPREAD, "spread", 0.01),
        _Column("macd", lambda known: known.feature(_MACD, "macd") / known.reach, (_MACD, _ATR)),
        _Column(
            "macd_histogram",
            lambda known: known.feature(_MACD, "histogram") / known.reach,
            (_MACD, _ATR),
        ),
        _Column(
            "ema_spread",
            lambda known: known.feature(_CROSS, "spread") / known.volatility,
            (_CROSS,),
        ),
        _scaled("since_crossing", _CROSS, "candles_since", 0.002),
    ),
    "volume": (
        *map(_busy, (20, 168)),
        _scaled("obv_ratio_20", feature("obv", window=20), "ratio"),
        _scaled("obv_ratio_72", feature("obv", window=72), "ratio"),
        _Column(
            "vwap_distance",
            lambda known: known.feature(_VWAP, "distance") / known.volatility,
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
            _closed_by_force,
            (metric("long_liquidations_usd"), metric("short_liquidations_usd")),
        ),
    ),
}
