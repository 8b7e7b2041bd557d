"""Replay of real candles."""

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from tests.sandbox.conftest import make_sandbox
from weft.foundation.errors import NoDataError
from weft.foundation.times import HOUR, parse_time
from weft_sandbox.market.bars import MINUTES, Bars, Grid
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World

END = parse_time("2024-02-07T12:00:00Z")


@pytest.fixture
def folder(tmp_path: Path, walk: Callable[..., pl.DataFrame]) -> Path:
    for symbol in ("BTCUSDT", "ZZZUSDT"):
        frame = walk(symbol).with_columns(
            pl.col("open", "high", "low", "close").round(4), pl.col("volume").round(2)
        )
        # A hole, as in real history.
        frame.filter(pl.int_range(pl.len()) != 500).write_parquet(tmp_path / f"{symbol}.parquet")
    return tmp_path


def test_replay_returns_the_files_candles_with_holes(folder: Path) -> None:
    world = World(seed=1, replay=folder)
    assert [coin.name for coin in world.coins] == ["BTC", "ZZZ"]
    for coin in world.coins:
        wanted = pl.read_parquet(folder / f"{coin.symbol}.parquet")
        first = coin.listed
        bars = world.candles(REFERENCE, coin, Grid.of("1h"), first, END, END + HOUR)
        assert len(bars) == 899
        times = wanted["open_time"].dt.epoch("us").to_numpy()
        assert np.array_equal(bars.open_time, times)
        for name in ("open", "high", "low", "close"):
            assert np.allclose(getattr(bars, name) * coin.tick, wanted[name], rtol=0, atol=1e-9)
        assert np.allclose(bars.volume * coin.step, wanted["volume"], rtol=1e-9)


def test_minutes_add_up_to_the_files_candles(folder: Path) -> None:
    world = World(seed=1, replay=folder)
    coin, grid = world.coin["BTC"], Grid.of("4h")
    first = coin.listed + 24 * HOUR
    end = first + 48 * HOUR
    minutes = world.candles(REFERENCE, coin, MINUTES, first, end, END)
    assert len(minutes) == 48 * 60
    joined, long = minutes.on(grid), world.candles(REFERENCE, coin, grid, first, end, END)
    for name in Bars.__slots__:
        assert np.array_equal(getattr(joined, name), getattr(long, name)), name


def test_replay_can_end_now(folder: Path, http: httpx.Client) -> None:
    start = parse_time("2026-05-05T10:00:00Z")
    with make_sandbox(replay=folder, start=start, speed=0) as sandbox:
        query: dict[str, str | int] = {"symbol": "BTCUSDT", "interval": "1h", "limit": 1000}
        rows = http.get(sandbox.url("binance") + "/api/v3/klines", params=query).json()
    assert rows[-1][6] == start // 1000 - 1
    last = pl.read_parquet(folder / "BTCUSDT.parquet")["close"][-1]
    assert float(rows[-1][4]) == pytest.approx(last)


def test_a_folder_without_candles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="no candles to replay"):
        World(replay=tmp_path)


@pytest.mark.slow
def test_replay_returns_real_history(real_data: Path) -> None:
    world = World(replay=real_data / "crypto_perp_5m")
    coin = world.coins[0]
    wanted = pl.read_parquet(next((real_data / "crypto_perp_5m").glob(f"{coin.symbol}*.parquet")))
    wanted = wanted.head(2_000)
    first = coin.listed
    bars = world.candles(REFERENCE, coin, Grid.of("5m"), first, first + 2_000 * HOUR // 12, END)
    assert np.allclose(bars.close * coin.tick, wanted["close"], rtol=1e-9)
