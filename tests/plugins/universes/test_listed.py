"""The universe that config names."""

import numpy as np

from weft.testing import random_history
from weft_plugins.universes.listed import Listed


def members(*symbols: str) -> np.ndarray:
    view = random_history(rows=20).view([], steps=3)
    return Listed(Listed.Config(symbols=symbols)).members(view)


def test_no_names_choose_everything() -> None:
    assert members().all()


def test_names_choose_themselves_on_every_row() -> None:
    chosen = members("COIN1USDT", "NOT-THERE")
    np.testing.assert_array_equal(chosen, [[False, True, False, False]] * 3)
