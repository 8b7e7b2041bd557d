"""Weft's own conformance kit, run on the plugin."""

from collections.abc import Callable

from weft.testing import parametrize_with_checks
from weft_tides.layer import Momentum


@parametrize_with_checks([Momentum(), Momentum(Momentum.Config(window=24))])
def test_conformance(check: Callable[[], None]) -> None:
    check()
