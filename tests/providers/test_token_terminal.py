"""Token Terminal against the sandbox."""

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, SINCE, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft_providers.token_terminal import TokenTerminal
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World
from weft_sandbox.protocols.token_terminal import values

# Known a day after its end: yesterday's is not known yet.
ENDS = np.arange(-(-SINCE // DAY) * DAY, (NOW - DAY) // DAY * DAY + 1, DAY)


class TestTokenTerminal(Sandboxed):
    provider = TokenTerminal
    drift = "tvl"
    drifting = ("tvl_usd",)
    options = {"assets": ("AAVE", "UNI")}  # noqa: RUF012  # a ClassVar of the base
    unknown = {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}}  # noqa: RUF012  # read only

    def test_days_in_canonical_units(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        coin = world.coin["AAVE"]
        truths = {
            "fees_usd": world.series("fees", "AAVE", ENDS),
            "tvl_usd": world.series("tvl", "AAVE", ENDS),
            "active_users": np.rint(world.series("active_addresses", "AAVE", ENDS)),
            "price_to_fees": values(world, "pf_circulating", coin, ENDS),
            "price_to_sales": values(world, "ps_circulating", coin, ENDS),
            "market_cap_usd": values(world, "market_cap_circulating", coin, ENDS),
        }
        for metric, truth in truths.items():
            rows = fetched.of(metric, "AAVE")
            assert [row.event_time for row in rows] == ENDS.tolist(), metric
            assert {row.known_at - row.event_time for row in rows} == {DAY}
            assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_a_missing_day_is_no_zero(self, server: Sandbox, world: World) -> None:
        rows = fetch(self.make(server), since=NOW - 30 * DAY).of("revenue_usd", "UNI")
        days = {row.event_time // DAY - 1 for row in rows}
        assert not any(day % 13 == 5 for day in days)
        assert len(days) in {26, 27}
        truth = world.series("revenue", "UNI", np.array([row.event_time for row in rows]))
        assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_one_request_for_each_project(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server))
        assert len(fetched.asked) == 2
        params = fetched.asked[0][2]
        assert params["start"] == "2024-03-13"
        assert params["end"] == "2024-03-20"
        assert params["metric_ids"].split(",")[:3] == ["fees", "revenue", "tvl"]

    def test_a_metric_it_does_not_know_costs_the_others_nothing(self, server: Sandbox) -> None:
        provider = self.make(server, series={"active_users": {"path": "dau_of_old"}})
        fetched = fetch(provider)
        assert fetched.error is None
        (problem,) = fetched.problems
        assert "there is no metric dau_of_old" in problem
        brought = {row.metric for row in fetched.rows}
        assert brought == set(TokenTerminal.metrics) - {"active_users"}
        again = fetch(provider)
        assert again.problems == []
        assert all("dau_of_old" not in params["metric_ids"] for _, _, params in again.asked)

    def test_a_renamed_project_is_followed_and_reported_once(self, server: Sandbox) -> None:
        extra = {"AVAX": "avalanche-c-chain"}
        provider = self.make(server, assets=("AVAX",), ids=extra)
        fetched = fetch(provider)
        assert fetched.of("fees_usd", "AVAX")
        (problem,) = fetched.problems
        assert "is now avalanche" in problem
        assert fetch(provider).problems == []

    def test_a_day_is_not_taken_before_it_is_settled(self, server: Sandbox, world: World) -> None:
        early = NOW // DAY * DAY + 7 * HOUR
        server.clock.move(early, 0)
        provider = self.make(server, metrics=("fees_usd",))
        rows = fetch(provider, now=early).of("fees_usd", "UNI")
        truth = world.series("fees", "UNI", np.array([row.event_time for row in rows]))
        assert rows[-1].event_time == early // DAY * DAY - DAY
        assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_rows_of_single_chains_are_left_out(self, server: Sandbox) -> None:
        server.fault({"kind": "swap_type", "field": "chain"})
        fetched = fetch(self.make(server))
        assert (fetched.rows, fetched.error) == ([], None)
