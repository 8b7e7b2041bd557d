"""Coin Metrics against the sandbox: units, review times, pages, the catalogue."""

from typing import ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import CANARY, NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND
from weft.sources.http import SchemaChangedError
from weft_providers.coinmetrics import CoinMetrics
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

TODAY = NOW // DAY * DAY
SPAN = NOW - 90 * DAY
REVIEWED = 26 * HOUR
FLASH = 41 * MINUTE + 10_120_000
COMPLETE = 55 * MINUTE
WITH_REVIEW = {"hash_rate", "nvt", "realized_cap_usd", "market_cap_usd", "thermocap_usd", "mvrv"}
WITH_REVIEW |= {"supply_in_profit", "active_addresses"}
PLAIN = sorted(set(CoinMetrics.metrics) - {"hodl_over_1y"})


def days(first: int, last: int) -> list[int]:
    return list(range(-(-first // DAY) * DAY, last + 1, DAY))


class TestCoinMetrics(Sandboxed):
    provider = CoinMetrics
    options: ClassVar = {"assets": ("BTC",)}
    drift = "time"

    @pytest.mark.parametrize("metric", PLAIN)
    def test_a_day_comes_in_canonical_units_at_its_end(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        rows = fetch(self.make(server, metrics=(metric,)), since=SPAN).of(metric)
        ends = days(SPAN, TODAY)
        if metric == "nvt":
            ends = [end for end in ends if (end // DAY - 1) % 37 != 5]
        assert [row.event_time for row in rows] == ends
        expected = world.series(metric, "BTC", np.array(ends))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())

    def test_what_did_not_move_is_the_rest_of_what_moved(
        self, server: Sandbox, world: World
    ) -> None:
        rows = fetch(self.make(server, metrics=("hodl_over_1y",)), since=SPAN).of("hodl_over_1y")
        expected = world.series("hodl_over_1y", "BTC", np.array([row.event_time for row in rows]))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())

    def test_a_value_is_known_when_it_was_reviewed_or_complete(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server))
        for row in fetched.rows:
            done = row.metric in WITH_REVIEW and row.event_time + REVIEWED <= NOW
            late = REVIEWED if done else COMPLETE
            assert row.known_at == row.event_time + late

    def test_a_value_without_times_is_known_after_the_assumed_lag(self, server: Sandbox) -> None:
        server.fault({"kind": "missing_field", "field": "AssetEODCompletionTime"})
        provider = self.make(server, metrics=("sopr",), assumed_lag_hours=8)
        rows = fetch(provider).of("sopr")
        assert {row.known_at - row.event_time for row in rows} == {8 * HOUR}

    def test_a_day_whose_set_is_not_complete_is_left_out(self, server: Sandbox) -> None:
        for late, newest in ((COMPLETE - SECOND, TODAY - DAY), (COMPLETE, TODAY)):
            server.clock.move(TODAY + late, 0)
            fetched = fetch(self.make(server, metrics=("mvrv", "sopr")), now=TODAY + late)
            assert {fetched.of(m)[-1].event_time for m in ("mvrv", "sopr")} == {newest}

    def test_a_status_time_counts_without_a_completion_time(self, server: Sandbox) -> None:
        server.fault({"kind": "missing_field", "field": "AssetEODCompletionTime"})
        rows = fetch(self.make(server, metrics=("mvrv",))).of("mvrv")
        assert [row.known_at - row.event_time for row in rows[-2:]] == [REVIEWED, FLASH]

    def test_everything_comes_in_one_request_read_to_its_last_page(
        self, server: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        assets, metrics = ("BTC", "ETH", "LTC"), ("mvrv", "active_addresses")
        whole = fetch(self.make(server, assets=assets, metrics=metrics), since=SPAN)
        small = self.make(server, assets=assets, metrics=metrics, page_size=40)
        pages = fetch(small, since=SPAN)
        assert sorted(whole.rows) == sorted(pages.rows)
        assert len(whole.rows) == 2 * 3 * 90
        asked = [params for _, path, params in pages.asked if "timeseries" in path]
        assert len(asked) == -(-3 * 91 // 40)
        assert all("api_key" not in params for params in asked)
        assert len([path for _, path, _ in whole.asked if "timeseries" in path]) == 1
        assert CANARY not in caplog.text

    def test_pages_that_go_in_a_circle_are_left(self, server: Sandbox) -> None:
        server.fault({"kind": "cursor_loop"})
        fetched = fetch(self.make(server, metrics=("mvrv",), page_size=2))
        assert isinstance(fetched.error, SchemaChangedError)
        assert "another page" in str(fetched.error)
        assert CANARY not in str(fetched.error)
        assert fetched.rows == []

    def test_a_metric_missing_for_one_asset_costs_no_other_asset(self, server: Sandbox) -> None:
        provider = self.make(
            server, assets=("BTC", "ETH", "NOSUCH"), metrics=("hash_rate", "supply_in_profit")
        )
        fetched = fetch(provider)
        assert fetched.error is None
        assert {row.entity for row in fetched.rows} == {"BTC"}
        lacking, unknown = fetched.problems
        assert lacking.startswith("hash_rate ETH, supply_in_profit ETH: ")
        assert unknown.startswith("hash_rate NOSUCH, supply_in_profit NOSUCH: ")
        assert "bad_parameter" in unknown
        again = fetch(provider)
        assert [params["assets"] for _, _, params in again.asked] == ["btc"]
        assert again.problems == []

    def test_one_request_asks_for_more_than_each_asset_has(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("BTC", "ETH"), metrics=("hash_rate", "mvrv"))
        fetched = fetch(provider)
        result = {(row.metric, row.entity) for row in fetched.rows}
        assert result == {("hash_rate", "BTC"), ("mvrv", "BTC"), ("mvrv", "ETH")}
        assert fetched.asked[-1][2]["assets"] == "btc,eth"

    def test_a_free_key_reads_what_its_catalogue_lists(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, "free-key"))
        assert {row.metric for row in fetched.rows} == {
            "hash_rate",
            "nvt",
            "mvrv",
            "market_cap_usd",
            "active_addresses",
        }

    def test_a_renamed_metric_is_an_error(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": "CapMVRVCur"})
        fetched = fetch(self.make(server, metrics=("mvrv",)))
        assert isinstance(fetched.error, SchemaChangedError)
        assert "CapMVRVCur" in str(fetched.error)

    def test_a_key_or_another_host_switches_it_on(self) -> None:
        assert not CoinMetrics().ready()
        free = CoinMetrics.Config(base_url="https://community-api.coinmetrics.io")
        assert CoinMetrics(free).ready()
        assert CoinMetrics(free).source_kind == "real"

    def test_only_the_latest_days_are_requested_again(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("mvrv",))
        known = fetch(provider).known
        server.clock.move(NOW + DAY, 0)
        ((_, _, params),) = fetch(provider, now=NOW + DAY, known=known).asked
        assert params["start_time"] == "2024-03-16T00:00:00Z"
