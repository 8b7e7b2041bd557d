"""Artemis against the sandbox."""

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft_providers.artemis import PEERS, Artemis, share_of
from weft_sandbox import Sandbox
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World

MIDNIGHT = NOW // DAY * DAY
NAMES = {
    "fees_usd": "fees",
    "revenue_usd": "revenue",
    "active_users": "active_addresses",
    "transactions": "transactions",
    "tvl_usd": "tvl",
}


class TestArtemis(Sandboxed):
    provider = Artemis
    options: ClassVar[dict[str, Any]] = {"assets": ("ETH", "SOL")}
    drift = "val"

    @pytest.mark.parametrize("metric", sorted(NAMES))
    def test_a_day_is_true_at_its_end_and_known_twelve_hours_later(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        rows = fetch(self.make(server), since=NOW - 60 * DAY).of(metric, "ETH")
        times = np.array([row.event_time for row in rows])
        # A day without a value is left out.
        days = range(MIDNIGHT - 59 * DAY, MIDNIGHT + 1, DAY)
        assert times.tolist() == [day for day in days if (day - DAY) // DAY % 41]
        assert [row.value for row in rows] == pytest.approx(
            world.series(NAMES[metric], "ETH", times)
        )
        assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    def test_a_market_cap_is_supply_at_the_price_of_the_days_end(
        self, server: Sandbox, world: World
    ) -> None:
        coin = world.coin["AAVE"]
        fetched = fetch(self.make(server, assets=("AAVE",), metrics=("market_cap_usd",)))
        assert fetched.rows
        for row in fetched.of("market_cap_usd", "AAVE"):
            price = world.price(REFERENCE, coin, row.event_time) * coin.tick
            assert row.value == pytest.approx(price * coin.supply)

    def test_a_long_span_is_split_into_requests(self, server: Sandbox) -> None:
        options: dict[str, Any] = {"assets": ("ETH",), "metrics": ("fees_usd",)}
        whole = fetch(self.make(server, **options), since=NOW - 1_300 * DAY)
        assert len(whole.asked) == 2
        small = fetch(self.make(server, days_per_request=97, **options), since=NOW - 1_300 * DAY)
        assert len(small.asked) == 14
        assert small.of("fees_usd", "ETH") == whole.of("fees_usd", "ETH")
        assert len(whole.rows) > 1_250

    def test_a_missing_metric_with_status_200_is_reported(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("BTC", "ETH"), metrics=("revenue_usd", "fees_usd"))
        fetched = fetch(provider)
        (problem,) = fetched.problems
        assert "revenue_usd BTC: " in problem
        assert "Metric not available for asset" in problem
        assert {(row.metric, row.entity) for row in fetched.rows} == {
            ("fees_usd", "BTC"),
            ("fees_usd", "ETH"),
            ("revenue_usd", "ETH"),
        }

    def test_a_metric_key_is_case_insensitive(self, server: Sandbox) -> None:
        series = {"transactions": {"path": "daily_txns"}}
        provider = self.make(server, metrics=("transactions",), series=series)
        assert len(fetch(provider).of("transactions", "ETH")) > 3

    def test_a_metric_without_a_known_key_needs_a_path_in_the_config(self, server: Sandbox) -> None:
        assert not any("weekly" in path for _, path, _ in fetch(self.make(server)).asked)
        assert "series.dev_commits.path" in self.make(server).waiting()["dev_commits"]
        extra = {"dev_commits": {"path": "FEES"}}
        fetched = fetch(self.make(server, series=extra, metrics=("dev_commits", "fees_usd")))
        values = [
            [row.value for row in fetched.of(metric, "ETH")]
            for metric in ("dev_commits", "fees_usd")
        ]
        assert values[0] == values[1] != []

    def test_a_metric_configured_without_a_path_is_not_requested(self, server: Sandbox) -> None:
        extra = {"dev_commits": {"lag": "1d"}}
        assert fetch(self.make(server, series=extra, metrics=("dev_commits",))).asked == []

    def test_weeks_are_true_at_their_end(self, server: Sandbox, world: World) -> None:
        named = {
            "dev_commits": {"path": "/weekly-commits"},
            "active_developers": {"path": "/weekly-active-devs"},
        }
        provider = self.make(server, metrics=tuple(named), series=named)
        fetched = fetch(provider, since=NOW - 60 * DAY)
        for metric, scale in (("dev_commits", 4.0), ("active_developers", 0.5)):
            rows = fetched.of(metric, "SOL")
            times = np.array([row.event_time for row in rows])
            assert len(times) == 8
            assert set(np.diff(times)) == {7 * DAY}
            truth = np.rint(world.series("developer_activity", "SOL", times) * scale)
            assert [row.value for row in rows] == truth.tolist()
            assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    def test_a_share_is_of_the_sum_over_all_peers(self, server: Sandbox, world: World) -> None:
        listed = [name for name in PEERS["chains"] if name in world.coin]
        assert len(listed) > 8
        for metric, name in (("fees_share", "fees"), ("tvl_share", "tvl")):
            fetched = fetch(self.make(server, metrics=(metric,)), since=NOW - 40 * DAY)
            rows = fetched.of(metric, "ETH")
            times = np.array([row.event_time for row in rows])
            days = range(MIDNIGHT - 39 * DAY, MIDNIGHT + 1, DAY)
            assert times.tolist() == [day for day in days if (day - DAY) // DAY % 41]
            whole = sum(world.series(name, peer, times) for peer in listed)
            truth = world.series(name, "ETH", times) / whole
            assert [row.value for row in rows] == pytest.approx(truth)
            assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    def test_shares_of_all_peers_add_up_to_one(self, server: Sandbox) -> None:
        peers = ("BTC", "ETH", "SOL", "NOSUCH")
        extra: dict[str, Any] = {"assets": peers[:3], "peers": {"mine": peers}}
        fetched = fetch(self.make(server, metrics=("activity_share",), **extra))
        days = {row.event_time for row in fetched.rows}
        assert len(days) > 3
        for day in days:
            shares = [row.value for row in fetched.rows if row.event_time == day]
            assert len(shares) == 3
            assert sum(shares) == pytest.approx(1.0)

    def test_shares_of_several_assets_are_in_one_request(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, metrics=("fees_share",)))
        assert len(fetched.asked) == 1
        assert {row.entity for row in fetched.rows} == {"ETH", "SOL"}
        # Whatever a limit counts, rows or days, no peer is cut off.
        small = fetch(self.make(server, metrics=("fees_share",), days_per_request=40))
        assert len(small.asked) > 5
        assert sorted(small.rows) == sorted(fetched.rows)

    def test_an_asset_without_peers_has_no_share(self, server: Sandbox) -> None:
        options: dict[str, Any] = {"metrics": ("fees_share",), "assets": ("AAVE", "DOGE")}
        provider = self.make(server, **options)
        fetched = fetch(provider)
        assert fetched.rows == []
        (problem,) = fetched.problems
        assert problem.startswith("DOGE: it has no peers")
        assert fetch(provider).problems == []

    def test_a_peer_without_recent_values_ends_shares_and_is_named(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("fees_share",))
        # Clears the first list of the answer, which is one peer's.
        server.fault({"kind": "empty_rows"})
        fetched = fetch(provider)
        assert (fetched.error, fetched.rows) == (None, [])
        assert len(fetched.problems) == 2
        assert all("ATOM stopped having values" in problem for problem in fetched.problems)
        server.heal()
        assert fetch(provider).of("fees_share", "ETH")

    def test_the_share_of_developers_is_weekly(self, server: Sandbox, world: World) -> None:
        named = {"developer_share": {"path": "/weekly-active-devs"}}
        extra: dict[str, Any] = {"peers": {"mine": ("ETH", "SOL", "NEAR")}, "assets": ("ETH",)}
        provider = self.make(server, metrics=tuple(named), series=named, **extra)
        rows = fetch(provider, since=NOW - 30 * DAY).of("developer_share", "ETH")
        times = np.array([row.event_time for row in rows])
        assert len(times) == 4
        counts = {
            name: np.rint(world.series("developer_activity", name, times) * 0.5)
            for name in ("ETH", "SOL", "NEAR")
        }
        assert [row.value for row in rows] == pytest.approx(counts["ETH"] / sum(counts.values()))


@pytest.mark.parametrize(
    ("others", "share"),
    [
        ([{9: 5.0, 10: 30.0}], 0.25),
        ([{10: 20.0}, {10: 10.0}], 0.25),
        ([{10: 30.0}, {11: 99.0}], 0.25),
        ([{10: 30.0}, {2: 99.0}], None),
        ([{10: 30.0}, {9: 99.0, 11: 99.0}], None),
        ([{10: 30.0}, {}], None),
        ([{11: 30.0}], None),
        ([{10: -30.0}], None),
        ([], None),
    ],
)
def test_a_peer_counts_from_its_first_value_on(
    others: list[dict[int, float]], share: float | None
) -> None:
    days = [{day * DAY: value for day, value in one.items()} for one in others]
    assert share_of({9 * DAY: 1.0, 10 * DAY: 10.0}, days, 10 * DAY) == share
