"""A bounded cache of computed blocks."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Stores the blocks used last.

    Two threads that miss the same block both compute it, with the same result: a block is a
    function of its key.

    Args:
        size: greatest number of blocks.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the block of a key; compute it if it is missing."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        block = make()
        with self._lock:
            self._blocks[key] = block
            while len(self._blocks) > self._size:
                self._blocks.popitem(last=False)
        return block

    def clear(self) -> None:
        """Remove all blocks."""
        with self._lock:
            self._blocks.clear()

    def __len__(self) -> int:
        return len(self._blocks)
