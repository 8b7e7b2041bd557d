"""Risk of positions, on the command line and over HTTP."""

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
from fastapi import FastAPI
from scipy.stats import norm
from typer.testing import CliRunner

from tests.support import ALONE, ALONE_SET, Weft, fetch, make_engine, sample_signal
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.errors import NoDataError, StorageError
from weft.foundation.times import Interval
from weft_app.cli import app as command_line
from weft_app.live import LiveService
from weft_app.portfolio import PATHS, window_days
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
    """Return log returns with exactly the planted second moments (row, symbol)."""
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
    """Runs `weft risk --json` in this process; returns the figures."""
    return lambda folder, *arguments: json.loads(ask(folder, *arguments, "--json"))


def width(*fractions: float, correlation: FloatPanel = CORRELATION) -> float:
    """Return the deviation of a portfolio of the first coins over the horizon."""
    held = np.array([*fractions, *[0.0] * (len(SYMBOLS) - len(fractions))])
    covariance = correlation * np.outer(DEVIATIONS, DEVIATIONS)
    return float(np.sqrt(held @ covariance @ held * HORIZON))


def test_losses_are_those_of_a_gaussian_portfolio(folder: Path, figures: Figures) -> None:
    result = figures(folder, "BTCUSDT=0.5", "ETHUSDT=0.3", "SOLUSDT=-0.2")
    deviation = width(0.5, 0.3, -0.2)
    # A long loses slightly less than its log return, a short slightly more.
    for name, level in (("var_95", 0.95), ("var_99", 0.99)):
        assert result["figures"][name] == pytest.approx(deviation * norm.ppf(level), rel=0.02)
    for name, level in (("cvar_95", 0.95), ("cvar_99", 0.99)):
        beyond = norm.pdf(norm.ppf(level)) / (1 - level)
        assert result["figures"][name] == pytest.approx(deviation * beyond, rel=0.02)
    wide = result["stresses"]["volatility_3x"]["var_99"]
    assert wide == pytest.approx(3 * deviation * norm.ppf(0.99), rel=0.05)
    alike = width(0.5, 0.3, -0.2, correlation=np.ones((4, 4)))
    assert result["stresses"]["correlation_1"]["var_95"] == pytest.approx(
        alike * norm.ppf(0.95), rel=0.02
    )
    apart = width(0.5, 0.3, 0.2, correlation=np.ones((4, 4)))
    assert result["stresses"]["hedges_fail"]["var_95"] == pytest.approx(
        apart * norm.ppf(0.95), rel=0.02
    )
    assert 0 < result["figures"]["drawdown_median"] < result["figures"]["drawdown_95"]

    volatility = {one["symbol"]: one["volatility"] for one in result["positions"]}
    np.testing.assert_allclose([volatility[s] for s in SYMBOLS[:3]], DEVIATIONS[:3], rtol=1e-9)
    assert not result["repair"]["needed"]
    assert result["measured"]["rows"] == ROWS
    assert (result["measured"]["since"], result["measured"]["through"]) == (
        "2024-01-31T00:00:00Z",
        END,
    )
    assert result["measured"]["data"] == "real"


def test_contributions_add_up_and_are_those_of_the_covariance(
    folder: Path, figures: Figures
) -> None:
    result = figures(folder, "BTCUSDT=0.5", "ETHUSDT=0.3", "SOLUSDT=-0.2")
    parts = {one["symbol"]: one["contribution"] for one in result["positions"]}
    total = result["figures"]["cvar_95"]
    assert sum(parts.values()) == pytest.approx(total, rel=1e-12)
    held = np.array([0.5, 0.3, -0.2, 0.0])
    shares = held * (COVARIANCE @ held) / (held @ COVARIANCE @ held)
    parts_of_total = [parts[symbol] / total for symbol in SYMBOLS[:3]]
    np.testing.assert_allclose(parts_of_total, shares[:3], atol=0.02)


def test_a_hedged_pair_loses_little_until_the_hedge_fails(folder: Path, figures: Figures) -> None:
    # Bitcoin moves twice as far as the last coin, and with it.
    result = figures(folder, "BTCUSDT=0.3", "XRPUSDT=-0.6")
    alone = figures(folder, "BTCUSDT=0.3")["figures"]
    assert result["figures"]["var_99"] < 0.1 * alone["var_99"]
    for one in result["positions"]:
        assert abs(one["contribution"]) < 0.05 * alone["cvar_95"]
    assert result["stresses"]["hedges_fail"]["var_99"] > 1.9 * alone["var_99"]


def sessions(rows: int) -> BoolPanel:
    """Seven hours of each weekday; `END` is midnight after a Saturday."""
    row = np.arange(rows) - rows
    found: BoolPanel = (row % 24 >= 15) & (row % 24 <= 21) & ((row // 24 + 6) % 7 < 5)
    return found


def test_a_stock_is_measured_on_its_candles_including_the_night(
    tmp_path: Path, figures: Figures
) -> None:
    returns, traded = made_returns(), sessions(ROWS)
    first = np.flatnonzero(traded)[0]
    stock = np.where(traded, returns[:, 1], np.nan)
    folder = write_candles(tmp_path / "stocks", {"AAPL": stock, "BTCUSDT": returns[:, 0]})
    result = figures(folder, "AAPL=0.5")
    (position,) = result["positions"]
    # The first candle has no return.
    returns_since = stock[first + 1 :]
    assert position["volatility"] == pytest.approx(np.sqrt(np.nanmean(returns_since**2)), rel=1e-9)
    assert position["returns"] == np.isfinite(returns_since).sum()
    assert result["notes"] == ["AAPL: the shocks are of coins"]


def test_the_correlation_of_a_stock_and_a_coin_is_measured_over_the_horizon(
    tmp_path: Path, figures: Figures
) -> None:
    # Both move alike every hour, but the stock shows the move at its next candle.
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


def test_shocks_use_the_falls_of_bitcoin_and_of_other_coins(folder: Path, figures: Figures) -> None:
    result = figures(folder, "BTCUSDT=0.5", "ETHUSDT=-0.1")
    # 2020-03-12: Bitcoin fell by 47.8 %, the others by 48.8 %.
    assert result["shocks"]["covid_2020_03"] == pytest.approx(0.5 * 0.478 - 0.1 * 0.488)
    assert (result["gross"], result["net"]) == (pytest.approx(0.6), pytest.approx(0.4))


def test_one_seed_gives_one_result(folder: Path, ask: Ask, figures: Figures) -> None:
    held = ("BTCUSDT=0.5", "ETHUSDT=0.3")
    assert ask(folder, *held, "--json") == ask(folder, *held, "--json")
    first, other = figures(folder, *held)["figures"], figures(folder, *held, "--seed", "1")
    assert other["figures"] != first
    assert other["figures"]["var_99"] == pytest.approx(first["var_99"], rel=0.02)


def test_the_printed_report_names_its_window_and_paths(folder: Path, ask: Ask) -> None:
    shown = ask(folder, "BTCUSDT=0.5", "ETHUSDT=-0.3")
    for words in ("VaR 99", "volatility x 5", "no hedge holds", "covid 2020 03", "together"):
        assert words in shown
    assert f"1,440 returns of 1h candles, from 2024-01-31T00:00:00Z through {END}" in shown
    assert f"{PATHS:,} paths of 12 candles, seed 0" in shown


def test_later_data_than_as_of_is_not_used(folder: Path, figures: Figures) -> None:
    at = "2024-03-16T00:00:00Z"
    result = figures(folder, "BTCUSDT=1", "--as-of", at, "--days", "30")
    returns = made_returns()[: ROWS - 15 * 24, 0][-30 * 24 :]
    (position,) = result["positions"]
    assert position["volatility"] == pytest.approx(np.sqrt(np.mean(returns**2)), rel=1e-9)
    assert (result["as_of"], result["measured"]["through"]) == (at, at)


def test_impossible_correlations_are_repaired_and_reported(
    tmp_path: Path, ask: Ask, figures: Figures
) -> None:
    # Each pair trades together in another third of the rows, with another correlation.
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
    result = figures(folder, *held)
    # Correlations 1, 1, -1 have eigenvalues 2, 2, -1; the nearest matrix has 0.5 everywhere.
    assert result["repair"]["needed"]
    assert result["repair"]["least_eigenvalue"] == pytest.approx(-1.0, abs=0.01)
    assert result["repair"]["largest_change"] == pytest.approx(0.5, abs=0.01)
    assert "correlations were repaired" in ask(folder, *held)


def test_an_unknown_symbol_suggests_one(weft: Weft, folder: Path) -> None:
    done = weft("risk", "BTCUSD=0.3", *over(folder))
    assert done.code == 1
    assert "Did you mean BTCUSDT?" in done.err


def test_malformed_positions_are_named(weft: Weft) -> None:
    wrong = ("BTCUSDT", "BTCUSDT=much", "ETHUSDT=nan", "=0.5")
    done = weft("risk", *wrong, "SOLUSDT=0.1", "SOLUSDT=0.2")
    assert done.code == 2
    assert done.err.count("is not SYMBOL=FRACTION") == len(wrong)
    assert "SOLUSDT is given twice" in done.err


def test_no_positions_lose_nothing(weft: Weft, folder: Path, figures: Figures) -> None:
    done = weft("risk", "BTCUSDT=0", *over(folder))
    assert done.code == 0
    assert "No positions" in done.out
    result = figures(folder, "BTCUSDT=0")
    assert result["figures"] is None
    assert result["positions"] == []


def test_risk_without_signals_is_an_error(folder: Path, ask: Ask) -> None:
    with pytest.raises(NoDataError, match=r"no signal.*no candle|no signal.*stop at"):
        ask(folder, "--as-of", "2024-06-01T00:00:00Z")


def test_a_position_with_too_little_history_is_left_out_and_named(
    tmp_path: Path, ask: Ask, figures: Figures
) -> None:
    returns = made_returns()
    young = np.where(np.arange(ROWS) < ROWS - 50, np.nan, returns[:, 1])
    folder = write_candles(tmp_path / "candles", {"BTCUSDT": returns[:, 0], "ETHUSDT": young})
    result = figures(folder, "BTCUSDT=0.3", "ETHUSDT=0.3")
    assert [one["symbol"] for one in result["positions"]] == ["BTCUSDT"]
    assert "49 returns" in result["left_out"]["ETHUSDT"]
    assert "ETHUSDT is not in these figures" in ask(folder, "BTCUSDT=0.3", "ETHUSDT=0.3")
    with pytest.raises(NoDataError, match="49 returns"):
        ask(folder, "ETHUSDT=0.3")
    with pytest.raises(NoDataError, match=r"48 returns of 1h candles.*--days"):
        ask(folder, "BTCUSDT=0.3", "--days", "2")


def test_risk_of_the_signals_is_the_same_in_command_and_api(
    tmp_path: Path, folder: Path, figures: Figures
) -> None:
    engine = make_engine(tmp_path, *ALONE, f"providers.files.path={folder}")
    asyncio.run(engine.update())
    service = LiveService(engine)
    starting, result = asyncio.run(_composed_between(service))
    assert starting.status_code == 503
    assert result.headers["content-type"] == "application/json"
    assert service.published is not None
    report = service.published.report
    signs = {"LONG": 1.0, "SHORT": -1.0, "NEUTRAL": 0.0}
    held = {s.symbol: signs[s.direction] * s.position_size for s in report.signals}
    held = {symbol: fraction for symbol, fraction in held.items() if fraction}
    assert held
    response = result.raise_for_status().json()
    assert {one["symbol"]: one["fraction"] for one in response["positions"]} == held
    assert response["as_of"] == report.as_of
    assert response == figures(folder)
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
            assert first.json()["measured"]["horizon_candles"] == HORIZON
            # Only figures measured from now on have the longer horizon.
            engine.composition = replace(engine.composition, horizon_candles=2 * HORIZON)
            again = await client.get("/risk")
            assert first.content == same.content == again.content
            service.published = replace(published, report=replace(published.report, signals=()))
            other = (await client.get("/risk")).raise_for_status().json()
            assert other["measured"]["horizon_candles"] == 2 * HORIZON
            assert other["figures"] is None

    asyncio.run(ask())
    engine.close()


def _client(service: LiveService) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(service, allowed_hosts=["test"]))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def test_long_candles_are_measured_over_a_longer_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = (*ALONE, "interval=1d", "universe.symbols=[BTCUSDT, ETHUSDT]")
    service = LiveService(fetch(make_engine(tmp_path, *daily)))
    service.compose()
    result = asyncio.run(_ask(service, "/risk")).raise_for_status().json()
    assert result["measured"]["interval"] == "1d"
    assert result["measured"]["rows"] >= 100
    service.engine.close()
    monkeypatch.chdir(tmp_path)
    words = [word for option in daily for word in ("--set", option)]
    done = CliRunner().invoke(command_line, ["risk", "BTCUSDT=0.5", "--json", *words])
    assert json.loads(done.stdout)["measured"]["rows"] == result["measured"]["rows"]


@pytest.mark.parametrize(
    ("interval", "days"),
    [("1m", 60), ("1h", 60), ("4h", 60), ("8h", 67), ("1d", 200), ("1w", 1_400)],
)
def test_the_window_holds_enough_returns(interval: str, days: int) -> None:
    assert window_days(Interval.parse(interval)) == days


def test_unmeasurable_positions_give_a_problem_response(tmp_path: Path) -> None:
    service = LiveService(fetch(make_engine(tmp_path, *ALONE)))
    published = service.compose()

    def asked_of(**changes: Any) -> httpx.Response:
        service.published = replace(published, report=replace(published.report, **changes))
        return asyncio.run(_ask(service, "/risk"))

    early = asked_of(as_of="2020-01-01T00:00:00Z")
    assert (early.status_code, early.json()["error"]) == (422, "NoData")
    assert early.json()["message"]
    ahead = asked_of(as_of="2100-01-01T00:00:00Z")
    assert (ahead.status_code, ahead.json()["error"]) == (422, "LookAhead")
    unknown = asked_of(signals=(sample_signal(symbol="BTCUSD"),))
    assert (unknown.status_code, unknown.json()["error"]) == (404, "UnknownSymbol")
    assert "Did you mean BTCUSDT?" in unknown.json()["message"]
    service.engine.close()


def test_an_error_of_weft_gives_a_problem_response_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(tmp_path, *ALONE)
    app = create_app(LiveService(engine), allowed_hosts=["test"])

    def fail() -> None:
        raise StorageError("the disk is full", where="lake")

    app.add_api_route("/failing", fail)
    answer = asyncio.run(_ask_app(app, "/failing"))
    assert answer.status_code == 500
    assert answer.json() == {"error": "Storage", "message": "lake: the disk is full"}
    assert "/failing failed: lake: the disk is full" in caplog.text
    engine.close()


def test_the_schema_lists_every_problem_response(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, *ALONE)
    schema = asyncio.run(_ask(LiveService(engine), "/openapi.json")).json()
    answers = schema["paths"]["/risk"]["get"]["responses"]
    assert {"200", "404", "422", "500", "503"} <= answers.keys()
    for status in ("404", "422", "500", "503"):
        result = answers[status]["content"]["application/json"]["schema"]
        assert result == {"$ref": "#/components/schemas/Problem"}
    assert all("500" in way["get"]["responses"] for way in schema["paths"].values())
    engine.close()


async def _ask(service: LiveService, path: str) -> httpx.Response:
    return await _ask_app(create_app(service, allowed_hosts=["test"]), path)


async def _ask_app(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)
