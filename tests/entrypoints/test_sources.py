"""The commands about sources, against the sandbox."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Weft
from weft.domain.vocabulary import METRICS
from weft_sandbox import Sandbox
from weft_sandbox.protocols import alternative_me, artemis, binance, glassnode


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(apis=[alternative_me.api, artemis.api, binance.api, glassnode.api]) as running:
        yield running


@pytest.fixture
def through(sandbox: Sandbox) -> list[str]:
    """Overrides that enable three sources."""
    sandbox.heal()
    return [
        "--set=history_days=10",
        "--set=providers.binance.enabled=true",
        f"--set=providers.binance.base_url={sandbox.url('binance')}",
        "--set=providers.binance.symbols=[BTCUSDT, ETHUSDT]",
        "--set=providers.alternative_me.enabled=true",
        f"--set=providers.alternative_me.base_url={sandbox.url('alternative_me')}",
        f"--set=providers.glassnode.base_url={sandbox.url('glassnode')}",
        "--set=providers.glassnode.api_key=a-good-key",
        "--set=providers.glassnode.metrics=[sopr, nupl]",
    ]


def test_backfill_fetches_history_once(weft: Weft, through: list[str]) -> None:
    first = weft("backfill", *through)
    assert first.code == 0, first.err
    assert first.out.count("complete") == 3
    states = {s["name"]: s for s in weft("providers", "status", "--json", *through).json()}
    assert set(states) == {"binance", "alternative_me", "glassnode"}
    assert states["binance"]["kind"] == "sandbox"
    assert states["binance"]["newest_candle"] is not None
    assert states["glassnode"]["newest_fact"] is not None
    again = weft("backfill", *through)
    assert "glassnode" in again.out
    further = weft("backfill", "--since=2026-06-01T00:00:00Z", *through)
    assert further.code == 0
    signals = weft("signals", "--json", *through).json()["signals"]
    assert {signal["symbol"] for signal in signals} == {"BTCUSDT", "ETHUSDT"}
    assert {signal["data"]["kind"] for signal in signals} == {"sandbox"}


def test_backfill_names_a_failed_source_and_stores_the_others(
    weft: Weft, through: list[str], sandbox: Sandbox
) -> None:
    sandbox.fault({"kind": "revoked_key", "provider": "glassnode"})
    done = weft("backfill", *through)
    assert done.code == 1
    assert "Check the key" in done.out
    assert done.out.count("complete") == 2
    assert "a-good-key" not in done.out + done.err


def test_check_prints_the_answer_of_a_source(
    weft: Weft, through: list[str], sandbox: Sandbox
) -> None:
    fine = weft("providers", "check", *through)
    assert fine.code == 0, fine.err
    assert "binance: " in fine.out
    assert "candles" in fine.out
    sandbox.fault({"kind": "status", "provider": "alternative_me", "status": 503})
    broken = weft("providers", "check", "alternative_me", *through)
    assert broken.code == 1
    assert "HTTP 503" in broken.out
    mistyped = weft("providers", "check", "binanc", *through)
    assert mistyped.code == 1
    assert "Did you mean binance?" in mistyped.err


def test_metrics_lists_the_vocabulary_and_its_providers(weft: Weft, through: list[str]) -> None:
    rows = {row["name"]: row for row in weft("metrics", "--json", *through).json()}
    assert set(METRICS) <= set(rows)
    assert rows["sopr"]["available_from"] == ["glassnode"]
    assert "cryptoquant" in rows["sopr"]["providers"]
    assert rows["vix"]["available_from"] == []
    assert all(row["providers"] for name, row in rows.items() if name in METRICS), [
        name for name, row in rows.items() if not row["providers"]
    ]
    available = weft("metrics", "--json", "--available", *through).json()
    assert {row["name"] for row in available} == {
        name for name, row in rows.items() if row["available_from"]
    }
    assert "fear_greed" in weft("metrics", *through).out


def test_metrics_names_the_setting_a_metric_waits_for(
    weft: Weft, through: list[str], sandbox: Sandbox
) -> None:
    on = [
        *through,
        "--set=providers.artemis.enabled=true",
        f"--set=providers.artemis.base_url={sandbox.url('artemis')}",
        "--set=providers.artemis.api_key=a-key",
    ]

    def row(*more: str) -> dict[str, Any]:
        rows = weft("metrics", "--json", *on, *more).json()
        (metric,) = [row for row in rows if row["name"] == "developer_share"]
        return dict(metric)

    waiting = row()
    assert waiting["providers"] == ["artemis"]
    assert waiting["available_from"] == []
    assert "set providers.artemis.series.developer_share.path" in waiting["waiting"]["artemis"]
    assert (
        "developer_share is not fetched from artemis: the source does not document its path"
        in weft("metrics", *on).out
    )
    named = row("--set=providers.artemis.series.developer_share.path=/weekly-active-devs")
    assert (named["available_from"], named["waiting"]) == (["artemis"], {})


def test_a_second_sandbox_on_the_port_is_refused(weft: Weft, sandbox: Sandbox) -> None:
    taken = weft("sandbox", "--port", str(sandbox.port))
    assert taken.code == 1
    assert "cannot listen" in taken.err


def test_check_bypasses_the_cache(weft: Weft, through: list[str], sandbox: Sandbox) -> None:
    assert weft("providers", "check", "alternative_me", *through).code == 0
    sandbox.fault({"kind": "status", "provider": "alternative_me", "status": 401})
    refused = weft("providers", "check", "alternative_me", *through)
    assert refused.code == 1
    assert "HTTP 401" in refused.out
    # Rounds pause after a refused key; a check asks at once.
    sandbox.heal()
    healed = weft("providers", "check", "alternative_me", *through)
    assert healed.code == 0, healed.err
