"""Faults that every provider meets alike, each through its own protocol."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import pytest

from tests.faults.http.world import NOW, Desk, Rows, classes
from weft.foundation.times import MINUTE
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]

_MOST_REQUESTS = 60
"""Of one provider in a round that fails from beginning to end; a sound one makes up to 400."""


def each(fault: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fault once for every API, so that each has a count of its own."""
    apis = {name for name in classes() if name != "binance_futures"}
    return [{**fault, "provider": name} for name in sorted(apis)]


def errors(desk: Desk) -> dict[str, str]:
    """Return what ended the last round of each provider."""
    return {name: one.error or "" for name, one in desk.engine.collector.latest.items()}


def silent(desk: Desk) -> list[str]:
    """Return the providers of which status tells no trouble."""
    return [name for name, told in desk.troubles().items() if not told]


def lost(came: Rows, clean: Rows) -> list[Any]:
    return sorted(clean - came)[:3]


def wrong(came: Rows, clean: Rows) -> list[Any]:
    return sorted(came - clean)[:3]


@pytest.mark.parametrize("after", ["7", "-5", None])
def test_h1_every_provider_waits_for_a_limit(
    sandbox: Sandbox, desk: Open, clean: Rows, after: str | None
) -> None:
    sandbox.fault(*each({"kind": "rate_limit", "count": 1, "retry_after": after}))
    one = desk()
    one.collect()
    assert not any(errors(one).values())
    assert one.rows() == clean


def test_h1_every_provider_gives_up_on_an_absurd_wait(sandbox: Sandbox, desk: Open) -> None:
    sandbox.fault(*each({"kind": "rate_limit", "retry_after": "1000000000"}))
    one = desk()
    one.collect()
    other = {n: e for n, e in errors(one).items() if "Request less data, or wait" not in e}
    assert other == {}
    assert one.rows() == set()
    assert asked(sandbox) <= _MOST_REQUESTS


def test_h2_every_provider_stops_at_a_ban(sandbox: Sandbox, desk: Open) -> None:
    sandbox.fault(*each({"kind": "ban"}))
    one = desk()
    one.collect()
    assert one.rows() == set()
    assert silent(one) == []
    assert asked(sandbox) <= _MOST_REQUESTS


def test_h3_every_provider_survives_a_burst_of_failures(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault(*each({"kind": "status", "status": 503, "count": 2}))
    one = desk()
    one.collect()
    assert not any(errors(one).values())
    assert one.rows() == clean


def test_h3_every_provider_is_left_alone_and_comes_back(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault(*each({"kind": "status", "status": 500}))
    one = desk()
    one.collect()
    assert one.rows() == set()
    assert silent(one) == []
    assert asked(sandbox) <= _MOST_REQUESTS
    sandbox.heal()
    one.collect()
    assert lost(one.rows(), clean) == []
    assert one.composes()


@pytest.mark.parametrize(
    "kind", ["truncate", "html", "deep", pytest.param("huge_body", marks=pytest.mark.slow)]
)
def test_h6_no_provider_makes_rows_of_what_is_no_data(
    sandbox: Sandbox, desk: Open, clean: Rows, kind: str
) -> None:
    sandbox.fault({"kind": kind})
    one = desk()
    one.collect()
    assert wrong(one.rows(), clean) == []
    # Half a feed still holds whole entries.
    assert set(silent(one)) <= {"rss"}
    sandbox.heal()
    one.collect()
    assert lost(one.rows(), clean) == []


@pytest.mark.parametrize("kind", ["content_type", "bom", "duplicate_keys", "extra_field"])
def test_h6_h7_every_provider_reads_on_where_nothing_is_lost(
    sandbox: Sandbox, desk: Open, clean: Rows, kind: str
) -> None:
    fault = {"kind": kind, "field": "unheardOf"} if kind == "extra_field" else {"kind": kind}
    sandbox.fault(fault)
    one = desk()
    one.collect()
    assert one.rows() == clean


def test_h7_no_provider_makes_rows_of_another_schema(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault({"kind": "list_dict"})
    one = desk()
    one.collect()
    assert wrong(one.rows(), clean) == []
    # Feeds are no JSON.
    assert set(silent(one)) <= {"rss"}


@pytest.mark.parametrize("kind", ["rename_field", "missing_field", "null_field", "swap_type"])
def test_h7_no_provider_makes_other_rows_of_a_field_that_is_not_as_it_was(
    sandbox: Sandbox, desk: Open, clean: Rows, kind: str
) -> None:
    sandbox.fault({"kind": kind, "seed": 3})
    # A candle of Coinbase is a list of six numbers without any redundancy: a value that moved to
    # another place, and is possible there, cannot be recognised.
    moves = kind == "rename_field"
    one = desk(*(name for name in classes() if not (moves and name == "coinbase")))
    one.collect()
    assert wrong(one.rows(), clean) == []


def test_h9_no_provider_stores_a_count_below_zero(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault({"kind": "negative", "field": "AdrActCnt", "provider": "coinmetrics"})
    one = desk("coinmetrics")
    one.collect()
    assert wrong(one.rows(), clean) == []
    assert "active_addresses BTC: " in one.troubles()["coinmetrics"]
    assert "refused, value not 0 or more" in one.troubles()["coinmetrics"]


def test_h9_no_sound_value_is_taken_for_one_that_cannot_be(desk: Open) -> None:
    one = desk()
    one.collect()
    assert {n: told for n, told in one.troubles().items() if "value not" in told} == {}


@pytest.mark.parametrize("kind", ["nan", "huge_number"])
def test_h8_no_provider_stores_an_impossible_number(
    sandbox: Sandbox, desk: Open, clean: Rows, kind: str
) -> None:
    sandbox.fault({"kind": kind, "seed": 3})
    one = desk()
    one.collect()
    assert wrong(one.rows(), clean) == []


def test_h16_no_provider_follows_a_redirect_elsewhere(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault({"kind": "redirect", "location": "http://169.254.169.254/latest/meta-data"})
    one = desk()
    one.collect()
    assert one.rows() == set()
    assert silent(one) == []


def test_h18_every_provider_stops_when_its_key_is_revoked_in_mid_run(
    sandbox: Sandbox, desk: Open, clean: Rows
) -> None:
    sandbox.fault(*each({"kind": "revoked_key", "skip": 2}))
    one = desk()
    one.collect()
    assert wrong(one.rows(), clean) == []
    keyed = {name for name, cls in classes().items() if cls.web and cls.web.key}
    refused = {n for n, told in one.troubles().items() if n in keyed and told}
    # Two requests are all that some of them ask.
    assert len(refused) > len(keyed) / 2
    assert asked(sandbox) <= _MOST_REQUESTS
    sandbox.heal()
    # The next round, with other clients, keeps to it for a while.
    one.collect()
    assert all(one.troubles()[name] for name in refused)
    one.collect(NOW + 16 * MINUTE)
    assert lost(one.rows(), clean) == []


def asked(sandbox: Sandbox) -> int:
    """Return how many requests the busiest API had."""
    counts: Iterable[int] = (armed["struck"] for armed in sandbox.faults.report())
    return max(counts)
