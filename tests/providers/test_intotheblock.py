"""IntoTheBlock against the sandbox."""

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.http import SchemaChangedError
from weft.times import DAY, HOUR
from weft_app.sandbox import Sandbox
from weft_app.sandbox.world import World
from weft_providers.intotheblock import IntoTheBlock

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

    def test_what_a_coin_lacks_is_no_zero(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server, assets=("XRP",), metrics=("hodl_over_1y",)))
        assert (fetched.error, fetched.rows) == (None, [])

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
