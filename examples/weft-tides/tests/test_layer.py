"""Tests of the layer: Weft's conformance kit, and what its score means."""

from collections.abc import Callable

import numpy as np
import pytest
from weft.testing import parametrize_with_checks, random_history

from weft_tides.layer import Momentum


@parametrize_with_checks(
    [
        Momentum(),
        Momentum(Momentum.Config(window=24)),
    ]
)
def test_layer_keeps_to_its_contract(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(("factor", "sign"), [(1.5, 1.0), (0.7, -1.0)])
def test_score_has_the_sign_of_a_large_move(factor: float, sign: float) -> None:
    layer = Momentum()
    history = random_history(seed=1, flaws=False).columns(np.arange(3))
    moved = history.after(history.rows - 1, lambda panel: factor * panel)
    scores = layer.score(moved.view(layer.needs))
    assert (sign * scores.score > 50.0).all()
