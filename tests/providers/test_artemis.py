"""Artemis against the sandbox."""

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.times import DAY, HOUR
from weft_app.sandbox import Sandbox
from weft_app.sandbox.venues import REFERENCE
from weft_app.sandbox.world import World
from weft_providers.artemis import Artemis

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
    options: ClassVar[dict[str, Any]] = {"assets": ("ETH", "AAVE")}
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
        for row in fetch(self.made(server)).of("market_cap_usd", "AAVE"):
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
        assert not any("WEEKLY" in path for _, path, _ in fetch(self.made(server)).asked)
        own = {"dev_commits": {"path": "FEES"}}
        fetched = fetch(self.made(server, series=own, metrics=("dev_commits", "fees_usd")))
        values = [
            [row.value for row in fetched.of(metric, "ETH")]
            for metric in ("dev_commits", "fees_usd")
        ]
        assert values[0] == values[1] != []
