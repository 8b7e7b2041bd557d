"""Files of observations: when each fact became known."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.providers.files.candle_files import START, candles, fetch, write
from weft.foundation.errors import SchemaError, WeftError
from weft.foundation.times import DAY
from weft_providers.files.provider import Files


def facts(**columns: Any) -> pl.DataFrame:
    plain: dict[str, Any] = {
        "metric": ["funding_rate"] * 2,
        "scope": ["instrument"] * 2,
        "entity": ["BTCUSDT"] * 2,
        "event_time": ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"],
        "value": [0.0001, 0.0002],
    }
    return pl.DataFrame(plain | columns)


def test_observations_are_known_after_the_stated_lag(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    (tmp_path / "facts").mkdir()
    write(facts(), tmp_path / "facts" / "funding.csv")
    place = tmp_path / "facts"
    batches = fetch(file, observations=place, observation_lag="1d")
    frame = batches[1].observations
    assert frame is not None
    lag = frame["known_at"].to_physical() - frame["event_time"].to_physical()
    assert lag.to_list() == [DAY, DAY]
    cursor = batches[-1].cursor
    assert fetch(file, observations=place, observation_lag="1d", cursor=cursor) == []
    with pytest.raises(SchemaError, match=r"files: funding.csv: column 'known_at' is missing"):
        fetch(file, observations=place)


def test_lag_that_is_no_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'soon' is not an interval"):
        Files.Config(observation_lag="soon")


def test_observations_known_in_the_future_are_read_later(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    known = ["2024-01-01T01:00:00Z", "2024-01-03T00:00:00Z"]
    place = write(facts(known_at=known), tmp_path / "facts.parquet")
    early = fetch(file, observations=place, now=START + DAY)
    assert early[1].observations is not None
    assert len(early[1].observations) == 1
    (late,) = fetch(file, observations=place, cursor=early[-1].cursor)
    assert late.observations is not None
    assert len(late.observations) == 2


def test_missing_observations_name_their_key(tmp_path: Path) -> None:
    file = write(candles(), tmp_path / "BTCUSDT.csv")
    with pytest.raises(WeftError, match=r"providers.files.observations: expected a file"):
        fetch(file, observations=tmp_path / "nowhere")
