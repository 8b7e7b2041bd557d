"""H6: bodies without end, nested without end, as an engine meets them: bounded and named."""

import tracemalloc
from collections.abc import Callable
from time import monotonic
from typing import TypeAlias

import pytest

from tests.faults.http.world import Desk
from tests.support import PATIENCE_SECONDS
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]


@pytest.mark.parametrize("kind", ["huge_body", "endless_body"])
def test_h6_a_body_of_a_gigabyte_ends_at_the_limit(sandbox: Sandbox, desk: Open, kind: str) -> None:
    sandbox.fault({"kind": kind, "size": 1_000})
    one = desk("binance", largest_bytes=8 << 20)
    tracemalloc.start()
    began = monotonic()
    one.collect()
    took = monotonic() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < PATIENCE_SECONDS
    # Four requests at once, each of up to 8 MB, and as much again while a part is added.
    assert peak < 100 << 20
    assert "larger than 8388608 bytes" in one.troubles()["binance"]
    assert one.rows() == set()
    sandbox.heal()
    one.collect()
    assert one.rows()
    assert one.composes()


def test_h6_nesting_a_million_deep_is_named(sandbox: Sandbox, desk: Open) -> None:
    sandbox.fault({"kind": "deep", "size": 1_000_000})
    one = desk("binance")
    one.collect()
    assert "broken JSON" in one.troubles()["binance"]
    assert one.rows() == set()
