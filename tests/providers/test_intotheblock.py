"""IntoTheBlock against the sandbox."""

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft.sources.http import SchemaChangedError
from weft_providers.intotheblock import IntoTheBlock
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

MIDNIGHT = NOW // DAY * DAY


class TestIntoTheBlock(Sandboxed):
    provider = IntoTheBlock
    drift = "date"

    def test_another_form_is_told_and_nothing_of_it_kept(self, server: Sandbox) -> None:
        metrics = ("large_transactions", "in_the_money", "out_of_the_money")
        for field in ("date", "adjustedCount"):
            server.heal()
            server.fault({"kind": "rename_field", "field": field})
            fetched = fetch(self.made(server, metrics=metrics))
            assert isinstance(fetched.error, SchemaChangedError)
            assert field in str(fetched.error)
            assert fetched.rows == []

    def test_answers_without_rows(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.made(server, metrics=("large_transactions",)))
        assert (fetched.error, fetched.rows) == (None, [])

    def test_a_day_is_true_at_its_end_and_known_twelve_hours_later(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.made(server), since=NOW - 100 * DAY)
        rows = fetched.of("large_transactions")
        times = np.array([row.event_time for row in rows])
        assert times.tolist() == list(range(MIDNIGHT - 99 * DAY, MIDNIGHT + 1, DAY))
        expected = np.rint(world.series("whale_transfers", "BTC", times))
        assert [row.value for row in rows] == expected.tolist()
        profit = world.series("supply_in_profit", "BTC", times)
        assert [r.value for r in fetched.of("in_the_money")] == pytest.approx(profit * 0.95)
        assert [r.value for r in fetched.of("out_of_the_money")] == pytest.approx(
            (1 - profit) * 0.9
        )
        assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    def test_what_is_told_as_of_now_is_known_when_it_came(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server))
        url = server.url("intotheblock") + "/btc/overview"
        told = httpx.get(url, headers={"X-Api-Key": "k"}).json()
        held = told["byTimeHeldComposition"]
        for metric, value in (
            ("large_holder_share", told["concentration"]),
            ("hodl_over_1y", held["hodler"] / sum(held.values())),
            ("hodl_under_1m", held["trader"] / sum(held.values())),
        ):
            (row,) = fetched.of(metric)
            assert row.value == pytest.approx(value)
            assert 0 < row.value < 1
            assert row.event_time == row.known_at == NOW

    def test_one_answer_tells_several_metrics(self, server: Sandbox) -> None:
        asked = fetch(self.made(server)).asked
        assert sorted(path for _, path, _ in asked) == [
            "/btc/financial",
            "/btc/overview",
            "/eth/financial",
            "/eth/overview",
        ]

    def test_what_a_coin_lacks_is_told_and_no_zero(self, server: Sandbox) -> None:
        provider = self.made(server, assets=("XRP",))
        fetched = fetch(provider)
        assert fetched.error is None
        assert not {"hodl_over_1y", "hodl_under_1m"} & {row.metric for row in fetched.rows}
        assert fetched.of("large_holder_share", "XRP")
        (problem,) = fetched.problems
        assert problem.startswith("hodl_over_1y XRP, hodl_under_1m XRP: ")
        assert "byTimeHeldComposition" in problem
        assert fetch(provider).problems == []

    @pytest.mark.parametrize(
        ("metric", "path"),
        [
            ("large_transactions", "gone.adjustedCount"),
            ("in_the_money", "gone.inPercentage"),
            ("large_holder_share", "gone"),
            ("hodl_over_1y", "gone.hodler"),
        ],
    )
    def test_a_table_that_is_gone_is_another_form(
        self, server: Sandbox, metric: str, path: str
    ) -> None:
        fetched = fetch(self.made(server, metrics=(metric,), series={metric: {"path": path}}))
        assert isinstance(fetched.error, SchemaChangedError)
        assert "no .gone" in str(fetched.error)
        assert fetched.rows == []

    def test_where_more_is_gone_no_coin_is_taken_to_lack_it(self, server: Sandbox) -> None:
        series = {"large_holder_share": {"path": "gone"}}
        fetched = fetch(
            self.made(server, assets=("XRP",), metrics=("hodl_over_1y",), series=series)
        )
        assert isinstance(fetched.error, SchemaChangedError)

    def test_bids_and_asks_come_once_their_path_is_named(
        self, server: Sandbox, world: World
    ) -> None:
        metrics = ("bid_ask_imbalance",)
        unnamed = self.made(server, metrics=metrics)
        assert fetch(unnamed).asked == []
        assert "series.bid_ask_imbalance.path" in unnamed.waiting()["bid_ask_imbalance"]
        named = {"bid_ask_imbalance": {"path": "bidAskVolumes.bidVolume/askVolume"}}
        provider = self.made(server, metrics=metrics, series=named)
        assert provider.waiting() == {}
        rows = fetch(provider).of("bid_ask_imbalance")
        times = np.array([row.event_time for row in rows])
        assert times.tolist() == list(range(MIDNIGHT - 5 * DAY, MIDNIGHT + 1, DAY))
        truth = world.series("bid_ask_imbalance", "BTC", times)
        assert [row.value for row in rows] == pytest.approx(truth)
        assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    @pytest.mark.parametrize("factor", [1.0, 1e-3])
    def test_one_field_of_imbalance_may_be_named_too(self, server: Sandbox, factor: float) -> None:
        own = {"path": "largeTxs.adjustedCount", "factor": factor}
        metrics = ("bid_ask_imbalance", "large_transactions")
        provider = self.made(server, metrics=metrics, series={"bid_ask_imbalance": own})
        fetched = fetch(provider)
        if factor == 1.0:
            assert isinstance(fetched.error, SchemaChangedError)
            assert "from -1 to 1" in str(fetched.error)
            assert fetched.rows == []
        else:
            counts = [row.value * factor for row in fetched.of("large_transactions")]
            assert [row.value for row in fetched.of("bid_ask_imbalance")] == counts != []

    def test_percent_is_told_from_shares(self, server: Sandbox) -> None:
        metrics = ("large_holder_share",)
        share = fetch(self.made(server, metrics=metrics)).of(*metrics)[0].value
        percent = fetch(self.made(server, metrics=metrics, shares_as="percent")).of(*metrics)
        assert percent[0].value == pytest.approx(share / 100)
        provider = self.made(server)
        assert isinstance(provider, IntoTheBlock)
        assert provider._scale(IntoTheBlock.series[1], 81.0) == 0.01
        assert provider._scale(IntoTheBlock.series[1], 0.81) == 1.0
        assert provider._scale(IntoTheBlock.series[0], 14_210.0) == 1.0
