"""The Python door gives the same signals, records and metrics as the engine behind it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

import weft
from tests.support import ALONE
from weft.engine.session import Session
from weft.foundation.errors import ConfigError, LookAheadError, NoDataError, WeftError
from weft.foundation.times import HOUR, parse_time, to_datetime

SETTINGS: dict[str, object] = {key: value for key, _, value in (o.partition("=") for o in ALONE)}
SYMBOLS = ["BTCUSDT", "ETHUSDT"]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    home = tmp_path_factory.mktemp("home")
    places = {
        "storage.lake": str(home / "lake"),
        "storage.ledger": f"sqlite:///{home}/ledger.db",
        "storage.models": str(home / "models"),
    }
    settings = {**SETTINGS, **places, "universe.symbols": SYMBOLS}
    with weft.open(settings=settings) as opened:
        opened.update()
        yield opened


def test_update_reports_each_provider(session: Session) -> None:
    frame = session.update()
    assert frame["provider"].to_list() == ["synthetic"]
    assert frame["error"].to_list() == [None]


def test_signals_equal_the_reports_of_single_rows(session: Session) -> None:
    frame = session.signals(steps=5)
    expected: dict[tuple[str, str], str] = {}
    last = session.engine.latest_close()
    for row in range(5):
        view = session.engine.view(last - row * HOUR)
        report = session.engine.report(session.engine.compose(view))
        expected |= {(s.as_of, s.symbol): s.id for s in report.signals}
    times = frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert dict(zip(zip(times, frame["symbol"], strict=True), frame["id"], strict=True)) == expected
    assert len(expected) == 10


def test_signals_across_a_block_of_the_calendar_are_complete(session: Session) -> None:
    block = 2048 * HOUR
    boundary = session.engine.latest_close() // block * block
    around = to_datetime(boundary + 2 * HOUR)
    frame = session.signals("BTCUSDT", steps=6, as_of=around)
    assert frame["time"].to_list() == [to_datetime(boundary + n * HOUR) for n in range(-3, 3)]
    alone = [session.signals("BTCUSDT", as_of=time)["id"][0] for time in frame["time"]]
    assert frame["id"].to_list() == alone


def test_layers_have_the_weights_of_the_signal(session: Session) -> None:
    frame = session.layers("BTCUSDT", steps=3)
    assert frame.group_by("time").agg(pl.col("weight").sum())["weight"].to_list() == [1.0] * 3
    scores = session.signals("BTCUSDT", steps=3)["score"].to_list()
    assert frame.filter(layer="technical")["score"].to_list() == scores


def test_history_returns_what_was_recorded(session: Session) -> None:
    assert session.history().is_empty()
    last = session.engine.latest_close()
    for close in (last - HOUR, last):
        view = session.engine.view(close)
        session.engine.record(session.engine.report(session.engine.compose(view)), view)
    recorded = session.history("BTCUSDT")
    assert recorded.drop("recorded_at").equals(session.signals("BTCUSDT", steps=2))
    assert session.history(since=to_datetime(last))["symbol"].to_list() == SYMBOLS
    assert len(session.history(until=to_datetime(last - HOUR))) == 2


def test_candles_are_those_of_the_view(session: Session) -> None:
    frame = session.candles("btc/usdt", steps=4)
    expected = session.engine.view(steps=4).frame("BTCUSDT").tail(4)
    assert frame.equals(expected)
    assert frame["close_time"][-1] == to_datetime(session.engine.latest_close())


def test_metrics_without_a_source_are_null(session: Session) -> None:
    frame = session.metrics(["mvrv", "funding_rate"], SYMBOLS, steps=2)
    assert len(frame) == 8
    assert frame["value"].null_count() == 8
    assert frame["sources"].to_list() == [0] * 8


def test_metrics_count_from_the_time_they_were_known(tmp_path: Path) -> None:
    candles = tmp_path / "BTCUSDT-1h.csv"
    first = parse_time("2025-01-01T00:00:00Z") // 1000
    lines = [f"{first + n * 3_600_000},100,101,99,100,5" for n in range(400)]
    candles.write_text("open_time,open,high,low,close,volume\n" + "\n".join(lines) + "\n")
    facts = tmp_path / "facts.csv"
    facts.write_text(
        "metric,scope,entity,event_time,known_at,value\n"
        "mvrv,asset,BTC,2025-01-16T00:00:00Z,2025-01-16T02:00:00Z,2.5\n"
    )
    settings = {
        **SETTINGS,
        "providers.files.path": str(candles),
        "providers.files.observations": str(facts),
    }
    with weft.open(settings=settings) as session:
        rounds = session.update()
        assert rounds["error"].null_count() == len(rounds), rounds["error"].to_list()
        frame = session.metrics("mvrv", "BTCUSDT", steps=3, as_of="2025-01-16T03:00:00Z")
    assert frame["value"].to_list() == [None, 2.5, 2.5]
    assert frame["age_seconds"].to_list() == [None, 7200.0, 10800.0]


def test_pandas_takes_the_frames(session: Session) -> None:
    frame = session.signals(steps=2).to_pandas()
    assert list(frame["symbol"]) == SYMBOLS * 2


def test_a_time_in_the_future_is_refused(session: Session) -> None:
    with pytest.raises(LookAheadError, match="future"):
        session.signals(as_of=datetime(2100, 1, 1, tzinfo=UTC))


def test_an_unknown_symbol_is_refused_with_the_nearest(session: Session) -> None:
    with pytest.raises(WeftError, match=r"BTCUSTD: has no candles.*BTCUSDT"):
        session.signals("BTCUSTD")


def test_a_session_without_candles_asks_for_an_update() -> None:
    with weft.open(settings=SETTINGS) as session, pytest.raises(NoDataError, match="update"):
        session.signals()


def test_a_setting_with_a_mistake_is_named() -> None:
    with pytest.raises(ConfigError, match=r"universe\.symbls"):
        weft.open(settings={"universe.symbls": ["BTCUSDT"]})
