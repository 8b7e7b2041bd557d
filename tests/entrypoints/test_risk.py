"""What positions can lose together, on the command line and over HTTP."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

from tests.support import ALONE, ALONE_SET, Weft, make_engine
from weft.components.base import ComponentConfig
from weft.components.configured import Configured, Policy
from weft.components.needs import candles
from weft.components.portfolio_risk import (
    PortfolioEstimate,
    PortfolioLosses,
    PortfolioRisk,
    PositionRisk,
)
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.errors import ConfigError, NoDataError
from weft.foundation.times import Interval
from weft.market.view import View
from weft.plugins.registry import Registry
from weft_app.cli import app as command_line
from weft_app.live import LiveService
from weft_app.server import create_app

END = "2024-03-31T00:00:00Z"
ROWS = 60 * 24
HORIZON = 12
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
DEVIATIONS = np.array([0.002, 0.003, 0.004, 0.001])
CORRELATION = np.array(
    [
        [1.0, 0.8, -0.3, 0.999],
        [0.8, 1.0, 0.1, 0.799],
        [-0.3, 0.1, 1.0, -0.3],
        [0.999, 0.799, -0.3, 1.0],
    ]
)
COVARIANCE = CORRELATION * np.outer(DEVIATIONS, DEVIATIONS)


def made_returns(rows: int = ROWS) -> FloatPanel:
    """Return log returns whose second moments are exactly those planted (row, symbol)."""
    drawn = np.random.default_rng(0).standard_normal((rows, len(SYMBOLS)))
    plain = np.linalg.cholesky(drawn.T @ drawn / rows)
    wanted = np.linalg.cholesky(COVARIANCE)
    made: FloatPanel = drawn @ np.linalg.inv(plain).T @ wanted.T
    return made


def write_candles(folder: Path, returns: Mapping[str, FloatPanel], rows: int = ROWS) -> Path:
    """Write hourly candles with given returns that end at `END`; NaN where one is missing."""
    folder.mkdir()
    end = pl.lit(END).str.to_datetime(time_unit="us", time_zone="UTC")
    first = end - pl.duration(hours=rows + 1)
    times = pl.datetime_range(first, end - pl.duration(hours=1), "1h", eager=True)
    for symbol, series in returns.items():
        close = 100 * np.exp(np.concatenate([[0.0], np.cumsum(np.nan_to_num(series))]))
        frame = pl.DataFrame({"open_time": times, "close": close}).with_columns(
            symbol=pl.lit(symbol),
            interval=pl.lit("1h"),
            open=pl.col("close"),
            high=pl.col("close"),
            low=pl.col("close"),
            volume=pl.lit(1.0),
        )
        there = ~np.isnan(np.concatenate([series[:1], series]))
        frame.filter(pl.Series(there)).write_parquet(folder / f"{symbol}.parquet")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Candles of four coins that move together in a known way, 60 days of returns."""
    returns = made_returns()
    return write_candles(tmp_path / "candles", {s: returns[:, i] for i, s in enumerate(SYMBOLS)})


def over(folder: Path) -> tuple[str, ...]:
    return ("--set", f"providers.files.path={folder}", *ALONE_SET)


Ask: TypeAlias = Callable[..., str]
Figures: TypeAlias = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs `weft risk` in this process over a folder of candles; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(folder: Path, *arguments: str) -> str:
        done = CliRunner().invoke(command_line, ["risk", *arguments, *over(folder)])
        if done.exception is not None:
            raise done.exception
        return done.stdout

    return run


@pytest.fixture
def figures(ask: Ask) -> Figures:
    """Runs `weft risk --json` in this process; returns what it said."""
    return lambda folder, *arguments: json.loads(ask(folder, *arguments, "--json"))


def width(*fractions: float, correlation: FloatPanel = CORRELATION) -> float:
    """Return the deviation of a portfolio of the first coins over the horizon."""
    held = np.array([*fractions, *[0.0] * (len(SYMBOLS) - len(fractions))])
    covariance = correlation * np.outer(DEVIATIONS, DEVIATIONS)
    return float(np.sqrt(held @ covariance @ held * HORIZON))


def test_losses_are_those_of_a_gaussian_portfolio(folder: Path, figures: Figures) -> None:
    told = figures(folder, "BTCUSDT=0.5", "ETHUSDT=0.3", "SOLUSDT=-0.2")
    own = width(0.5, 0.3, -0.2)
    # The loss of a log return is a little less than it; of a short, a little more.
    for name, level in (("var_95", 0.95), ("var_99", 0.99)):
        assert told["figures"][name] == pytest.approx(own * norm.ppf(level), rel=0.02)
    for name, level in (("cvar_95", 0.95), ("cvar_99", 0.99)):
        beyond = norm.pdf(norm.ppf(level)) / (1 - level)
        assert told["figures"][name] == pytest.approx(own * beyond, rel=0.02)
    wide = told["stresses"]["volatility_3x"]["var_99"]
    assert wide == pytest.approx(3 * own * norm.ppf(0.99), rel=0.05)
    alike = width(0.5, 0.3, -0.2, correlation=np.ones((4, 4)))
    assert told["stresses"]["correlation_1"]["var_95"] == pytest.approx(
        alike * norm.ppf(0.95), rel=0.02
    )
    apart = width(0.5, 0.3, 0.2, correlation=np.ones((4, 4)))
    assert told["stresses"]["hedges_fail"]["var_95"] == pytest.approx(
        apart * norm.ppf(0.95), rel=0.02
    )
    assert 0 < told["figures"]["drawdown_median"] < told["figures"]["drawdown_95"]

    volatility = {one["symbol"]: one["volatility"] for one in told["positions"]}
    np.testing.assert_allclose([volatility[s] for s in SYMBOLS[:3]], DEVIATIONS[:3], rtol=1e-9)
    assert not told["repair"]["needed"]
    assert told["measured"]["rows"] == ROWS
    assert (told["measured"]["since"], told["measured"]["through"]) == ("2024-01-31T00:00:00Z", END)
    assert told["measured"]["data"] == "real"


def test_contributions_add_up_and_are_those_of_the_covariance(
    folder: Path, figures: Figures
) -> None:
    told = figures(folder, "BTCUSDT=0.5", "ETHUSDT=0.3", "SOLUSDT=-0.2")
    parts = {one["symbol"]: one["contribution"] for one in told["positions"]}
    total = told["figures"]["cvar_95"]
    assert sum(parts.values()) == pytest.approx(total, rel=1e-12)
    held = np.array([0.5, 0.3, -0.2, 0.0])
    shares = held * (COVARIANCE @ held) / (held @ COVARIANCE @ held)
    came = [parts[symbol] / total for symbol in SYMBOLS[:3]]
    np.testing.assert_allclose(came, shares[:3], atol=0.02)


def test_a_hedged_pair_loses_next_to_nothing_until_the_hedge_fails(
    folder: Path, figures: Figures
) -> None:
    # Bitcoin moves twice as far as the last coin, and with it.
    told = figures(folder, "BTCUSDT=0.3", "XRPUSDT=-0.6")
    alone = figures(folder, "BTCUSDT=0.3")["figures"]
    assert told["figures"]["var_99"] < 0.1 * alone["var_99"]
    for one in told["positions"]:
        assert abs(one["contribution"]) < 0.05 * alone["cvar_95"]
    assert told["stresses"]["hedges_fail"]["var_99"] > 1.9 * alone["var_99"]


def sessions(rows: int) -> BoolPanel:
    """Seven hours of each weekday; `END` is midnight after a Saturday."""
    row = np.arange(rows) - rows
    found: BoolPanel = (row % 24 >= 15) & (row % 24 <= 21) & ((row // 24 + 6) % 7 < 5)
    return found


def test_a_stock_is_measured_on_the_candles_it_has_and_what_it_does_overnight_is_one_of_them(
    tmp_path: Path, figures: Figures
) -> None:
    returns, traded = made_returns(), sessions(ROWS)
    first = np.flatnonzero(traded)[0]
    stock = np.where(traded, returns[:, 1], np.nan)
    folder = write_candles(tmp_path / "stocks", {"AAPL": stock, "BTCUSDT": returns[:, 0]})
    told = figures(folder, "AAPL=0.5")
    (position,) = told["positions"]
    # The first candle has none to start from.
    own = stock[first + 1 :]
    assert position["volatility"] == pytest.approx(np.sqrt(np.nanmean(own**2)), rel=1e-9)
    assert position["returns"] == np.isfinite(own).sum()
    assert "AAPL: the shocks are of coins" in told["notes"]


def test_what_a_stock_and_a_coin_have_in_common_shows_over_the_horizon(
    tmp_path: Path, figures: Figures
) -> None:
    # Both move alike at every hour, but the stock shows it at its next candle.
    returns, traded = made_returns(), sessions(ROWS)
    coin = returns[:, 0]
    behind = np.cumsum(coin)
    rows = np.flatnonzero(traded)
    stock = np.full(ROWS, np.nan)
    stock[rows] = np.diff(behind[rows], prepend=0.0)
    folder = write_candles(tmp_path / "stocks", {"AAPL": stock, "BTCUSDT": coin})
    options = ("--set", "horizon_candles=48")
    hedged = figures(folder, "AAPL=0.5", "BTCUSDT=-0.5", *options)["figures"]["var_95"]
    both = figures(folder, "AAPL=0.5", "BTCUSDT=0.5", *options)["figures"]["var_95"]
    assert hedged < 0.55 * both


def test_five_days_of_a_stock_are_too_few(tmp_path: Path, ask: Ask) -> None:
    returns, traded = made_returns(), sessions(ROWS)
    stock = np.where(traded & (np.arange(ROWS) >= ROWS - 24 * 8), returns[:, 1], np.nan)
    folder = write_candles(tmp_path / "stocks", {"AAPL": stock, "BTCUSDT": returns[:, 0]})
    with pytest.raises(NoDataError, match="AAPL: 34 returns in the window, expected 100"):
        ask(folder, "AAPL=0.5")


def test_past_falls_hit_bitcoin_and_the_others_each_by_its_own(
    folder: Path, figures: Figures
) -> None:
    told = figures(folder, "BTCUSDT=0.5", "ETHUSDT=-0.1")
    # 2020-03-12: Bitcoin fell by 47.8 %, the others by 48.8 %.
    assert told["shocks"]["covid_2020_03"] == pytest.approx(0.5 * 0.478 - 0.1 * 0.488)
    assert (told["gross"], told["net"]) == (pytest.approx(0.6), pytest.approx(0.4))


def test_one_seed_gives_one_answer(folder: Path, ask: Ask, figures: Figures) -> None:
    held = ("BTCUSDT=0.5", "ETHUSDT=0.3")
    assert ask(folder, *held, "--json") == ask(folder, *held, "--json")
    first, other = figures(folder, *held)["figures"], figures(folder, *held, "--seed", "1")
    assert other["figures"] != first
    assert other["figures"]["var_99"] == pytest.approx(first["var_99"], rel=0.02)


def test_people_read_what_it_was_measured_on(folder: Path, ask: Ask) -> None:
    shown = ask(folder, "BTCUSDT=0.5", "ETHUSDT=-0.3")
    for words in ("VaR 99", "volatility x 5", "no hedge holds", "covid 2020 03", "together"):
        assert words in shown
    assert "Losses within 12h, in percent of the equity, by gaussian." in shown
    assert f"rows 1,440, since 2024-01-31T00:00:00Z, through {END}, paths 10,000, seed 0" in shown
    assert "interval 1h, horizon candles 12" in shown


def test_nothing_later_than_the_instant_asked_for_counts(folder: Path, figures: Figures) -> None:
    at = "2024-03-16T00:00:00Z"
    told = figures(folder, "BTCUSDT=1", "--as-of", at, "--days", "30")
    returns = made_returns()[: ROWS - 15 * 24, 0][-30 * 24 :]
    (position,) = told["positions"]
    assert position["volatility"] == pytest.approx(np.sqrt(np.mean(returns**2)), rel=1e-9)
    assert (told["as_of"], told["measured"]["through"]) == (at, at)


def test_correlations_no_market_can_have_are_repaired_and_that_is_said(
    tmp_path: Path, ask: Ask, figures: Figures
) -> None:
    # Each pair trades together in a third of the rows of its own, and says another thing there.
    third = ROWS // 3
    common = np.random.default_rng(1).normal(0, 0.01, (3, third))
    hole = np.full(third, np.nan)
    folder = write_candles(
        tmp_path / "candles",
        {
            "BTCUSDT": np.concatenate([common[0], common[1], hole]),
            "ETHUSDT": np.concatenate([common[0], hole, common[2]]),
            "SOLUSDT": np.concatenate([hole, common[1], -common[2]]),
        },
    )
    held = ("BTCUSDT=0.3", "ETHUSDT=0.3", "SOLUSDT=0.3")
    told = figures(folder, *held)
    # Ones but for a minus one: eigenvalues 2, 2 and -1. The nearest one has a half in each place.
    assert told["repair"]["needed"]
    assert told["repair"]["least_eigenvalue"] == pytest.approx(-1.0, abs=0.01)
    assert told["repair"]["largest_change"] == pytest.approx(0.5, abs=0.01)
    assert "correlations were repaired" in ask(folder, *held)


def test_an_unknown_symbol_suggests_one(weft: Weft, folder: Path) -> None:
    done = weft("risk", "BTCUSD=0.3", *over(folder))
    assert done.code == 1
    assert "Did you mean BTCUSDT?" in done.err


def test_what_is_no_position_is_told(weft: Weft) -> None:
    wrong = ("BTCUSDT", "BTCUSDT=much", "ETHUSDT=nan", "=0.5")
    done = weft("risk", *wrong, "SOLUSDT=0.1", "SOLUSDT=0.2")
    assert done.code == 2
    assert done.err.count("is not SYMBOL=FRACTION") == len(wrong)
    assert "SOLUSDT is given twice" in done.err


def test_no_positions_lose_nothing(weft: Weft, folder: Path, figures: Figures) -> None:
    done = weft("risk", "BTCUSDT=0", *over(folder))
    assert done.code == 0
    assert "No positions" in done.out
    told = figures(folder, "BTCUSDT=0")
    assert told["figures"] is None
    assert told["positions"] == []


def test_no_signals_are_not_taken_for_no_risk(folder: Path, ask: Ask) -> None:
    with pytest.raises(NoDataError, match=r"no signal.*no candle|no signal.*stop at"):
        ask(folder, "--as-of", "2024-06-01T00:00:00Z")


def test_too_little_history_leaves_a_position_out_and_says_so(
    tmp_path: Path, ask: Ask, figures: Figures
) -> None:
    returns = made_returns()
    young = np.where(np.arange(ROWS) < ROWS - 50, np.nan, returns[:, 1])
    folder = write_candles(tmp_path / "candles", {"BTCUSDT": returns[:, 0], "ETHUSDT": young})
    told = figures(folder, "BTCUSDT=0.3", "ETHUSDT=0.3")
    assert [one["symbol"] for one in told["positions"]] == ["BTCUSDT"]
    assert "49 returns" in told["left_out"]["ETHUSDT"]
    assert "ETHUSDT is not in these figures" in ask(folder, "BTCUSDT=0.3", "ETHUSDT=0.3")
    with pytest.raises(NoDataError, match="49 returns"):
        ask(folder, "ETHUSDT=0.3")
    with pytest.raises(NoDataError, match=r"48 returns of 1h candles.*--days"):
        ask(folder, "BTCUSDT=0.3", "--days", "2")


def test_without_positions_those_of_the_signals_are_taken_and_the_api_says_the_same(
    tmp_path: Path, folder: Path, figures: Figures
) -> None:
    engine = make_engine(tmp_path, *ALONE, f"providers.files.path={folder}")
    asyncio.run(engine.update())
    service = LiveService(engine)
    starting, told = asyncio.run(_composed_between(service))
    assert starting.status_code == 503
    assert told.headers["content-type"] == "application/json"
    assert service.published is not None
    report = service.published.report
    signs = {"LONG": 1.0, "SHORT": -1.0, "NEUTRAL": 0.0}
    held = {s.symbol: signs[s.direction] * s.position_size for s in report.signals}
    held = {symbol: fraction for symbol, fraction in held.items() if fraction}
    assert held
    said = told.raise_for_status().json()
    assert {one["symbol"]: one["fraction"] for one in said["positions"]} == held
    assert said["as_of"] == report.as_of
    assert said == figures(folder)
    engine.close()


async def _composed_between(service: LiveService) -> tuple[httpx.Response, httpx.Response]:
    async with _client(service) as client:
        starting = await client.get("/risk")
        service.compose()
        return starting, await client.get("/risk")


def test_each_composition_is_measured_once(tmp_path: Path, folder: Path) -> None:
    engine = make_engine(tmp_path, *ALONE, f"providers.files.path={folder}")
    asyncio.run(engine.update())
    service = LiveService(engine)
    published = service.compose()

    async def ask() -> None:
        async with _client(service) as client:
            first, same = await asyncio.gather(client.get("/risk"), client.get("/risk"))
            assert first.json()["component"] == "gaussian"
            # Everything measured from now on is measured by another component.
            other = Configured(Historical(), Policy("portfolio_risk"))
            engine.composition = replace(engine.composition, portfolio_risk=other)
            again = await client.get("/risk")
            assert first.content == same.content == again.content
            service.published = replace(published)
            answer = (await client.get("/risk")).raise_for_status().json()
            assert answer["component"] == "historical"
            service.published = replace(published, report=replace(published.report, signals=()))
            assert (await client.get("/risk")).raise_for_status().json()["figures"] is None

    asyncio.run(ask())
    engine.close()


class Historical(PortfolioRisk):
    """The losses of the positions over each of the last candles."""

    name = "historical"
    needs = (candles(warmup=0),)

    class Config(ComponentConfig):
        """Options."""

        window: int = 500

    config: Config

    def rows(self, interval: Interval) -> int:
        return self.config.window + 1

    def measure(self, view: View, positions: Mapping[str, float]) -> PortfolioEstimate:
        close = view.candles().close
        columns = [view.symbols.index(symbol) for symbol in positions]
        returns = np.nan_to_num(close[1:, columns] / close[:-1, columns] - 1.0)
        lost = -returns * np.array(list(positions.values()))
        worst = np.argsort(lost.sum(axis=1))[-self.config.window // 20 :]
        total = lost[worst].sum(axis=1)
        losses = PortfolioLosses(1, {0.95: total[0]}, {0.95: total.mean()})
        parts = lost[worst].mean(axis=0)
        return PortfolioEstimate(
            losses, {s: PositionRisk(p) for s, p in zip(positions, parts, strict=True)}
        )


def test_another_component_measures_on_the_command_line_and_over_http(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask
) -> None:
    monkeypatch.setattr(
        "weft_app.session.Registry", lambda records: Registry(records, [Historical])
    )
    chosen = ("--set", "portfolio_risk.use=historical", "--set", "portfolio_risk.window=400")
    held = {"BTCUSDT": 0.5, "ETHUSDT": -0.3}
    texts = [f"{symbol}={fraction}" for symbol, fraction in held.items()]
    answer = json.loads(ask(folder, *texts, *chosen, "--json"))

    lost = sum(
        -fraction * np.expm1(made_returns()[-400:, SYMBOLS.index(symbol)])
        for symbol, fraction in held.items()
    )
    worst = np.sort(lost)[-20:]
    assert answer["component"] == "historical"
    assert answer["figures"] == {
        "horizon": "1h",
        "var_95": pytest.approx(worst[0], rel=1e-9),
        "cvar_95": pytest.approx(worst.mean(), rel=1e-9),
    }
    assert answer["contributions_to"] == "cvar_95"
    parts = sum(position["contribution"] for position in answer["positions"])
    assert parts == pytest.approx(worst.mean(), rel=1e-9)
    assert (answer["stresses"], answer["shocks"], answer["repair"]) == ({}, {}, None)
    shown = ask(folder, *texts, *chosen)
    assert "Losses within 1h, in percent of the equity, by historical." in shown
    assert f"{100 * worst[0]:.2f} %" in shown

    engine = make_engine(
        tmp_path,
        *ALONE,
        f"providers.files.path={folder}",
        "portfolio_risk.use=historical",
        extra=[Historical],
    )
    asyncio.run(engine.update())
    _, served = asyncio.run(_composed_between(LiveService(engine)))
    body = served.raise_for_status().json()
    engine.close()
    assert (body["component"], body["figures"]["horizon"]) == ("historical", "1h")
    assert body == json.loads(ask(folder, "--set", "portfolio_risk.use=historical", "--json"))


def test_without_a_component_the_configuration_is_named(folder: Path, ask: Ask) -> None:
    with pytest.raises(ConfigError, match=r"portfolio_risk: no component.*portfolio_risk\.use"):
        ask(folder, "BTCUSDT=0.5", "--set", "portfolio_risk=null")


def test_the_chosen_component_changes_no_signal(tmp_path: Path) -> None:
    versions = []
    for number, options in enumerate(([], ["portfolio_risk.seed=3"], ["portfolio_risk=null"])):
        engine = make_engine(tmp_path / str(number), *ALONE, *options)
        versions.append(engine.composition.versions)
        engine.close()
    assert versions[0] == versions[1] == versions[2]


def _client(service: LiveService) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service, allowed_hosts=["test"]))
    return httpx.AsyncClient(transport=transport, base_url="http://test")
