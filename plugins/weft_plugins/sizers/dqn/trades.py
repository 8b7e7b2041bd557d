"""Closed trades: what came of every signal, told by the candles after it."""

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
from weft_plugins.sizers.dqn.state import find_situation, states

Rows: TypeAlias = NDArray[np.int64]

TradeKey: TypeAlias = tuple[int, int, str]
"""When a trade closed, when it was opened, and its symbol: the order trades are learnt in."""

_FUNDING_INTERVAL = 8 * HOUR


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades whose end is known, in the order they closed.

    Attributes:
        state: what was known when each was opened (n, 7).
        full_size: fraction of equity that a share of 1 holds (n,).
        volatility: of the trade's return, going by the candles before it (n,).
        net_return: in the signal's direction, costs deducted, as a fraction of the position (n,).
        opened: decision row at whose close it was opened (n,).
        closed: decision row of the candle that closed it (n,).
        column: of its symbol (n,).
        times: of the decision rows, microseconds since 1970.
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
        """Return a trade's place in the order of all trades ever."""
        closed, opened = self.times[self.closed[trade]], self.times[self.opened[trade]]
        return int(closed), int(opened), self.symbols[int(self.column[trade])]

    def after(self, key: TradeKey) -> "Trades":
        """Return the trades that come after one in the order of all trades."""
        newer = [self.key(trade) > key for trade in range(len(self))]
        return self.only(np.flatnonzero(newer))

    def only(self, chosen: Rows) -> "Trades":
        """Return some of the trades, in the order given."""
        kept = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if field.name not in {"times", "symbols"}
        }
        return Trades(**kept, times=self.times, symbols=self.symbols)

    def followers(self) -> Rows:
        """Return the trade of the same symbol that is opened next once each is closed (n,).

        -1 where none is.
        """
        found = np.full(len(self), -1, dtype=np.int64)
        for column in np.unique(self.column):
            own = np.flatnonzero(self.column == column)
            by_opening = own[np.argsort(self.opened[own], kind="stable")]
            place = np.searchsorted(self.opened[by_opening], self.closed[own])
            later = place < len(by_opening)
            found[own[later]] = by_opening[place[later]]
        return found


def closed_trades(
    view: View, opinions: ComposedDecisions, config: DqnConfig, horizon: int
) -> Trades:
    """Return every trade of a view that is closed by its last row.

    A trade is opened at the close of each row with a signal, and ends as `find_exits` says. Both
    sides pay fee and slippage, and it pays or is paid the funding of the rows it is held over.
    """
    fusion, levels = opinions.fusion, opinions.levels
    situation = find_situation(view, fusion, levels, config)
    seen = states(view, fusion, levels, situation, config, horizon)
    candles = view.candles()
    candles = candles.slice(len(candles) - view.steps, len(candles))
    opened, column = np.nonzero(situation.is_signal & view.universe)
    at = opened, column
    side, entry = fusion.direction[at].astype(np.float64), levels.entry[at]
    exits = find_exits(
        candles, opened, column, side, levels.stop_loss[at], levels.take_profit[at], horizon
    )
    leaps = np.cumsum(candles.aside == Aside.LEAP, axis=0)
    # What a trade makes over a split or a redenomination, prices do not say.
    known = (exits.row >= 0) & (leaps[exits.row, column] == leaps[at])
    gross = side * (exits.price / entry - 1.0)
    one_side = (config.fee_bps + config.slippage_bps) * 1e-4
    net = gross - one_side * (1.0 + exits.price / entry)
    if config.charge_funding:
        paid = _funding(view)
        net = net - side * (paid[exits.row, column] - paid[at])
    every = Trades(
        state=seen[at],
        full_size=situation.full_size[at],
        volatility=situation.a_candle[at] * np.sqrt(horizon),
        net_return=net,
        opened=opened.astype(np.int64),
        closed=exits.row,
        column=column.astype(np.int64),
        times=view.times,
        symbols=view.symbols,
    )
    rank = np.argsort(np.argsort(np.array(view.symbols)))
    order = np.lexsort((rank[column], opened, exits.row))
    return every.only(order[known[order]])


@dataclass(frozen=True, slots=True)
class Exits:
    """How trades ended: price, and row of the candle; NaN and -1 where not known yet (n,)."""

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
    """Return where trades end: at the stop, the target or the horizon, whichever comes first.

    Candle by candle after the opening: one that opens beyond the stop fills there, at its open,
    which is worse than the stop. One that opens beyond the target fills at the target, not
    better. One that reaches the stop fills at the stop, even if it reaches the target too, for
    nobody knows which came first. One that reaches the target alone fills at the target. What is
    still open `horizon` rows after its opening ends at that row's close, and where there is no
    candle then, at the open of the next one.

    Args:
        candles: prices on the decision rows.
        opened: row at whose close each trade is opened (n,).
        column: of its symbol (n,).
        side: +1 long, -1 short (n,).
        stop: price of the stop loss, NaN for none (n,).
        target: price of the take profit, NaN for none (n,).
        horizon: rows a trade is held at most.
    """
    exits = Exits(np.full(len(opened), np.nan), np.full(len(opened), -1, dtype=np.int64))
    for ahead in range(1, horizon + 1):
        still = np.flatnonzero((exits.row < 0) & (opened + ahead < len(candles)))
        if not len(still):
            break
        at = opened[still] + ahead, column[still]
        way = side[still]
        # Mirrored for shorts, so that up is always good.
        first, last = way * candles.open[at], way * candles.close[at]
        worst = way * np.where(way > 0.0, candles.low[at], candles.high[at])
        best = way * np.where(way > 0.0, candles.high[at], candles.low[at])
        floor, ceiling = way * stop[still], way * target[still]
        cases = (first <= floor, first >= ceiling, worst <= floor, best >= ceiling)
        prices = (first, ceiling, floor, ceiling)
        at_end = last if ahead == horizon else np.full_like(last, np.nan)
        price = way * np.select(cases, prices, default=at_end)
        done = np.isfinite(price)
        exits.price[still[done]] = price[done]
        exits.row[still[done]] = at[0][done]
    # Without a candle at the horizon, a trade ends with the next one there is.
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

    A rate is paid at the row on which it is first known, for the time since the payment before;
    on candles longer than a funding interval, of which only the latest rate is known, it stands
    for all of the candle's. What is not known costs nothing.
    """
    rates = view.metric("funding_rate").last(view.steps)
    happened = rates.times[:, None] - rates.age_seconds * 1e6
    before = np.vstack([np.full((1, happened.shape[1]), np.nan), happened[:-1]])
    is_new = np.isfinite(rates.values) & np.isfinite(before) & (happened - before > 0.5e6)
    # A payment that is missing is not known, and costs nothing either.
    longest = max(_FUNDING_INTERVAL, view.interval.micros)
    spans = np.minimum(happened - before, longest) / _FUNDING_INTERVAL
    paid: FloatPanel = np.cumsum(np.where(is_new, spans * rates.values, 0.0), axis=0)
    return paid
