"""Local order books: numbering, snapshots, gaps and metrics."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.sources.stream.books import Applied, LocalBook
from weft.sources.stream.events import BookSnapshot, BookUpdate
from weft.sources.stream.queue import EventQueue


def spot(first: int, last: int, price: float = 99.0, size: float = 1.0) -> BookUpdate:
    return BookUpdate("A", first, last, None, {price: size}, {})


def futures(first: int, last: int, previous: int) -> BookUpdate:
    return BookUpdate("A", first, last, previous, {99.0: float(last)}, {})


def snapshot(last: int) -> BookSnapshot:
    bids = {100.0 - i: 1.0 for i in range(5)}
    return BookSnapshot(last, bids, {101.0 + i: 2.0 for i in range(5)})


def test_spot_updates_follow_by_consecutive_numbers() -> None:
    book = LocalBook()
    assert book.update(spot(8, 10)) is Applied.WAITS
    assert book.update(spot(11, 14)) is Applied.WAITS
    assert book.snapshot(snapshot(12)) is Applied.FOLLOWS
    assert book.update(spot(15, 15)) is Applied.FOLLOWS
    assert book.update(spot(9, 15)) is Applied.OLD
    assert book.update(spot(17, 18)) is Applied.GAP
    assert not book.in_step


def test_futures_updates_follow_by_previous_number() -> None:
    book = LocalBook()
    book.update(futures(11, 14, 9))
    assert book.snapshot(snapshot(12)) is Applied.FOLLOWS
    assert book.update(futures(20, 25, 14)) is Applied.FOLLOWS
    assert book.update(futures(26, 30, 26)) is Applied.GAP


def test_a_snapshot_older_than_stored_updates_is_refused() -> None:
    book = LocalBook()
    book.update(spot(20, 22))
    assert book.snapshot(snapshot(15)) is Applied.TOO_OLD
    assert not book.in_step
    assert book.snapshot(snapshot(19)) is Applied.FOLLOWS
    assert book.update(spot(23, 23)) is Applied.FOLLOWS


def test_a_gap_among_stored_updates_needs_a_later_snapshot() -> None:
    book = LocalBook()
    for update in (spot(11, 12), spot(15, 16)):
        book.update(update)
    assert book.snapshot(snapshot(10)) is Applied.TOO_OLD
    assert book.snapshot(snapshot(13)) is Applied.TOO_OLD
    assert book.snapshot(snapshot(14)) is Applied.FOLLOWS


def test_depth_imbalance_and_spread() -> None:
    book = LocalBook()
    bids = {100.0: 1.0, 99.5: 2.0, 98.0: 50.0}
    book.snapshot(BookSnapshot(1, bids, {101.0: 1.0, 103.0: 9.0}))
    reported = book.metrics()
    assert reported["bid_ask_spread"] == pytest.approx(1 / 100.5)
    assert reported["bid_depth_usd"] == pytest.approx(100.0 * 1 + 99.5 * 2)
    assert reported["ask_depth_usd"] == pytest.approx(101.0)
    assert reported["book_imbalance"] == pytest.approx((299 - 101) / (299 + 101))


def test_depth_needs_a_known_book() -> None:
    book = LocalBook()
    book.snapshot(BookSnapshot(1, {100.0: 1.0, 99.9: 1.0}, {100.1: 1.0, 100.2: 1.0}))
    assert set(book.metrics()) == {"bid_ask_spread", "book_imbalance"}
    book.update(BookUpdate("A", 2, 2, None, {}, {100.1: 0.0, 100.2: 0.0}))
    assert book.metrics() == {}


def test_prices_beyond_the_known_part_need_a_snapshot() -> None:
    book = LocalBook()
    book.snapshot(BookSnapshot(1, {100.0: 1.0, 98.0: 1.0}, {100.1: 1.0, 102.0: 1.0}))
    assert not book.outrun
    moved = BookUpdate("A", 2, 2, None, {101.5: 1.0}, {100.1: 0.0, 102.0: 1.0})
    book.update(moved)
    assert book.outrun


@given(
    chance=st.randoms(use_true_random=False),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=40),
    at=st.integers(0, 40),
    named=st.booleans(),
    merge=st.integers(1, 6),
)
def test_two_connections_and_merged_updates_lead_to_the_same_book(
    chance: random.Random, sizes: list[int], at: int, named: bool, merge: int
) -> None:
    """Two connections split the changes differently; the queue merges waiting updates."""
    count = sum(sizes)
    changes = [
        (chance.choice((99.0, 98.0, 101.0)), float(chance.randint(0, 3))) for _ in range(count)
    ]
    true = dict(changes)

    def updates(lengths: list[int]) -> list[BookUpdate]:
        computed, done = list[BookUpdate](), 0
        for length in lengths:
            part = dict(changes[done : done + length])
            previous = done if named else None
            computed.append(BookUpdate("A", done + 1, done + length, previous, part, {}))
            done += length
        return computed

    both = updates(sizes) + updates([1] * count)
    both = sorted(both, key=lambda u: u.last + chance.uniform(0, 0.5))
    queue, book = EventQueue(1_000), LocalBook()
    cut = min(at, count)
    begun = dict(changes[:cut])
    book.snapshot(BookSnapshot(cut, {p: s for p, s in begun.items() if s}, {}))
    for number, update in enumerate(both):
        fresh = update._replace(bids=dict(update.bids))
        assert queue.offer(fresh)
        if number % merge == 0:
            _drain(queue, book)
    _drain(queue, book)
    assert book.in_step
    assert book._bids == {p: s for p, s in true.items() if s}


def _drain(queue: EventQueue, book: LocalBook) -> None:
    for event in list(queue._items.values()):
        assert isinstance(event, BookUpdate)
        assert book.update(event) in {Applied.FOLLOWS, Applied.OLD}
    queue._items.clear()
    queue._slots.clear()
