"""DefiLlama against the sandbox."""

from typing import Any, ClassVar

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft.sources.http import SchemaChangedError, UnlistedSymbolError
from weft_providers.defillama import DefiLlama
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

MIDNIGHT = NOW // DAY * DAY


class TestDefiLlama(Sandboxed):
    provider = DefiLlama
    drift = "date"
    keyed = False
    planned = False
    unknown: ClassVar[dict[str, Any]] = {
        "assets": ("NOSUCH",),
        "ids": {"NOSUCH": "chain:Nosuch"},
        "metrics": ("tvl_usd", "fees_usd"),
    }

    def test_a_renamed_field_is_an_error_and_stores_nothing(self, server: Sandbox) -> None:
        fields = {"tvl_usd": "tvl", "stablecoin_supply_usd": "date", "stablecoin_yield": "tvlUsd"}
        for metric, field in fields.items():
            server.heal()
            server.fault({"kind": "rename_field", "field": field})
            fetched = fetch(self.make(server, metrics=(metric,)))
            assert isinstance(fetched.error, SchemaChangedError)
            assert field in str(fetched.error)
            assert fetched.rows == []

    @pytest.mark.parametrize("asset", ["BTC", "AAVE"])
    def test_value_locked_has_its_midnight_and_is_known_a_day_later(
        self, server: Sandbox, world: World, asset: str
    ) -> None:
        fetched = fetch(self.make(server, assets=(asset,)), since=NOW - 900 * DAY)
        rows = fetched.of("tvl_usd", asset)
        times = np.array([row.event_time for row in rows])
        assert times.tolist() == list(range(MIDNIGHT - 899 * DAY, MIDNIGHT, DAY))
        assert [row.value for row in rows] == pytest.approx(world.series("tvl", asset, times))
        assert {row.known_at - row.event_time for row in rows} == {25 * HOUR}

    @pytest.mark.parametrize("asset", ["ETH", "UNI"])
    def test_fees_revenue_and_volume_are_of_days_that_are_over(
        self, server: Sandbox, world: World, asset: str
    ) -> None:
        fetched = fetch(self.make(server, assets=(asset,)))
        for metric, name in (
            ("fees_usd", "fees"),
            ("revenue_usd", "revenue"),
            ("dex_volume_usd", "dex_volume"),
        ):
            rows = fetched.of(metric, asset)
            times = np.array([row.event_time for row in rows])
            assert times.tolist() == list(range(MIDNIGHT - 5 * DAY, MIDNIGHT + 1, DAY))
            assert [row.value for row in rows] == pytest.approx(world.series(name, asset, times))
            assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    def test_stablecoins_are_summed_over_what_they_are_pegged_to_in_dollars(
        self, server: Sandbox, world: World
    ) -> None:
        rows = fetch(self.make(server)).of("stablecoin_supply_usd", "")
        times = np.array([row.event_time for row in rows])
        assert times[-1] == MIDNIGHT - DAY
        expected = world.series("stablecoin_supply", None, times)
        assert [row.value for row in rows] == pytest.approx(expected)

    def test_the_yield_is_the_middle_of_the_large_pools_as_a_share(self, server: Sandbox) -> None:
        (row,) = fetch(self.make(server)).of("stablecoin_yield", "")
        pools = httpx.get(server.url("defillama") + "/pools").json()["data"]
        large = [p["apy"] for p in pools if p["stablecoin"] and p["tvlUsd"] >= 10e6 and p["apy"]]
        assert row.value == pytest.approx(float(np.median(large)) / 100)
        assert row.event_time == row.known_at == NOW

    def test_every_asset_it_names_is_there(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, assets=tuple(DefiLlama.ids), metrics=("tvl_usd",)))
        assert fetched.problems == []
        assert {row.entity for row in fetched.rows} == set(DefiLlama.ids)

    def test_an_unknown_name_is_recognised_with_any_body(self) -> None:
        assert DefiLlama.web is not None
        assert DefiLlama.web.classify is not None
        for status, body in ((404, None), (400, {"message": "Protocol is not in our database"})):
            assert DefiLlama.web.classify(status, body, {}) is UnlistedSymbolError
