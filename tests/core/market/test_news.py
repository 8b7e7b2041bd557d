"""Texts in memory: what is held and what the store says are one and the same."""

import shutil
import threading
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import ALONE, fetch, make_engine
from weft import Batch, Provider, Request
from weft.components.layer import Layer, Scores
from weft.components.needs import candles, news
from weft.domain.instruments import describe
from weft.engine.engine import Engine
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.times import DAY, HOUR, MINUTE, parse_time
from weft.market import news as module
from weft.market.news import NO_NEWS, News, Texts, news_of
from weft.market.view import View
from weft.sources.http import Http
from weft.store.lake import Lake
from weft.store.store import Store
from weft.store.tables import TEXTS

START = parse_time("2024-03-01T00:00:00Z")
FOREVER = START + 10_000 * DAY


def text(id_: str, published: int, known: int, title: str = "") -> dict[str, object]:
    return {
        "id": id_,
        "event_time": START + published * HOUR,
        "known_at": START + known * HOUR,
        "title": title or f"Text {id_}",
        "summary": "",
        "url": "",
        "feed": "feed",
        "assets": ["BTC"],
        "credibility": 0.5,
    }


def frame_of(*texts: dict[str, object]) -> pl.DataFrame:
    schema = {n: t for n, t in TEXTS.schema.items() if n not in {"source", "recorded_at"}}
    as_read = {n: pl.Int64() if n in {"event_time", "known_at"} else t for n, t in schema.items()}
    return pl.DataFrame(list(texts), schema=as_read).cast(schema)  # type: ignore[arg-type]  # a plain mapping


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Lake(tmp_path / "lake"), SimulatedClock(START + 1000 * DAY))


def append(store: Store, source: str, *texts: dict[str, object]) -> pl.DataFrame:
    return store.append_texts(source, frame_of(*texts)).rows


def versions(said: News) -> list[tuple[int, str, str, int, str]]:
    times = zip(said.known_at.tolist(), said.event_time.tolist(), strict=True)
    rest = zip(said.sources, said.ids, said.titles, strict=True)
    return [(k, s, i, e, t) for (k, e), (s, i, t) in zip(times, rest, strict=True)]


def from_disk(store: Store, since: int, until: int) -> list[tuple[int, str, str, int, str]]:
    return sorted(versions(news_of(store.texts(("a", "b"), since, until))))


said_texts = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from("uvwxyz"),
    st.integers(0, 50),
    st.integers(0, 20),
    st.sampled_from(["rises", "falls"]),
)


@settings(max_examples=15, deadline=None)
@given(
    rounds=st.lists(st.lists(said_texts, max_size=6), min_size=1, max_size=4),
    asked=st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 80)), min_size=4, max_size=4),
)
def test_what_is_held_is_what_the_store_says(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: list[list[tuple[str, str, int, int, str]]],
    asked: list[tuple[int, int]],
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    store = Store(lake, SimulatedClock(START + 1000 * DAY))
    held = Texts(store, ("a", "b"))
    for said, (since, until) in zip(rounds, asked, strict=False):
        for source in "ab":
            texts = [text(i, e, e + late, t) for s, i, e, late, t in said if s == source]
            held.absorb(append(store, source, *texts))
        for instant in (START + until * HOUR, FOREVER):
            found = versions(held.between(START + since * HOUR, instant))
            assert found == from_disk(store, START + since * HOUR, instant)


def test_the_disk_is_read_once(store: Store, tmp_path: Path) -> None:
    held = Texts(store, ("a",))
    append(store, "a", text("1", 0, 1), text("2", 30, 31))
    assert len(held.between(START, FOREVER)) == 2
    shutil.rmtree(tmp_path / "lake" / "texts")
    assert held.between(START, FOREVER).ids == ("1", "2")
    assert held.between(START + HOUR, FOREVER).ids == ("2",)
    assert held.between(START, START + HOUR).ids == ("1",)


def test_texts_older_than_held_are_read_when_they_are_asked_for(store: Store) -> None:
    held = Texts(store, ("a",))
    append(store, "a", text("1", 0, 1), text("2", 30, 31))
    assert held.between(START + HOUR, FOREVER).ids == ("2",)
    assert held.between(START, FOREVER).ids == ("1", "2")


def test_an_edited_text_is_a_later_version(store: Store) -> None:
    held = Texts(store, ("a",))
    append(store, "a", text("1", 0, 1, "rises"))
    assert held.between(START, FOREVER).titles == ("rises",)
    held.absorb(append(store, "a", text("1", 0, 5, "falls")))
    both = held.between(START, FOREVER)
    assert both.titles == ("rises", "falls")
    assert both.ids == ("1", "1")
    first, second = both.known_at.tolist()
    assert first == START + HOUR
    # What was read as of any instant before must stay as it was.
    assert second > START + 1000 * DAY
    assert held.between(START, second - 1).titles == ("rises",)


def test_what_was_read_a_moment_before_it_is_taken_in_is_held_once(store: Store) -> None:
    held = Texts(store, ("a",))
    rows = append(store, "a", text("1", 0, 1))
    held.between(START, FOREVER)
    held.absorb(rows)
    assert held.between(START, FOREVER).ids == ("1",)


def test_others_texts_are_not_taken_in(store: Store) -> None:
    held = Texts(store, ("a",))
    held.between(START, FOREVER)
    held.absorb(append(store, "b", text("1", 0, 1)))
    assert len(held.between(START, FOREVER)) == 0


def test_beyond_what_may_be_held_it_reads_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_CACHED", 3)
    held = Texts(store, ("a",))
    for number in range(6):
        held.absorb(append(store, "a", text(str(number), number, number)))
        assert len(held.between(START, FOREVER)) == number + 1


def test_many_threads_lose_nothing(store: Store) -> None:
    """Whoever reads while others store finds, at the end, all of it, each text once."""
    held = Texts(store, ("a", "b"))
    faults: list[BaseException] = []

    def write(source: str) -> None:
        for number in range(6):
            held.absorb(append(store, source, text(f"{number}", number, number)))

    def read() -> None:
        try:
            for number in range(60):
                found = held.between(START + number % 7 * HOUR, FOREVER)
                assert (np.diff(found.known_at) >= 0).all()
                assert len(set(versions(found))) == len(found)
        except AssertionError as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(source,)) for source in "ab"]
    threads += [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert versions(held.between(START, FOREVER)) == from_disk(store, START, FOREVER)
    assert len(held.between(START, FOREVER)) == 12


def test_joining_keeps_all_columns_together() -> None:
    def some(*numbers: int) -> News:
        times = np.array(numbers, dtype=np.int64)
        names = tuple(map(str, numbers))
        marks = tuple((name,) for name in names)
        return News(times, times, names, names, names, names, names, names, marks, times / 100)

    whole = NO_NEWS.merged(some(5, 1, 9)).merged(some(4)).merged(some(9, 12)).merged(NO_NEWS)
    for field in fields(News):
        found = [float(np.ravel(x)[0]) for x in getattr(whole, field.name)]
        scale = 100 if field.name == "credibility" else 1
        assert [round(x * scale) for x in found] == [1, 4, 5, 9, 12], field.name


class Chatter(Provider):
    """One coin with candles, and one text an hour, first seen ten minutes later."""

    name = "chatter"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        now = clock.now()
        opened = np.arange(now - 40 * HOUR, now, HOUR)
        at = pl.Series(opened).cast(pl.Datetime("us", "UTC"))
        frame = pl.DataFrame(
            {
                "symbol": "BTCUSDT",
                "interval": "1h",
                "open_time": at,
                **dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0),
            }
        )
        texts = [text(f"{time}", 0, 0) for time in opened]
        told = frame_of(*texts).with_columns(event_time=at, known_at=at + pl.duration(minutes=10))
        yield Batch(candles=frame, instruments=(describe("BTCUSDT"),), texts=told)


class Listener(Layer):
    """Counts the texts it may know."""

    name = "listener"
    needs = (candles(warmup=0), news(days=0.25))

    def score(self, view: View) -> Scores:
        count = np.searchsorted(view.news().known_at, view.decided, side="right")
        return view.scores(np.tile(np.minimum(count, 100.0)[:, None], (1, len(view.symbols))))


@pytest.fixture
def live(tmp_path: Path) -> Engine:
    options = [*ALONE, "providers.chatter.enabled=true", "layers.listener.enabled=true"]
    clock = SimulatedClock(START)
    return fetch(make_engine(tmp_path, *options, extra=[Chatter, Listener], clock=clock))


def test_a_live_engine_hears_what_was_just_collected(live: Engine, tmp_path: Path) -> None:
    first = live.view(START).loaded.news
    assert first.event_time.tolist() == [START - k * HOUR for k in range(6, 0, -1)]
    clock = live.clock
    assert isinstance(clock, SimulatedClock)
    clock.advance_to(START + 3 * HOUR)
    fetch(live)
    # From here on memory alone can answer.
    shutil.rmtree(tmp_path / "lake" / "texts")
    second = live.view(START + 3 * HOUR).loaded.news
    assert second.event_time.tolist() == [START + k * HOUR for k in range(-3, 3)]
    assert live.view(START).loaded.news.ids == first.ids


def test_a_replay_reads_what_was_recorded_then(live: Engine) -> None:
    read_at = live.view(START).loaded.read_at
    assert read_at is not None
    clock = live.clock
    assert isinstance(clock, SimulatedClock)
    clock.advance_to(START + MINUTE)
    late = {**text("late", -2, 0), "known_at": START - MINUTE}
    live.market.absorb_texts(append(live.store, "chatter", late))
    assert "late" in live.view(START).loaded.news.ids
    assert "late" not in live.market.as_recorded(read_at).view(START).loaded.news.ids
    assert "late" in live.market.as_recorded(clock.now()).view(START).loaded.news.ids
