"""Memory for panels, reused once no view of it is left."""

import math
import threading
import weakref

import numpy as np

from weft.foundation.arrays import FloatPanel, Floats

_WORTH_KEEPING = 1 << 17  # cells below which fresh memory costs next to nothing
_CELLS_KEPT = 1 << 26  # half a gigabyte


class PanelMemory:
    """Hands out arrays for panels, and reclaims their memory once no view of them is left.

    The operating system zeroes fresh memory page by page, which takes longer than most features.
    """

    def __init__(self) -> None:
        self._free: list[Floats] = []
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, int, int]) -> FloatPanel:
        """Return an array of unset values."""
        cells = math.prod(shape)
        if cells < _WORTH_KEEPING:
            return np.empty(shape)
        block = self._take(cells)
        # Views of views refer to this array, as it is the first that owns no memory itself.
        lease = np.frombuffer(block.data)
        weakref.finalize(lease, self._give_back, block).atexit = False
        return lease[:cells].reshape(shape)

    def clear(self) -> None:
        """Return all unused memory to the operating system."""
        with self._lock:
            self._free.clear()

    def _take(self, cells: int) -> Floats:
        with self._lock:
            fitting = [k for k, block in enumerate(self._free) if cells <= len(block) <= 2 * cells]
            if fitting:
                return self._free.pop(min(fitting, key=lambda k: len(self._free[k])))
        return np.empty(cells)

    def _give_back(self, block: Floats) -> None:
        # Runs wherever the last view dies, perhaps inside `_take` when garbage is collected.
        if self._lock.acquire(blocking=False):
            try:
                if sum(map(len, self._free)) + len(block) <= _CELLS_KEPT:
                    self._free.append(block)
            finally:
                self._lock.release()
