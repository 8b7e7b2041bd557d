"""Glassnode against the sandbox: units, days, point-in-time forms."""

from typing import ClassVar

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import CANARY, NOW, SINCE, Fetched, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND
from weft_providers.glassnode import Glassnode
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

TODAY = NOW // DAY * DAY
SPAN = NOW - 90 * DAY
UNDER_1M = ("24h", "1d_1w", "1w_1m")
OVER_1Y = ("1y_2y", "2y_3y", "3y_5y", "5y_7y", "7y_10y", "more_10y")
PLAIN = sorted(set(Glassnode.metrics) - {"hodl_over_1y", "hodl_under_1m"})


def days(first: int, last: int) -> list[int]:
    return list(range(-(-first // DAY) * DAY, last + 1, DAY))


def values(fetched: Fetched, metric: str) -> dict[int, float]:
    return {row.event_time: row.value for row in fetched.of(metric)}


class TestGlassnode(Sandboxed):
    provider = Glassnode
    options: ClassVar = {"assets": ("BTC",)}
    drift = "t"

    @pytest.mark.parametrize("metric", PLAIN)
    def test_a_day_comes_in_canonical_units_at_its_end(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        rows = fetch(self.make(server, metrics=(metric,)), since=SPAN).of(metric)
        missing = set(days(SPAN, TODAY)) - {row.event_time for row in rows}
        assert missing <= {day for day in days(SPAN, TODAY) if day // DAY % 41 == 7}
        expected = world.series(metric, "BTC", np.array([row.event_time for row in rows]))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())
        assert all(row.known_at == row.event_time + 3 * HOUR for row in rows)

    def test_a_null_is_left_out_and_not_zero(self, server: Sandbox) -> None:
        result = values(fetch(self.make(server, metrics=("nupl",)), since=SPAN), "nupl")
        missing = [day for day in days(SPAN, TODAY) if day not in result]
        assert missing == [day for day in days(SPAN, TODAY) if day // DAY % 41 == 7]
        assert len(missing) >= 2
        assert 0.0 not in result.values()

    @pytest.mark.parametrize(("metric", "field"), [("hodl_over_1y", "o"), ("nupl", "v")])
    def test_only_nulls_are_no_facts_and_no_error(
        self, server: Sandbox, metric: str, field: str
    ) -> None:
        server.fault({"kind": "null_field", "field": field})
        fetched = fetch(self.make(server, metrics=(metric,)))
        assert (fetched.rows, fetched.error, fetched.problems) == ([], None, [])

    def test_hodl_waves_are_summed_over_their_bands_from_one_answer(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, metrics=("hodl_over_1y", "hodl_under_1m")))
        assert len(fetched.asked) == 1
        span = {"s": (TODAY - DAY) // SECOND, "u": TODAY // SECOND - 1}
        (raw,) = httpx.get(
            server.url("glassnode") + "/v1/metrics/supply/hodl_waves",
            params={"a": "BTC", "i": "24h", **span},
            headers={"X-Api-Key": CANARY},
        ).json()
        assert sum(raw["o"].values()) == pytest.approx(1)
        for metric, bands in (("hodl_over_1y", OVER_1Y), ("hodl_under_1m", UNDER_1M)):
            share = sum(raw["o"][band] for band in bands)
            assert values(fetched, metric)[TODAY] == pytest.approx(share)
            assert 0 < share < 1

    def test_a_day_is_requested_from_when_it_is_known(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("mvrv",))
        early = TODAY + 2 * HOUR
        server.clock.move(early, 0)
        first = fetch(provider, now=early)
        assert first.of("mvrv")[-1].event_time == TODAY - DAY
        assert fetch(provider, now=early, known=first.known).asked == []
        server.clock.move(TODAY + 3 * HOUR, 0)
        second = fetch(provider, now=TODAY + 3 * HOUR, known=first.known)
        assert [row.event_time for row in second.rows] == days(TODAY - 4 * DAY, TODAY)

    def test_no_older_history_than_the_plan_is_requested(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("mvrv",), history_days=30)
        rows = fetch(provider, since=SPAN).of("mvrv")
        assert rows[0].event_time == TODAY - 28 * DAY

    def test_another_resolution_is_a_matter_of_configuration(
        self, server: Sandbox, world: World
    ) -> None:
        extra = {"sopr": {"step": "1h", "lag": "15m"}}
        since = NOW - 5 * HOUR
        rows = fetch(self.make(server, metrics=("sopr",), series=extra), since=since).of("sopr")
        hour = NOW // HOUR * HOUR
        ends = list(range(hour - 4 * HOUR, hour + 1, HOUR))
        assert [row.event_time for row in rows] == ends
        expected = world.series("sopr", "BTC", np.array(ends))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())
        assert rows[-1].known_at == hour + HOUR // 4

    def test_point_in_time_forms_say_when_they_were_computed(self, server: Sandbox) -> None:
        chosen = ("sopr", "reserve_risk")
        provider = self.make(server, metrics=chosen, point_in_time=True)
        fetched = fetch(provider)
        assert {row.known_at - row.event_time for row in fetched.of("sopr")} == {27 * SECOND}
        assert {r.known_at - r.event_time for r in fetched.of("reserve_risk")} == {3 * HOUR}
        (problem,) = fetched.problems
        assert problem.startswith("reserve_risk BTC: no point-in-time form")
        again = fetch(provider, since=SINCE)
        assert again.problems == []
        assert len(again.asked) == len(chosen)
        assert provider.source == f"{self.make(server).source}-pit"

    def test_point_in_time_forms_are_requested_within_minutes(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("mvrv", "reserve_risk"), point_in_time=True)
        known = dict.fromkeys(fetch(provider).known, TODAY - DAY)
        soon = TODAY + 5 * MINUTE
        server.clock.move(soon, 0)
        fetched = fetch(provider, now=soon, known=known)
        assert fetched.of("mvrv")[-1].event_time == TODAY
        assert fetched.of("reserve_risk")[-1].event_time == TODAY - DAY

    def test_a_metric_given_up_for_one_asset_is_requested_for_others(self, server: Sandbox) -> None:
        chosen = ("reserve_risk", "mvrv")
        provider = self.make(server, metrics=chosen, assets=("BTC", "ETH"))
        fetched = fetch(provider)
        assert fetched.error is None
        assert {(row.metric, row.entity) for row in fetched.rows} == {
            ("mvrv", "BTC"),
            ("mvrv", "ETH"),
            ("reserve_risk", "BTC"),
        }
        (problem,) = fetched.problems
        assert problem.startswith("reserve_risk ETH: ")
        assert len(fetch(provider).asked) == 3

    def test_a_page_of_the_gateway_in_place_of_a_refusal(self, server: Sandbox) -> None:
        fetched = fetch(self.provider(self.provider.Config(base_url=server.url("glassnode"))))
        assert "a page, not data" in str(fetched.error)
        assert fetched.rows == []
