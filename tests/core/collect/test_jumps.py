"""Candles far off their neighbours: single ones are refused, lasting shifts are reported."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.collect.checks.clean import CheckedCandles, clean_candles
from weft.collect.checks.jumps import FAR, LastClose
from weft.foundation.times import HOUR, Interval

H1 = Interval.parse("1h")
START = H1.floor(1_710_000_000_000_000)


def checked(
    prices: list[float], before: dict[str, LastClose] | None = None, symbol: str = "A"
) -> CheckedCandles:
    """Check hourly candles, each with a single price."""
    frame = pl.DataFrame(
        {
            "symbol": symbol,
            "open_time": [START + n * HOUR for n in range(len(prices))],
            **dict.fromkeys(("open", "high", "low", "close"), prices),
            "volume": 1.0,
        },
        schema_overrides=dict.fromkeys(("open", "high", "low", "close"), pl.Float64()),
    ).with_columns(pl.col("open_time").cast(pl.Datetime("us", "UTC")))
    return clean_candles(frame, H1, START + 1_000 * HOUR, "test", before or {})


def closes(result: CheckedCandles) -> list[float]:
    return result.frame["close"].to_list()


@pytest.mark.parametrize("factor", [1_000, 100, 1 / 1_000, 1 / 100])
def test_a_candle_far_off_both_its_neighbours_is_refused(factor: float) -> None:
    result = checked([10.0, 11.0, 11.0 * factor, 12.0, 12.5])
    assert closes(result) == [10.0, 11.0, 12.0, 12.5]
    (line,) = result.problems
    assert "1 candle refused, 50 times off the close before and the open after it" in line
    assert result.early == 0


def test_newest_jump_waits_for_the_next_candle() -> None:
    result = checked([10.0, 11.0, 11_000.0])
    assert closes(result) == [10.0, 11.0]
    assert result.early == 1
    assert "until the next one agrees" in result.problems[0]
    before = {"A": LastClose(START - HOUR, 11.0)}
    alone = checked([11_000.0], before)
    assert closes(alone) == []
    assert closes(checked([11_000.0, 11.5], before)) == [11.5]
    stays = checked([11_000.0, 11_500.0], before)
    assert closes(stays) == [11_000.0, 11_500.0]
    assert "kept, although 50 times off the close before" in stays.problems[0]


def test_later_close_and_other_symbols_are_not_compared() -> None:
    for before in ({"A": LastClose(START, 11.0)}, {"B": LastClose(START - HOUR, 11.0)}):
        assert closes(checked([11_000.0], before)) == [11_000.0]


def test_wick_passes_and_is_reported() -> None:
    frame = checked([10.0, 10.0, 10.0]).frame.with_columns(
        high=pl.when(pl.int_range(pl.len()) == 1).then(10_000.0).otherwise(pl.col("high"))
    )
    result = clean_candles(frame, H1, START + 1_000 * HOUR, "test")
    assert len(result.frame) == 3
    assert "high or low is 50 times beyond" in result.problems[0]


@given(moves=st.lists(st.floats(1 / 7, 7), min_size=1, max_size=30))
def test_genuine_moves_are_never_refused(moves: list[float]) -> None:
    prices = [100.0]
    for move in moves:
        prices.append(min(max(prices[-1] * move, 1e-3), 1e6))
    result = checked(prices)
    assert closes(result) == prices
    assert result.problems == ()


@given(at=st.integers(1, 18), factor=st.floats(FAR * 4, 1e6), up=st.booleans(), shift=st.booleans())
def test_single_slip_is_refused_and_lasting_shift_is_reported(
    at: int, factor: float, up: bool, shift: bool
) -> None:
    times = factor if up else 1 / factor
    prices = [10.0 + n for n in range(20)]
    wrong = [p * times if n == at or (shift and n > at) else p for n, p in enumerate(prices)]
    result = checked(wrong)
    assert closes(result) == (wrong if shift else [*prices[:at], *prices[at + 1 :]])
    assert len(result.problems) == 1
