"""Artemis against the sandbox."""

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft_providers.artemis.provider import Artemis
from weft_providers.artemis.series import PEERS, share_of
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
        rows = fetch(self.made(server), since=NOW - 60 * DAY).of(metric, "ETH")
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
        fetched = fetch(self.made(server, assets=("AAVE",), metrics=("market_cap_usd",)))
        assert fetched.rows
        for row in fetched.of("market_cap_usd", "AAVE"):
            price = world.price(REFERENCE, coin, row.event_time) * coin.tick
            assert row.value == pytest.approx(price * coin.supply)

    def test_long_spans_are_asked_for_in_parts(self, server: Sandbox) -> None:
        options: dict[str, Any] = {"assets": ("ETH",), "metrics": ("fees_usd",)}
        whole = fetch(self.made(server, **options), since=NOW - 1_300 * DAY)
        assert len(whole.asked) == 2
        small = fetch(self.made(server, days_per_request=97, **options), since=NOW - 1_300 * DAY)
        assert len(small.asked) == 14
        assert small.of("fees_usd", "ETH") == whole.of("fees_usd", "ETH")
        assert len(whole.rows) > 1_250

    def test_a_metric_an_asset_lacks_is_told_with_status_200(self, server: Sandbox) -> None:
        provider = self.made(server, assets=("BTC", "ETH"), metrics=("revenue_usd", "fees_usd"))
        fetched = fetch(provider)
        (problem,) = fetched.problems
        assert "revenue_usd BTC: " in problem
        assert "Metric not available for asset" in problem
        assert {(row.metric, row.entity) for row in fetched.rows} == {
            ("fees_usd", "BTC"),
            ("fees_usd", "ETH"),
            ("revenue_usd", "ETH"),
        }

    def test_a_metric_may_be_spelled_otherwise(self, server: Sandbox) -> None:
        series = {"transactions": {"path": "daily_txns"}}
        provider = self.made(server, metrics=("transactions",), series=series)
        assert len(fetch(provider).of("transactions", "ETH")) > 3

    def test_a_metric_whose_key_is_not_known_is_asked_for_where_the_config_names_it(
        self, server: Sandbox
    ) -> None:
        assert not any("weekly" in path for _, path, _ in fetch(self.made(server)).asked)
        assert "series.dev_commits.path" in self.made(server).waiting()["dev_commits"]
        own = {"dev_commits": {"path": "FEES"}}
        fetched = fetch(self.made(server, series=own, metrics=("dev_commits", "fees_usd")))
        values = [
            [row.value for row in fetched.of(metric, "ETH")]
            for metric in ("dev_commits", "fees_usd")
        ]
        assert values[0] == values[1] != []

    def test_a_metric_that_is_named_without_its_path_waits_on(self, server: Sandbox) -> None:
        own = {"dev_commits": {"lag": "1d"}}
        assert fetch(self.made(server, series=own, metrics=("dev_commits",))).asked == []

    def test_weeks_are_true_at_their_end(self, server: Sandbox, world: World) -> None:
        named = {
            "dev_commits": {"path": "/weekly-commits"},
            "active_developers": {"path": "/weekly-active-devs"},
        }
        provider = self.made(server, metrics=tuple(named), series=named)
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
            fetched = fetch(self.made(server, metrics=(metric,)), since=NOW - 40 * DAY)
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
        own: dict[str, Any] = {"assets": peers[:3], "peers": {"mine": peers}}
        fetched = fetch(self.made(server, metrics=("activity_share",), **own))
        days = {row.event_time for row in fetched.rows}
        assert len(days) > 3
        for day in days:
            shares = [row.value for row in fetched.rows if row.event_time == day]
            assert len(shares) == 3
            assert sum(shares) == pytest.approx(1.0)

    def test_shares_of_several_assets_are_asked_for_at_once(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server, metrics=("fees_share",)))
        assert len(fetched.asked) == 1
        assert {row.entity for row in fetched.rows} == {"ETH", "SOL"}
        # Whatever a limit counts, rows or days, no peer is cut off.
        small = fetch(self.made(server, metrics=("fees_share",), days_per_request=40))
        assert len(small.asked) > 5
        assert sorted(small.rows) == sorted(fetched.rows)

    def test_a_share_needs_somebody_to_share_with(self, server: Sandbox) -> None:
        options: dict[str, Any] = {"metrics": ("fees_share",), "assets": ("AAVE", "DOGE")}
        provider = self.made(server, **options)
        fetched = fetch(provider)
        assert fetched.rows == []
        (problem,) = fetched.problems
        assert problem.startswith("DOGE: it has no peers")
        assert fetch(provider).problems == []

    def test_a_peer_that_falls_silent_stops_shares_and_is_named(self, server: Sandbox) -> None:
        provider = self.made(server, metrics=("fees_share",))
        # Clears the first list of the answer, which is one peer's.
        server.fault({"kind": "empty_rows"})
        fetched = fetch(provider)
        assert (fetched.error, fetched.rows) == (None, [])
        assert len(fetched.problems) == 2
        assert all("ATOM tell nothing any more" in problem for problem in fetched.problems)
        server.heal()
        assert fetch(provider).of("fees_share", "ETH")

    def test_developers_are_shared_out_by_the_week(self, server: Sandbox, world: World) -> None:
        named = {"developer_share": {"path": "/weekly-active-devs"}}
        own: dict[str, Any] = {"peers": {"mine": ("ETH", "SOL", "NEAR")}, "assets": ("ETH",)}
        provider = self.made(server, metrics=tuple(named), series=named, **own)
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
def test_who_has_begun_counts_in_the_sum(
    others: list[dict[int, float]], share: float | None
) -> None:
    days = [{day * DAY: value for day, value in one.items()} for one in others]
    assert share_of({9 * DAY: 1.0, 10 * DAY: 10.0}, days, 10 * DAY) == share
