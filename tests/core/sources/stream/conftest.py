"""A shared sandbox whose clock runs 60 times faster."""

from collections.abc import Iterator

import pytest

from tests.core.sources.stream.support import sandbox
from weft_sandbox import Sandbox


@pytest.fixture(scope="session")
def _fast() -> Iterator[Sandbox]:
    with sandbox() as running:
        yield running


@pytest.fixture
def fast(_fast: Sandbox) -> Iterator[Sandbox]:
    """A sandbox without faults; healed after every test."""
    yield _fast
    _fast.heal()
