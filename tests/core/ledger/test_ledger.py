"""The ledger: what was said is written once, stays said, and is found again."""

from dataclasses import replace
from itertools import islice

import orjson
import pytest

from tests.core.ledger.places import KNOWN_BY, NOW, Place, signals
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import LedgerTamperedError, StorageError, WeftError
from weft.foundation.times import HOUR, iso
from weft.ledger import ledger as ledger_module
from weft.ledger.ledger import SCHEMA_VERSION, Entry, Ledger

# Recording


def test_signals_are_recorded_whole_and_newest_first(ledger: Ledger) -> None:
    first, second = signals(0, 2)
    assert ledger.record([first, second], KNOWN_BY) == 2
    newest, oldest = ledger.entries()
    assert (oldest.seq, newest.seq) == (1, 2)
    assert newest == Entry(
        seq=2,
        kind="signal",
        key=second.id,
        symbol="BTCUSDT",
        as_of=iso(NOW),
        known_by=KNOWN_BY,
        recorded_at=NOW,
        body=orjson.loads(second.to_json()),
        seal=newest.seal,
    )


def test_recording_again_writes_nothing(ledger: Ledger) -> None:
    batch = signals(0, 3)
    assert ledger.record(batch, KNOWN_BY) == 3
    head = ledger.verify()
    assert ledger.record(batch, KNOWN_BY) == 0
    assert ledger.record([], KNOWN_BY) == 0
    assert ledger.verify() == head
    assert ledger.record([*batch, *signals(3, 1), *signals(3, 1)], KNOWN_BY) == 1
    assert ledger.verify()[0] == 4


def test_what_was_known_first_stays_where_signals_are_recorded_again(ledger: Ledger) -> None:
    ledger.record(signals(0, 1), KNOWN_BY)
    ledger.record(signals(0, 2), KNOWN_BY + 5)
    assert [e.known_by for e in ledger.entries()] == [KNOWN_BY + 5, KNOWN_BY]


def test_more_signals_than_a_statement_takes_parameters_are_recorded(ledger: Ledger) -> None:
    batch = signals(0, 2 * ledger_module._PAGE + 3)
    assert ledger.record(batch, KNOWN_BY) == len(batch)
    assert ledger.record(batch, KNOWN_BY) == 0
    assert ledger.verify()[0] == len(batch)
    assert [e.seq for e in ledger.entries()] == list(range(len(batch), 0, -1))


def test_a_batch_is_recorded_whole_or_not_at_all(ledger: Ledger) -> None:
    ledger.record(signals(0, 2), KNOWN_BY)
    broken = replace(signals(2, 1)[0], symbol=None)  # type: ignore[arg-type] # what a fault may bring
    with pytest.raises(StorageError, match="Nothing was written"):
        ledger.record([*signals(3, 2), broken], KNOWN_BY)
    assert ledger.verify()[0] == 2
    assert ledger.record(signals(3, 2), KNOWN_BY) == 2


def test_any_letters_are_kept(ledger: Ledger) -> None:
    ledger.record(signals(0, 1, "ÜNTER/日本"), KNOWN_BY)
    (entry,) = ledger.entries("ÜNTER/日本")
    assert entry.symbol == entry.body["symbol"] == "ÜNTER/日本"
    assert ledger.verify()[0] == 1


# Opening


def test_a_ledger_is_found_again_as_it_was_left(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 3), KNOWN_BY)
    head = ledger.verify()
    ledger.close()
    again = place.opened(NOW + HOUR)
    assert again.verify() == head
    again.record(signals(3, 1), KNOWN_BY)
    assert next(again.entries()).recorded_at == NOW + HOUR
    assert again.verify()[0] == 4


def test_opening_a_ledger_that_is_there_waits_for_no_writer(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 1), KNOWN_BY)
    with ledger._transaction(writing=True):
        assert place.opened().verify()[0] == 1


def test_a_ledger_of_a_newer_weft_is_refused_and_left_alone(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 1), KNOWN_BY)
    newer = SCHEMA_VERSION + 1
    place.raw(place.stamp.format(newer))
    with pytest.raises(
        StorageError,
        match=rf"has schema {newer}; this Weft writes schema {SCHEMA_VERSION}.*Upgrade",
    ):
        place.opened()
    assert place.raw(place.stamped) == [(newer,)]


def test_a_ledger_of_an_older_weft_is_refused_and_left_alone(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 1), KNOWN_BY)
    place.raw(place.stamp.format(1))
    with pytest.raises(
        StorageError, match=r"has schema 1; .*\. Point storage\.ledger at another database"
    ):
        place.opened()
    assert place.raw(place.stamped) == [(1,)]


def test_a_table_of_somebody_else_is_refused_and_left_alone(place: Place) -> None:
    place.raw("CREATE TABLE entries (title varchar(9))")
    with pytest.raises(StorageError, match=r"'entries' of another program.*Point storage\.ledger"):
        place.opened()
    assert place.raw("SELECT title FROM entries") == []


@pytest.mark.parametrize(
    "url",
    ["", "no url", "nosuchdb:///x", "postgresql+nosuchdriver://h/d", "postgresql://h:port/d"],
)
def test_an_address_that_leads_nowhere_is_told(url: str) -> None:
    with pytest.raises(StorageError, match=r"storage\.ledger.*sqlite:///"):
        Ledger(url, SimulatedClock(NOW))


@pytest.mark.parametrize("url", ["mysql://u:hush@h/d", "hush", "postgresql://u:hush@h:port/d"])
def test_a_refused_address_is_not_repeated(url: str) -> None:
    with pytest.raises(StorageError) as caught:
        Ledger(url, SimulatedClock(NOW))
    assert "hush" not in str(caught.value)


# Reading


def test_entries_can_be_limited_and_filtered(ledger: Ledger) -> None:
    ledger.record(signals(0, 4), KNOWN_BY)
    ledger.record(signals(4, 3, "ETHUSDT"), KNOWN_BY)
    ledger.record(signals(7, 1), KNOWN_BY)
    assert [e.seq for e in ledger.entries()] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [e.seq for e in ledger.entries(limit=3)] == [8, 7, 6]
    assert [e.seq for e in ledger.entries("BTCUSDT")] == [8, 4, 3, 2, 1]
    assert [e.seq for e in ledger.entries("BTCUSDT", limit=2)] == [8, 4]
    assert [e.seq for e in ledger.entries("ETHUSDT", limit=99)] == [7, 6, 5]
    assert list(ledger.entries("NONE")) == []
    assert list(ledger.entries(limit=0)) == list(ledger.entries(limit=-1)) == []


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_entries_come_page_by_page_without_a_seam(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(ledger_module, "_PAGE", 3)
    ledger.record(signals(0, 7), KNOWN_BY)
    expected = [7, 6, 5, 4, 3, 2, 1][:limit]
    assert [e.seq for e in ledger.entries("BTCUSDT", limit)] == expected


def test_a_reader_that_stops_half_way_keeps_nobody_waiting(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 5), KNOWN_BY)
    reader = ledger.entries()
    next(reader)
    assert place.opened().record(signals(5, 5), KNOWN_BY) == 5
    assert [e.seq for e in islice(reader, 2)] == [4, 3]
    ledger.record(signals(10, 1), KNOWN_BY)


def test_a_body_that_is_no_signal_is_told_to_readers_too(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 2), KNOWN_BY)
    place.unguarded()
    for body in ("'{'", "'[1]'"):
        place.raw(f"UPDATE entries SET body = {body}")
        with pytest.raises(LedgerTamperedError, match="row 2 "):
            list(ledger.entries())
        with pytest.raises(LedgerTamperedError, match="row 1 "):
            ledger.find(signals(0, 1)[0].id)


# Finding one


def test_a_signal_is_found_by_its_id_or_the_beginning_of_it(ledger: Ledger) -> None:
    batch = signals(0, 50)
    ledger.record(batch, KNOWN_BY)
    for seq, signal in enumerate(batch, start=1):
        for length in (6, 7, 31, 32):
            found = ledger.find(signal.id[:length])
            assert found is not None
            assert (found.seq, found.key) == (seq, signal.id)
    assert ledger.find(batch[0].id) == list(ledger.entries())[-1]


def test_what_is_not_there_is_not_found(ledger: Ledger) -> None:
    assert ledger.find("abcdef") is None
    (signal,) = signals(0, 1)
    ledger.record([signal], KNOWN_BY)
    absent = ("%%%%%%", "______", "\0" * 6, "\ud800" * 6, "é" * 6, signal.id + "0", signal.id[1:])
    for key in (*absent, "x" * 10_000, signal.id[:6] + "zz", f"{signal.id} "):
        assert ledger.find(key) is None


def test_an_id_is_written_in_one_way(ledger: Ledger) -> None:
    ledger.record([replace(signals(0, 1)[0], id="abcdef0123")], KNOWN_BY)
    assert ledger.find("ABCDEF0123") is None


@pytest.mark.parametrize("key", ["", "a", "abcde"])
def test_a_beginning_that_is_too_short_is_told(ledger: Ledger, key: str) -> None:
    with pytest.raises(WeftError, match=r"too short.*the first 6 characters"):
        ledger.find(key)


def test_a_beginning_that_several_ids_have_is_told(ledger: Ledger) -> None:
    plain = signals(0, 1)[0]
    ids = ["abcdef12", "abcdef1", "abcdefff", "abcdeg00", "abcdee99"]
    ledger.record([replace(plain, id=key) for key in ids], KNOWN_BY)
    with pytest.raises(WeftError, match=r"'abcdef', abcdef1 and abcdef12 among them.*Give more"):
        ledger.find("abcdef")
    for key in ids:
        found = ledger.find(key)
        assert found is not None
        assert found.key == key
    found = ledger.find("abcdeff")
    assert found is not None
    assert found.key == "abcdefff"
