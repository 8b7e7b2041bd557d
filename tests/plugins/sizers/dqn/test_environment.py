"""Exits and costs of trades, and the environment."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from tests.plugins.sizers.dqn.worlds import HORIZON, TINY, decisions, market, trades_of, view_of
from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.components.trained import ComposedDecisions
from weft.domain.candles import Candles, candles_from_arrays
from weft.domain.instruments import describe
from weft.foundation.times import Interval
from weft.testing.history import START, History
from weft_plugins.sizers.dqn.environment import TradeEnvironment
from weft_plugins.sizers.dqn.reward import Account
from weft_plugins.sizers.dqn.sizer import DqnSizer
from weft_plugins.sizers.dqn.trades import closed_trades, find_exits

NO = float("nan")


def candles_of(rows: list[tuple[float, float, float, float]]) -> Candles:
    """Return the candles of one coin from open, high, low and close."""
    panels = np.array(rows)
    columns = {n: panels[:, i : i + 1] for i, n in enumerate(("open", "high", "low", "close"))}
    columns["volume"] = np.ones((len(rows), 1))
    interval = Interval.parse("1h")
    times = START + np.arange(len(rows)) * interval.micros
    return candles_from_arrays(interval, times, (describe("COINUSDT"),), columns)


FLAT = (100.0, 101.0, 99.0, 100.0)
LOST = (NO, NO, NO, NO)


@pytest.mark.parametrize(
    ("what", "later", "side", "price", "row"),
    [
        ("target", [FLAT, (100, 111, 99, 105)], 1, 110.0, 2),
        ("stop", [FLAT, (100, 101, 94, 97)], 1, 95.0, 2),
        ("both in one candle: the stop", [(100, 120, 90, 100)], 1, 95.0, 1),
        ("a gap through the stop fills at the open", [(80, 90, 70, 85)], 1, 80.0, 1),
        ("a gap through the target fills no better", [(120, 125, 90, 120)], 1, 110.0, 1),
        ("the horizon", [FLAT, FLAT, (100, 104, 98, 103), FLAT], 1, 103.0, 3),
        ("the stop on the last candle", [FLAT, FLAT, (99, 99, 95, 98)], 1, 95.0, 3),
        ("too late to matter", [FLAT, FLAT, FLAT, (99, 120, 50, 98)], 1, 100.0, 3),
        ("a short's target", [(100, 101, 89, 95)], -1, 90.0, 1),
        ("a short's stop", [(100, 106, 99, 101)], -1, 105.0, 1),
        ("a short's gap", [(130, 140, 80, 131)], -1, 130.0, 1),
        ("a hole at the horizon", [FLAT, LOST, LOST, LOST, (97, 120, 90, 99)], 1, 97.0, 5),
        ("a hole hides nothing after it", [LOST, (100, 112, 99, 111)], 1, 110.0, 2),
        ("not closed yet", [FLAT, FLAT], 1, NO, -1),
        ("never traded again", [FLAT, LOST, LOST, LOST, LOST], 1, NO, -1),
    ],
)  # fmt: skip
def test_exit_of_a_trade_follows_its_rules(
    what: str, later: list[tuple[float, float, float, float]], side: int, price: float, row: int
) -> None:
    stop, target = 100.0 - side * 5.0, 100.0 + side * 10.0
    exits = find_exits(
        candles_of([FLAT, *later]),
        np.array([0]),
        np.array([0]),
        np.array([float(side)]),
        np.array([stop]),
        np.array([target]),
        horizon=3,
    )
    assert exits.row[0] == row, what
    np.testing.assert_equal(exits.price[0], price)


def test_exits_do_not_depend_on_the_unit_of_prices() -> None:
    candles = market(reports=False).candles
    rows, column = np.arange(500), np.zeros(500, np.int64)
    close = candles["close"][:500, 0]
    ends = []
    for unit in (1.0, 2.0**20):
        scaled = {n: p * (unit if n != "volume" else 1.0) for n, p in candles.items()}
        times = START + np.arange(700) * 3_600_000_000
        panel = candles_from_arrays(
            Interval.parse("1h"), times, market(reports=False).instruments, scaled
        )
        ends.append(
            find_exits(
                panel, rows, column, np.ones(500), 0.99 * unit * close, 1.01 * unit * close, 12
            )
        )
    assert (ends[0].row == ends[1].row).all()
    assert (ends[0].price * 2.0**20 == ends[1].price).all()


# From a view to trades


def one_coin(funding: dict[int, float] | None = None) -> tuple[History, ComposedDecisions]:
    """Return 60 candles of a coin, and a long trade from row 40 to its target on row 43."""
    rows = np.tile(np.array(FLAT), (60, 1))
    rows[:40] += 0.5 * (np.arange(40) % 2)[:, None]  # so that there is a volatility
    rows[43] = (100, 111, 99, 110)
    names = ("open", "high", "low", "close")
    candles = {name: rows[:, [i]] for i, name in enumerate(names)} | {"volume": np.ones((60, 1))}
    rates = np.full((60, 1), NO)
    for row, rate in (funding or {}).items():
        rates[row] = rate
    history = History(
        Interval.parse("1h"), (describe("COINUSDT"),), candles, {"funding_rate": rates}
    )
    side = np.zeros((30, 1), np.int8)
    side[10] = 1
    close = rows[30:, [3]]
    levels = Levels(close, close - 5.0, close + 10.0)
    output = np.abs(side).astype(np.float64)
    return history, ComposedDecisions(
        Fusion(80.0 * output, 0.6 * output, side, {}, calibrated=True), levels
    )


def test_trade_pays_fees_slippage_and_funding() -> None:
    # Funding paid hourly on rows 39 to 45, told per 8 hours; from the opening to the closing it
    # counts.
    history, output = one_coin(dict.fromkeys(range(39, 46), 0.001))
    sizer = DqnSizer(TINY.model_copy(update={"fee_bps": 5.0, "slippage_bps": 2.0}))
    trades = closed_trades(view_of(sizer, history, 30), output, sizer.config, HORIZON)
    assert len(trades) == 1
    assert (trades.opened[0], trades.closed[0]) == (10, 13)
    assert trades.net_return[0] == pytest.approx(0.1 - 0.0007 * (1.0 + 1.1) - 3 * 0.001 / 8)
    # Its state: |80|/100, 60/100, no forecast, no regime, 10 over 5.
    seen = trades.state[0]
    assert seen[[0, 1, 2, 4, 5, 6]].tolist() == [0.8, 0.6, 0.0, 1.0, 0.0, 2.0]
    free = DqnSizer(sizer.config.model_copy(update={"charge_funding": False}))
    reports = closed_trades(view_of(free, history, 30), output, free.config, HORIZON)
    assert reports.net_return[0] == pytest.approx(0.1 - 0.0007 * 2.1)


def test_state_of_a_trade_is_that_at_its_opening() -> None:
    sizer, history = DqnSizer(TINY), market()
    late = history.after(600, lambda panel: panel * 1.5)
    reports = [
        closed_trades(view_of(sizer, world, 500), decisions(world, 500), TINY, HORIZON)
        for world in (history, late)
    ]
    # Row 600 of history is row 400 of the view.
    early = [t.pick(np.flatnonzero(t.closed < 400)) for t in reports]
    assert len(early[0]) > 300
    for name in ("state", "full_size", "volatility", "net_return", "opened", "closed"):
        assert (getattr(early[0], name) == getattr(early[1], name)).all(), name


def test_trades_are_ordered_by_closing_and_followers_are_later() -> None:
    sizer, history = DqnSizer(TINY), market(flaws=True)
    trades = closed_trades(view_of(sizer, history, 500), decisions(history, 500), TINY, HORIZON)
    keys = [trades.key(n) for n in range(len(trades))]
    assert keys == sorted(keys)
    assert (trades.closed > trades.opened).all()
    followers = trades.followers()
    has = followers >= 0
    assert has.mean() > 0.9
    assert (trades.opened[followers[has]] >= trades.closed[has]).all()
    assert (trades.column[followers[has]] == trades.column[has]).all()
    for n in np.flatnonzero(has)[::50]:
        between = (trades.column == trades.column[n]) & (trades.opened >= trades.closed[n])
        assert trades.opened[followers[n]] == trades.opened[between].min()


# The environment


def test_environment_passes_the_checker_of_gymnasium() -> None:
    trades = trades_of(np.random.default_rng(1).normal(0.0, 0.01, 50), size=0.2, vol=0.01)
    check_env(TradeEnvironment(trades, TINY), skip_render_check=True)


def test_account_follows_the_returns_of_a_path() -> None:
    world = TradeEnvironment(trades_of(np.array([0.1, -0.2, 0.5, 0.3]), size=0.5), TINY)
    seen, _ = world.reset(seed=1, options={"start": 0})
    assert (seen == trades_of(np.zeros(4)).state[0].astype(np.float32)).all()
    reports = [world.step(action) for action in (4, 2, 0)]
    equity = np.cumprod([1.05, 1.0 - 0.25 * 0.2, 1.0])
    np.testing.assert_allclose([info["equity"] for *_, info in reports], equity)
    np.testing.assert_allclose([info["drawdown"] for *_, info in reports], [0.0, 0.05, 0.05])
    assert reports[2][1] == 0.0  # nothing held is worth nothing, in a drawdown too
    for action, (_, reward, _, _, info) in zip((4, 2, 0), reports, strict=True):
        assert info["rewards"][action] == reward
    assert [truncated for _, _, _, truncated, _ in reports] == [False, False, True]
    assert not any(terminated for _, _, terminated, _, _ in reports)


def test_ruin_terminates_an_episode() -> None:
    world = TradeEnvironment(trades_of(np.array([-1.5, 0.1, 0.1])), TINY)
    world.reset(seed=1, options={"start": 0})
    _, _, terminated, truncated, info = world.step(4)
    assert terminated
    assert not truncated
    assert (info["equity"], info["drawdown"]) == (0.0, 1.0)


def test_episode_is_truncated_and_its_account_can_continue() -> None:
    world = TradeEnvironment(
        trades_of(np.full(50, 0.01)), TINY.model_copy(update={"episode_trades": 3})
    )
    world.reset(seed=1, options={"start": 0, "account": Account(2.0, 4.0)})
    ends = [world.step(0)[3] for _ in range(3)]
    assert ends == [False, False, True]
    assert world.account == Account(2.0, 4.0)


def test_single_trade_makes_no_environment() -> None:
    with pytest.raises(ValueError, match="followed"):
        TradeEnvironment(trades_of(np.array([0.1])), TINY)


def test_order_of_symbols_does_not_change_trades() -> None:
    sizer, history = DqnSizer(TINY), market()
    turned = history.columns(np.array([2, 0, 3, 1]))
    first, second = (
        closed_trades(view_of(sizer, world, 300), decisions(world, 300), TINY, HORIZON)
        for world in (history, turned)
    )
    assert [first.key(n) for n in range(len(first))] == [second.key(n) for n in range(len(second))]
    np.testing.assert_allclose(first.state, second.state)
    assert len(replace(first).after(first.key(9))) == len(first) - 10


def test_edge_is_the_expected_return_over_volatility() -> None:
    sizer, history = DqnSizer(TINY), market()
    trades = closed_trades(view_of(sizer, history, 300), decisions(history, 300), TINY, HORIZON)
    side = decisions(history, 300).fusion.direction
    reports = [outlook.forecast.mean for outlook in history.forecasts.values()]
    close, first = history.candles["close"], history.rows - 300
    seen = set()
    for n in range(0, len(trades), 7):
        row, column = first + trades.opened[n], trades.column[n]
        if column == 3:
            continue  # the stock, whose returns skip the closed hours
        returns = np.diff(np.log(close[row - TINY.window : row + 1, column]))
        # The two models are trusted by 0.8 and 0.2.
        mean = 0.8 * reports[0][row, column] + 0.2 * reports[1][row, column]
        way = side[trades.opened[n], column]
        edge = way * mean / (returns.std(ddof=1) * np.sqrt(HORIZON))
        assert trades.state[n, 2] == pytest.approx(np.clip(edge, -3.0, 3.0), abs=1e-9)
        seen.add(int(way))
    assert seen == {-1, 1}
