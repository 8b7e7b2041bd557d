"""Fixtures of the tests of learning."""

import pytest

from tests.core.learning.leaning import Leaning


@pytest.fixture(autouse=True)
def _as_it_was() -> None:
    Leaning.chance, Leaning.quality, Leaning.fails = 0.6, 0.1, False
    Leaning.seen.clear()
    Leaning.previous.clear()
    Leaning.resumed.clear()
