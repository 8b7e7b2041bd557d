"""The collector: rounds, deadlines, history, and reports about them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from tests.support import make_engine
from weft import Batch, Provider, Request
from weft.collect.intake import RoundResult
from weft.domain.instruments import describe
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.errors import ComponentError, LookAheadError
from weft.foundation.times import DAY, HOUR, MINUTE, parse_time
from weft.sources.http import Http
from weft.store.tables import CANDLES

NOW = parse_time("2026-04-01T00:00:00Z")


class Delayed(Provider):
    """One coin, whose candles are known a minute after their close."""

    name = "delayed"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        opened = np.arange(NOW - 30 * HOUR, NOW - HOUR, HOUR)
        frame = pl.DataFrame(
            {
                "symbol": "XCOINUSDT",
                "interval": "1h",
                "open_time": pl.Series(opened),
                **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
                "known_at": pl.Series(opened + HOUR + MINUTE),
            }
        ).with_columns(pl.col("open_time", "known_at").cast(pl.Datetime("us", "UTC")))
        yield Batch(candles=frame, instruments=(describe("XCOINUSDT"),))


@pytest.mark.parametrize("delay", [0, 60])
def test_candles_known_too_late_for_their_row_are_reported_once(tmp_path: Path, delay: int) -> None:
    overrides = ["providers.delayed.enabled=true", f"decision_delay_seconds={delay}"]
    clock = SimulatedClock(NOW)
    engine = make_engine(tmp_path, *overrides, extra=[Delayed], clock=clock)
    (first,) = asyncio.run(engine.update())
    (again,) = asyncio.run(engine.update())
    assert again.problems == []
    view = engine.view(NOW - HOUR)
    assert np.isnan(view.candles().close).all() == (delay == 0)
    if delay:
        assert first.problems == []
        with pytest.raises(LookAheadError, match="is taken at 2026-04-01T00:01:00Z"):
            engine.view(NOW)
    else:
        (line,) = first.problems
        assert line.startswith("XCOINUSDT: 29 candles, the first at 2026-03-30T18:00:00Z")
        assert "60 seconds" in line
        assert "raise decision_delay_seconds" in line


class Pages(Provider):
    """One coin, an hour in each batch; a later batch can be made unusable."""

    name = "pages"

    class Config(Provider.Config):
        spoilt: bool = False

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        for hour in range(30):
            opened = NOW - (30 - hour) * HOUR
            if opened <= request.known.get("XCOINUSDT", 0):
                continue
            spoilt = self.config.spoilt and hour == 20
            frame = pl.DataFrame(
                {
                    "symbol": ["XCOINUSDT"],
                    "interval": ["1h"],
                    "open_time": pl.Series([opened]).cast(pl.Datetime("us", "UTC")),
                    **{field: [1.0] for field in ("open", "high", "low", "close")},
                    "volume": ["a lot" if spoilt else "1.5"],
                }
            )
            yield Batch(candles=frame, instruments=(describe("XCOINUSDT"),), cursor=str(hour))


def test_small_batches_share_a_commit(tmp_path: Path) -> None:
    options = ["providers.pages.enabled=true"]
    engine = make_engine(tmp_path, *options, extra=[Pages], clock=SimulatedClock(NOW))
    (collected,) = asyncio.run(engine.update())
    assert collected.new == 30
    assert engine.store.lake.snapshot(CANDLES).version == 1  # version 0 creates the table
    assert engine.store.cursor("pages", engine.composition.base) == "29"
    (again,) = asyncio.run(engine.update())
    assert again.new == 0


def test_unusable_batch_does_not_cost_earlier_batches(tmp_path: Path) -> None:
    options = ["providers.pages.enabled=true", "providers.pages.on_error=degrade"]
    spoilt = [*options, "providers.pages.spoilt=true"]
    clock = SimulatedClock(NOW)
    engine = make_engine(tmp_path, *spoilt, extra=[Pages], clock=clock)
    (collected,) = asyncio.run(engine.update())
    assert collected.error is not None
    assert "volume" in collected.error
    assert collected.new == 20
    assert engine.market.known_spans("pages")["XCOINUSDT"].last == NOW - 11 * HOUR
    mended = make_engine(tmp_path, *options, extra=[Pages], clock=clock)
    (rest,) = asyncio.run(mended.update())
    assert (rest.new, rest.error) == (10, None)


def history(
    folder: Path, days: int, *, since: int | None = None, **attributes: Any
) -> dict[str, int]:
    """Collect once with some days of history, and return what is missing before it."""
    extra = type("Pages", (Pages,), {"__module__": __name__, **attributes})
    options = ["providers.pages.enabled=true", f"history_days={days}"]
    engine = make_engine(folder, *options, extra=[extra], clock=SimulatedClock(NOW))
    asyncio.run(engine.update(since=since))
    return engine.collector.missing_history()


def test_raised_history_days_leave_history_missing_until_a_backfill(tmp_path: Path) -> None:
    assert history(tmp_path, 10) == {}
    assert history(tmp_path, 5) == {}
    assert history(tmp_path, 30) == {"pages": NOW - 10 * DAY}
    assert history(tmp_path, 30, since=NOW - 30 * DAY) == {}
    assert history(tmp_path, 20) == {}


def test_source_with_full_history_never_lacks_history(tmp_path: Path) -> None:
    assert history(tmp_path, 10, full_history=True) == {}
    assert history(tmp_path, 30, full_history=True) == {}


class Impatient(Provider):
    """Raises its own TimeoutError."""

    name = "impatient"
    patient: ClassVar[bool] = False

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        if not self.patient:
            raise TimeoutError("the venue took too long")
        yield Batch()


@pytest.mark.parametrize("in_time", [False, True])
def test_timeout_raised_by_a_plugin_is_its_fault(tmp_path: Path, in_time: bool) -> None:
    options = ["providers.pages.enabled=true", "providers.impatient.enabled=true"]
    engine = make_engine(tmp_path, *options, extra=[Pages, Impatient], clock=SimulatedClock(NOW))
    with pytest.raises(ComponentError, match="raised TimeoutError: the venue took too long"):
        asyncio.run(engine.update(in_time=in_time))
    # The status of each provider is that of this round.
    assert engine.collector.latest["pages"].new == 30
    assert "the venue took too long" in str(engine.collector.latest["impatient"].error)


class Stuck(Provider):
    """Yields a single candle, and then hangs."""

    name = "stuck"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        frame = pl.DataFrame(
            {
                "symbol": ["STUCKUSDT"],
                "interval": ["1h"],
                "open_time": pl.Series([NOW - HOUR]).cast(pl.Datetime("us", "UTC")),
                **{field: [1.0] for field in ("open", "high", "low", "close", "volume")},
            }
        )
        yield Batch(candles=frame, instruments=(describe("STUCKUSDT"),))
        await asyncio.Event().wait()


def test_hanging_source_delays_a_live_round_only_to_its_deadline(
    tmp_path: Path,
) -> None:
    options = [
        "providers.pages.enabled=true",
        "providers.stuck.enabled=true",
        "providers.stuck.on_error=degrade",
        "providers.stuck.deadline_seconds=1",
    ]
    clock = SimulatedClock(NOW)
    engine = make_engine(tmp_path, *options, extra=[Pages, Stuck], clock=clock)

    async def live() -> list[RoundResult]:
        async with asyncio.timeout(30):
            return await engine.update(in_time=True)

    results = {result.provider: result for result in asyncio.run(live())}
    assert "was not done within 1 seconds" in str(results["stuck"].error)
    assert results["pages"].error is None
    # The candle that came before the provider hung is stored.
    assert set(engine.market.listings) == {"XCOINUSDT", "STUCKUSDT"}
    assert engine.market.view(NOW).candles().close[-1].tolist() == [1.0, 1.0]
