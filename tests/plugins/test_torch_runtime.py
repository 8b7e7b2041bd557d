"""Torch on one thread, and items computed separately."""

import threading
from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")

from weft_plugins.torch_runtime import each_apart, one_thread  # noqa: E402  # needs torch


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_last_of_two_overlapping_callers_restores_the_threads() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_thread():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    with one_thread() as available:
        assert available == 2
        thread.start()
        assert inside.wait(60)
    assert torch.get_num_threads() == 1
    leave.set()
    thread.join()
    with one_thread() as available:
        assert available == 2
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_threads_are_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="spoilt"), one_thread():
        raise ValueError("spoilt")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_items_are_computed_on_one_thread_in_order(threads: int) -> None:
    def work(item: int) -> tuple[int, int]:
        return item * item, torch.get_num_threads()

    assert each_apart(work, range(20), threads) == [(n * n, 1) for n in range(20)]
    assert each_apart(work, [], threads) == []


def test_error_of_one_item_is_raised() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("item 3")
        return item

    with pytest.raises(ValueError, match="item 3"):
        each_apart(work, range(5), 2)
