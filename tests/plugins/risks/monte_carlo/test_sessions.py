"""Markets that close: the night counts, closed rows do not, and losses come as often as stated."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from weft.components.ensemble import Fusion
from weft.components.needs import candles
from weft.components.risk import Levels
from weft.domain.candles import Candles
from weft.domain.instruments import describe
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import Interval
from weft.market.view import View
from weft.testing.history import History
from weft_plugins.risks.monte_carlo.fits import Spans, fit_cells
from weft_plugins.risks.monte_carlo.risk import MonteCarlo
from weft_plugins.risks.sessions import closed, log_returns, paces

HORIZON = 24
DEVIATION = 0.01
STOCKS = ("ADBE", "COST", "MA", "SPY", "UNH", "XLK")


def open_hours(rows: int) -> BoolPanel:
    """Seven hours of each weekday; the first row is a Monday's midnight."""
    row = np.arange(rows)
    found: BoolPanel = (row // 24 % 7 < 5) & (row % 24 >= 15) & (row % 24 <= 21)
    return found


def market(rows: int, *names: str, seed: int = 1) -> History:
    """A market of normal returns, those overnight like all others; stocks only in sessions."""
    rng = np.random.default_rng(seed)
    returns = DEVIATION * rng.normal(size=(rows, len(names)))
    stock = np.array([not describe(name).always_open for name in names])
    shut = stock[None, :] & ~open_hours(rows)[:, None]
    close = 100.0 * np.exp(np.cumsum(np.where(shut, 0.0, returns), axis=0))
    close[shut] = np.nan
    panels = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": close}
    return History(Interval.parse("1h"), tuple(describe(n) for n in names), panels, {})


def panel(history: History, steps: int) -> Candles:
    return history.view([candles(warmup=history.rows - steps)], steps=steps).candles()


def asked(
    history: History, steps: int, side: int, risk: MonteCarlo, horizon: int = HORIZON
) -> tuple[View, Levels]:
    view = history.view(risk.needs, steps=steps, horizon=horizon)
    nothing = np.zeros((view.steps, len(view.symbols)))
    direction = np.full(nothing.shape, side, dtype=np.int8)
    return view, risk.levels(view, Fusion(nothing, nothing, direction, {}, calibrated=False))


def losses(view: View, found: Levels, side: int, horizon: int) -> FloatPanel:
    """What each position has lost when one could get out, at its horizon or at the next opening."""
    of_all = view.candles()
    worth = of_all.close[-view.steps :].copy()
    opening = np.full(worth.shape[1], np.nan)
    for row in range(len(worth) - 1, -1, -1):
        shut = np.isnan(worth[row])
        worth[row, shut] = opening[shut]
        opening = np.where(shut, opening, of_all.open[-view.steps :][row])
    lost: FloatPanel = side * (1.0 - worth[horizon:] / found.entry[:-horizon])
    return lost


def test_a_return_over_the_night_is_the_mornings() -> None:
    history = market(24 * 21, "AAPL", "BTCUSDT")
    of_all = panel(history, 1)
    found = log_returns(of_all)
    shut = closed(of_all)
    assert np.isnan(found[shut]).all()
    assert not shut[:, 1].any()
    close = history.candles["close"]
    traded = close[~np.isnan(close[:, 0]), 0]
    np.testing.assert_array_equal(
        found[np.isfinite(found[:, 0]), 0], np.log(traded[1:] / traded[:-1])
    )
    np.testing.assert_array_equal(found[1:, 1], np.log(close[1:, 1] / close[:-1, 1]))


def test_no_return_reaches_over_a_hole() -> None:
    history = market(24 * 60, "AAPL", "BTCUSDT")
    close = history.candles["close"].copy()
    close[24 * 14 : 24 * 35] = np.nan
    torn = History(history.interval, history.instruments, dict.fromkeys(history.candles, close), {})
    found = log_returns(panel(torn, 1))
    first = 24 * 35 + np.flatnonzero(np.isfinite(close[24 * 35 :, 0]))[0]
    assert np.isnan(found[: first + 1][24 * 14 :]).all(where=[True, False])
    assert np.isfinite(found[first + 1, 0])


@pytest.mark.parametrize("horizon", [1, 10, 24, 168, 200])
@pytest.mark.parametrize("weeks", [1, 2, 5])
def test_as_many_candles_are_to_come_as_in_weeks_before(horizon: int, weeks: int) -> None:
    steps = 24 * 7 * 2
    reach = max(weeks * 24 * 7, -(-horizon // 168) * 168)
    rows = 24 * 7 + reach + steps
    history = market(rows + horizon + 24 * 3, "AAPL", "BTCUSDT").cut(rows)
    found = paces(panel(history, steps), steps, horizon, reach)
    np.testing.assert_array_equal(found[:, 1], 1.0)
    hours = open_hours(rows + horizon + 24 * 3)
    for row in range(steps):
        at = rows - steps + row
        # Where the market is closed by then, one gets out at the next opening.
        to_come = hours[at + 1 : at + 1 + horizon].sum() + (not hours[at + horizon])
        assert found[row, 0] ** 2 * horizon == pytest.approx(to_come)


def test_a_holiday_is_forgotten_where_another_week_is_known() -> None:
    history = market(24 * 7 * 5, "AAPL")
    monday = slice(24 * 7 * 3, 24 * 7 * 3 + 24)
    close = history.candles["close"].copy()
    close[monday] = np.nan
    rest = History(history.interval, history.instruments, dict.fromkeys(history.candles, close), {})
    usual, after = (paces(panel(one, 168), 168, HORIZON, 4 * 168)[:, 0] for one in (history, rest))
    np.testing.assert_array_equal(after, usual)
    # The week before alone would have it that hardly anything is to come.
    alone = paces(panel(rest, 168), 168, HORIZON, 168)[:, 0]
    assert (alone < usual).any()


def test_where_not_a_week_is_known_nobody_knows_when_a_market_opens() -> None:
    assert np.isnan(paces(panel(market(24 * 9, "AAPL"), 24), 24, HORIZON, 24 * 6)).all()


def test_losses_are_those_of_the_hours_that_are_traded() -> None:
    risk = MonteCarlo(MonteCarlo.Config(paths=4000))
    warmup = 24 * 7 * 27
    history = market(warmup + 24 * 7 * 120, *(f"{letter}CME" for letter in "ABCDEF"))
    view, found = asked(history, 24 * 7 * 120, 1, risk)
    monday_to_thursday = np.isfinite(found.entry[:, 0]) & (np.arange(view.steps) // 24 % 7 < 4)
    for percent in (95, 99):
        stated = found.figures[f"var_{percent}"][monday_to_thursday]
        true = 1.0 - np.exp(-norm.ppf(percent / 100.0) * DEVIATION * 7**0.5)
        assert stated.mean() == pytest.approx(true, rel=0.06)
        lost = losses(view, found, 1, HORIZON)
        beyond = lost > found.figures[f"var_{percent}"][:-HORIZON]
        rate = beyond[monday_to_thursday[:-HORIZON]].mean()
        assert rate == pytest.approx(1.0 - percent / 100.0, rel=0.25)
    assert found.figures["volatility"][monday_to_thursday].mean() == pytest.approx(
        DEVIATION, rel=0.03
    )


def test_on_a_friday_evening_less_is_to_come_than_on_a_monday_morning() -> None:
    view, found = asked(market(24 * 7 * 40, "AAPL"), 24 * 7, 1, MonteCarlo(MonteCarlo.Config()))
    said = found.figures["var_95"][:, 0]
    monday, friday = 15, 24 * 4 + 21
    assert np.isfinite(said[[monday, friday]]).all()
    assert said[friday] < 0.5 * said[monday]
    assert np.isnan(said[24 * 5 :]).all()
    assert view.candles().presence.shape[0] > 0


def test_a_market_that_never_closes_is_told_the_same_beside_one_that_does() -> None:
    risk = MonteCarlo(MonteCarlo.Config(paths=500))
    alone = market(24 * 7 * 40, "BTCUSDT", "AAPL").columns(np.array([0]))
    _, one = asked(alone, 60, 1, risk)
    _, beside = asked(market(24 * 7 * 40, "BTCUSDT", "AAPL"), 60, 1, risk)
    for name, figure in one.figures.items():
        np.testing.assert_array_equal(figure[:, 0], beside.figures[name][:, 0], err_msg=name)


def stocks(frame: pl.DataFrame, interval: Interval, names: tuple[str, ...]) -> History:
    """Candles of a few stocks on the grid of their interval, and nothing in between."""
    micros = interval.micros
    frame = frame.filter(pl.col("symbol").is_in(names)).with_columns(
        row=pl.col("open_time").dt.epoch("us") // micros
    )
    first, last = frame["row"].min(), frame["row"].max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    fields = ("open", "high", "low", "close", "volume")
    found = {name: np.full((last - first + 1, len(names)), np.nan) for name in fields}
    for column, name in enumerate(names):
        own = frame.filter(pl.col("symbol") == name)
        for field, values in found.items():
            values[(own["row"] - first).to_numpy(), column] = own[field].to_numpy()
    instruments = tuple(describe(name) for name in names)
    return History(interval, instruments, found, {}, first_close=(first + 1) * micros)


@pytest.mark.slow
def test_real_hours_of_stocks_lose_as_often_as_stated(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "equities_1h" / "equities_1h.parquet")
    history = stocks(frame, Interval.parse("1h"), STOCKS)
    check_rates(history, history.rows - 24 * 7 * 30, HORIZON)


def test_real_days_of_stocks_lose_as_often_as_stated(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "equities_1d" / "equities_1d.parquet")
    frame = frame.with_columns(open_time=pl.col("date").cast(pl.Datetime("us", "UTC")))
    history = stocks(frame, Interval.parse("1d"), ("AAPL", "AMZN", "NVDA", "QCOM", "WMT"))
    check_rates(history, 3000, 5)


def check_rates(history: History, steps: int, horizon: int) -> None:
    for side in (1, -1):
        view, found = asked(history, steps, side, MonteCarlo(), horizon)
        lost = losses(view, found, side, horizon)
        for percent in (95, 99):
            stated = found.figures[f"var_{percent}"][:-horizon]
            known = np.isfinite(stated + lost)
            rate = float((lost[known] > stated[known]).mean())
            print(side, percent, f"{rate:.4f} of {known.sum()}")  # noqa: T201  # the figures themselves
            share = 1.0 - percent / 100.0
            assert 0.6 * share < rate < 2.2 * share, (side, percent)


def test_a_fit_does_not_depend_on_where_the_panel_begins() -> None:
    history = market(24 * 7 * 19 + 24 * 4 + 20, "AAPL", "BTCUSDT")
    candles_ = panel(history, 1)
    change, shut = log_returns(candles_), closed(candles_)
    change *= np.where(np.random.default_rng(2).random(change.shape) < 0.1, 8.0, 1.0)
    volatility = np.where(np.isnan(change), np.nan, DEVIATION)
    pace, spans = np.ones((1, 2)), Spans(jumps=2000, uncertainty=400, horizon=24, refit=24)
    # Just as many rows as the windows reach back over from a row that is fitted to 23 rows before.
    least = 2000 + 24
    for index in range(24):
        told = [
            fit_cells(change, shut, volatility[-rows:], pace, index, spans)
            for rows in (least, least + 1, least + 60, len(change))
        ]
        assert (told[0].intensity[:, 0] > 0.0).all()
        for one in told[1:]:
            np.testing.assert_array_equal(one.intensity, told[0].intensity)
            np.testing.assert_array_equal(one.uncertainty, told[0].uncertainty)
