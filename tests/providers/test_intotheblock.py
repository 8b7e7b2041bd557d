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

    def test_a_renamed_field_is_an_error_and_stores_nothing(self, server: Sandbox) -> None:
        metrics = ("large_transactions", "in_the_money", "out_of_the_money")
        for field in ("date", "adjustedCount"):
            server.heal()
            server.fault({"kind": "rename_field", "field": field})
            fetched = fetch(self.make(server, metrics=metrics))
            assert isinstance(fetched.error, SchemaChangedError)
            assert field in str(fetched.error)
            assert fetched.rows == []

    def test_an_answer_without_rows_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.make(server, metrics=("large_transactions",)))
        assert (fetched.error, fetched.rows) == (None, [])

    def test_a_day_is_true_at_its_end_and_known_twelve_hours_later(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.make(server), since=NOW - 100 * DAY)
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

    def test_a_present_value_is_known_when_it_was_fetched(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server))
        url = server.url("intotheblock") + "/btc/overview"
        answer = httpx.get(url, headers={"X-Api-Key": "k"}).json()
        amounts = answer["byTimeHeldComposition"]
        for metric, value in (
            ("large_holder_share", answer["concentration"]),
            ("hodl_over_1y", amounts["hodler"] / sum(amounts.values())),
            ("hodl_under_1m", amounts["trader"] / sum(amounts.values())),
        ):
            (row,) = fetched.of(metric)
            assert row.value == pytest.approx(value)
            assert 0 < row.value < 1
            assert row.event_time == row.known_at == NOW

    def test_one_answer_holds_several_metrics(self, server: Sandbox) -> None:
        asked = fetch(self.make(server)).asked
        assert sorted(path for _, path, _ in asked) == [
            "/btc/financial",
            "/btc/overview",
            "/eth/financial",
            "/eth/overview",
        ]

    def test_a_missing_table_of_a_coin_is_reported_and_no_zero(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("XRP",))
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
    def test_an_answer_without_tables_is_an_error(
        self, server: Sandbox, metric: str, path: str
    ) -> None:
        fetched = fetch(self.make(server, metrics=(metric,), series={metric: {"path": path}}))
        assert isinstance(fetched.error, SchemaChangedError)
        assert "no .gone" in str(fetched.error)
        assert fetched.rows == []

    def test_where_more_is_gone_no_coin_is_taken_to_lack_it(self, server: Sandbox) -> None:
        series = {"large_holder_share": {"path": "gone"}}
        fetched = fetch(
            self.make(server, assets=("XRP",), metrics=("hodl_over_1y",), series=series)
        )
        assert isinstance(fetched.error, SchemaChangedError)

    def test_bids_and_asks_come_once_their_path_is_named(
        self, server: Sandbox, world: World
    ) -> None:
        metrics = ("bid_ask_imbalance",)
        unnamed = self.make(server, metrics=metrics)
        assert fetch(unnamed).asked == []
        assert "series.bid_ask_imbalance.path" in unnamed.waiting()["bid_ask_imbalance"]
        named = {"bid_ask_imbalance": {"path": "bidAskVolumes.bidVolume/askVolume"}}
        provider = self.make(server, metrics=metrics, series=named)
        assert provider.waiting() == {}
        rows = fetch(provider).of("bid_ask_imbalance")
        times = np.array([row.event_time for row in rows])
        assert times.tolist() == list(range(MIDNIGHT - 5 * DAY, MIDNIGHT + 1, DAY))
        truth = world.series("bid_ask_imbalance", "BTC", times)
        assert [row.value for row in rows] == pytest.approx(truth)
        assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}

    @pytest.mark.parametrize("factor", [1.0, 1e-3])
    def test_one_field_of_imbalance_may_be_named_too(self, server: Sandbox, factor: float) -> None:
        options = {"path": "largeTxs.adjustedCount", "factor": factor}
        metrics = ("bid_ask_imbalance", "large_transactions")
        provider = self.make(server, metrics=metrics, series={"bid_ask_imbalance": options})
        fetched = fetch(provider)
        if factor == 1.0:
            assert isinstance(fetched.error, SchemaChangedError)
            assert "from -1 to 1" in str(fetched.error)
            assert fetched.rows == []
        else:
            counts = [row.value * factor for row in fetched.of("large_transactions")]
            assert [row.value for row in fetched.of("bid_ask_imbalance")] == counts != []

    def test_percent_is_distinguished_from_shares(self, server: Sandbox) -> None:
        metrics = ("large_holder_share",)
        share = fetch(self.make(server, metrics=metrics)).of(*metrics)[0].value
        percent = fetch(self.make(server, metrics=metrics, shares_as="percent")).of(*metrics)
        assert percent[0].value == pytest.approx(share / 100)
        provider = self.make(server)
        assert isinstance(provider, IntoTheBlock)
        assert provider._scale(IntoTheBlock.series[1], 81.0) == 0.01
        assert provider._scale(IntoTheBlock.series[1], 0.81) == 1.0
        assert provider._scale(IntoTheBlock.series[0], 14_210.0) == 1.0
