"""Closed trades: the outcome of every signal, from the candles after it."""

from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from weft.components.trained import ComposedDecisions
from weft.domain.breaks import Aside
from weft.domain.candles import Candles
from weft.foundation.arrays import FloatPanel, Floats, Times
from weft.foundation.times import HOUR
from weft.market.view import View
from weft_plugins.sizers.dqn.config import DqnConfig
from weft_plugins.sizers.dqn.state import situation_of, states

Rows: TypeAlias = NDArray[np.int64]

TradeKey: TypeAlias = tuple[int, int, str]
"""Time of closing, time of opening and symbol of a trade: the order of learning."""

_FUNDING_INTERVAL = 8 * HOUR


@dataclass(frozen=True, slots=True)
class Trades:
    """Closed trades, in the order of closing.

    Attributes:
        state: state at opening (n, 7).
        full_size: fraction of equity of a share of 1 (n,).
        volatility: volatility of the trade's return, from earlier candles (n,).
        net_return: return in the signal's direction after costs, as a fraction of the position
            (n,).
        opened: decision row at whose close the trade opened (n,).
        closed: decision row of the candle that closed the trade (n,).
        column: column of the symbol (n,).
        times: times of the decision rows, microseconds since 1970.
        symbols: names of the columns.
    """

    state: Floats
    full_size: Floats
    volatility: Floats
    net_return: Floats
    opened: Rows
    closed: Rows
    column: Rows
    times: Times
    symbols: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.opened)

    def key(self, trade: int) -> TradeKey:
        """Return the key of a trade in the order of all trades."""
        closed, opened = self.times[self.closed[trade]], self.times[self.opened[trade]]
        return int(closed), int(opened), self.symbols[int(self.column[trade])]

    def after(self, key: TradeKey) -> "Trades":
        """Return the trades after a key in the order of all trades."""
        newer = [self.key(trade) > key for trade in range(len(self))]
        return self.pick(np.flatnonzero(newer))

    def pick(self, chosen: Rows) -> "Trades":
        """Return the selected trades, in the given order."""
        columns = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if field.name not in {"times", "symbols"}
        }
        return Trades(**columns, times=self.times, symbols=self.symbols)

    def followers(self) -> Rows:
        """Return the first trade of the same symbol opened after each trade closed (n,).

        -1 where there is none.
        """
        followers = np.full(len(self), -1, dtype=np.int64)
        for column in np.unique(self.column):
            trades = np.flatnonzero(self.column == column)
            by_opening = trades[np.argsort(self.opened[trades], kind="stable")]
            place = np.searchsorted(self.opened[by_opening], self.closed[trades])
            later = place < len(by_opening)
            followers[trades[later]] = by_opening[place[later]]
        return followers


def closed_trades(
    view: View, decisions: ComposedDecisions, config: DqnConfig, horizon: int
) -> Trades:
    """Return every trade of a view that closed by its last row.

    A trade opens at the close of each row with a signal, and closes by the rules of `find_exits`.
    Both sides pay fee and slippage; the trade pays or receives the funding of its rows.
    """
    fusion, levels = decisions.fusion, decisions.levels
    situation = situation_of(view, fusion, levels, config)
    state = states(view, fusion, levels, situation, config, horizon)
    candles = view.candles()
    candles = candles.slice(len(candles) - view.steps, len(candles))
    opened, column = np.nonzero(situation.is_signal & view.universe)
    at = opened, column
    side, entry = fusion.direction[at].astype(np.float64), levels.entry[at]
    exits = find_exits(
        candles, opened, column, side, levels.stop_loss[at], levels.take_profit[at], horizon
    )
    leaps = np.cumsum(candles.aside == Aside.LEAP, axis=0)
    # Prices before and after a split or redenomination cannot be compared.
    known = (exits.row >= 0) & (leaps[exits.row, column] == leaps[at])
    gross = side * (exits.price / entry - 1.0)
    one_side = (config.fee_bps + config.slippage_bps) * 1e-4
    net = gross - one_side * (1.0 + exits.price / entry)
    if config.charge_funding:
        paid = _funding(view)
        net = net - side * (paid[exits.row, column] - paid[at])
    trades = Trades(
        state=state[at],
        full_size=situation.full_size[at],
        volatility=situation.candle_volatility[at] * np.sqrt(horizon),
        net_return=net,
        opened=opened.astype(np.int64),
        closed=exits.row,
        column=column.astype(np.int64),
        times=view.times,
        symbols=view.symbols,
    )
    rank = np.argsort(np.argsort(np.array(view.symbols)))
    order = np.lexsort((rank[column], opened, exits.row))
    return trades.pick(order[known[order]])


@dataclass(frozen=True, slots=True)
class Exits:
    """Price and row of the exit of trades; NaN and -1 where still open (n,)."""

    price: Floats
    row: Rows


def find_exits(
    candles: Candles,
    opened: Rows,
    column: Rows,
    side: Floats,
    stop: Floats,
    target: Floats,
    horizon: int,
) -> Exits:
    """Return the exits of trades: at the stop, the target or the horizon, whichever comes first.

    Rules for each candle after the opening:

    - it opens beyond the stop: exit at its open, which is worse than the stop;
    - it opens beyond the target: exit at the target, not better;
    - it reaches the stop: exit at the stop, also where it reaches the target, because the order
      within a candle is unknown;
    - it reaches the target only: exit at the target.

    A trade still open `horizon` rows after its opening exits at the close of that row, or at the
    open of the next candle where that row has none.

    Args:
        candles: candles of the decision rows.
        opened: row at whose close each trade opens (n,).
        column: column of its symbol (n,).
        side: +1 long, -1 short (n,).
        stop: price of the stop loss, NaN for none (n,).
        target: price of the take profit, NaN for none (n,).
        horizon: longest holding time, rows.
    """
    exits = Exits(np.full(len(opened), np.nan), np.full(len(opened), -1, dtype=np.int64))
    for ahead in range(1, horizon + 1):
        still = np.flatnonzero((exits.row < 0) & (opened + ahead < len(candles)))
        if not len(still):
            break
        at = opened[still] + ahead, column[still]
        sign = side[still]
        # Prices are mirrored for shorts, so that a rise is always a gain.
        first, last = sign * candles.open[at], sign * candles.close[at]
        worst = sign * np.where(sign > 0.0, candles.low[at], candles.high[at])
        best = sign * np.where(sign > 0.0, candles.high[at], candles.low[at])
        floor, ceiling = sign * stop[still], sign * target[still]
        cases = (first <= floor, first >= ceiling, worst <= floor, best >= ceiling)
        prices = (first, ceiling, floor, ceiling)
        at_end = last if ahead == horizon else np.full_like(last, np.nan)
        price = sign * np.select(cases, prices, default=at_end)
        done = np.isfinite(price)
        exits.price[still[done]] = price[done]
        exits.row[still[done]] = at[0][done]
    # Without a candle at the horizon, a trade exits with the next candle.
    late = np.flatnonzero((exits.row < 0) & (opened + horizon + 1 < len(candles)))
    next_row = _next_traded(candles.close)[opened[late] + horizon + 1, column[late]]
    late, next_row = late[next_row >= 0], next_row[next_row >= 0]
    exits.price[late] = candles.open[next_row, column[late]]
    exits.row[late] = next_row
    return exits


def _next_traded(close: FloatPanel) -> Rows:
    """Return the first row at or after each row that has a candle, -1 for none (time, symbol)."""
    rows = np.where(np.isnan(close), len(close), np.arange(len(close))[:, None])
    ahead = np.minimum.accumulate(rows[::-1], axis=0)[::-1]
    return np.where(ahead == len(close), -1, ahead).astype(np.int64)


def _funding(view: View) -> FloatPanel:
    """Return the funding a long has paid up to each row, as a fraction of its position.

    A rate is paid at the row on which it is first known, for the time since the previous payment.
    A candle longer than a funding interval has only its latest rate, which counts for the full
    candle. Unknown funding costs nothing.
    """
    rates = view.metric("funding_rate").last(view.steps)
    happened = rates.times[:, None] - rates.age_seconds * 1e6
    before = np.vstack([np.full((1, happened.shape[1]), np.nan), happened[:-1]])
    is_new = np.isfinite(rates.values) & np.isfinite(before) & (happened - before > 0.5e6)
    # A missing payment is unknown and costs nothing, so its interval does not count.
    longest = max(_FUNDING_INTERVAL, view.interval.micros)
    spans = np.minimum(happened - before, longest) / _FUNDING_INTERVAL
    paid: FloatPanel = np.cumsum(np.where(is_new, spans * rates.values, 0.0), axis=0)
    return paid
