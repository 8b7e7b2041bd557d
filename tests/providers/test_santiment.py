"""Santiment against the sandbox: several queries in a request, limits of plans, refusals."""

from typing import ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import CANARY, NOW, SINCE, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, MINUTE
from weft.sources.http import RefusedError, SchemaChangedError, UnauthorisedError, UnavailableError
from weft_providers.santiment import Santiment
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

TODAY = NOW // DAY * DAY
SPAN = NOW - 90 * DAY
TOLD = {
    "social_volume": ("social_volume", 1.0, 12 * HOUR),
    "social_dominance": ("social_dominance", 1.0, 12 * HOUR),
    "dev_activity": ("developer_activity", 1.0, 4 * HOUR),
    "large_transactions": ("whale_transfers", 1.0, 2 * HOUR),
    "whale_transactions": ("whale_transfers", 0.15, 2 * HOUR),
    "age_consumed": ("age_consumed", 1.0, 2 * HOUR),
    "mean_coin_age": ("mean_coin_age", 1.0, 2 * HOUR),
    "mvrv": ("mvrv", 1.0, 2 * HOUR),
    "exchange_inflow": ("exchange_inflow", 1.0, 2 * HOUR),
    "exchange_outflow": ("exchange_outflow", 1.0, 2 * HOUR),
    "exchange_netflow": ("exchange_netflow", 1.0, 2 * HOUR),
}


def days(first: int, last: int) -> list[int]:
    """The ends of days that have values."""
    ends = range(-(-first // DAY) * DAY, last + 1, DAY)
    return [end for end in ends if (end // DAY - 1) % 47 != 13]


class TestSantiment(Sandboxed):
    provider = Santiment
    options: ClassVar = {"assets": ("BTC",)}
    drift = "datetime"
    drifting = ("mvrv",)

    def test_an_answer_without_rows_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.make(server, queries_per_request=1))
        assert fetched.error is None
        assert fetched.rows == []

    @pytest.mark.parametrize("metric", Santiment.metrics)
    def test_a_day_comes_in_canonical_units_at_its_end(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        rows = fetch(self.make(server, metrics=(metric,)), since=SPAN).of(metric)
        series, factor, lag = TOLD[metric]
        assert [row.event_time for row in rows] == days(SPAN, TODAY)
        assert len(rows) < 90, "nulls are left out, and not zero"
        expected = world.series(series, "BTC", np.array([row.event_time for row in rows])) * factor
        assert [row.value for row in rows] == pytest.approx(expected.tolist())
        assert {row.known_at - row.event_time for row in rows} == {lag}

    def test_a_share_is_no_percentage(self, server: Sandbox) -> None:
        rows = fetch(self.make(server, metrics=("social_dominance",)), since=SPAN).rows
        assert all(0 < row.value < 0.5 for row in rows)

    def test_queries_travel_together(self, server: Sandbox) -> None:
        both = self.make(server, assets=("BTC", "ETH"))
        fetched = fetch(both)
        assert len(fetched.rows) == 22 * len(days(SINCE, TODAY))
        sizes = [body["query"].count("getMetric") for _, _, body in fetched.asked]
        assert sizes == [0, 10, 10, 2]

    @pytest.mark.parametrize("size", [2, 7, 89, 90])
    def test_a_long_span_is_read_in_pieces_without_a_gap(self, server: Sandbox, size: int) -> None:
        provider = self.make(server, metrics=("mvrv", "dev_activity"), page_size=size)
        fetched = fetch(provider, since=SPAN)
        for metric in ("mvrv", "dev_activity"):
            assert [row.event_time for row in fetched.of(metric)] == days(SPAN, TODAY)
        assert len(fetched.asked) >= 1 + 90 // size

    def test_what_is_refused_costs_the_others_nothing(self, server: Sandbox) -> None:
        extra = {"age_consumed": {"path": "age_destroyed_long_ago"}}
        chosen = ("mvrv", "age_consumed")
        provider = self.make(server, metrics=chosen, series=extra, assets=("BTC", "NOSUCH"))
        fetched = fetch(provider)
        assert fetched.error is None
        assert {(row.metric, row.entity) for row in fetched.rows} == {("mvrv", "BTC")}
        assert len(fetched.problems) == 2
        assert any(
            "age_consumed BTC, age_consumed NOSUCH: one of these series: The metric" in line
            for line in fetched.problems
        )
        assert any('mvrv NOSUCH: The slug "nosuch"' in line for line in fetched.problems)
        again = fetch(provider)
        assert [body["query"].count("getMetric") for _, _, body in again.asked] == [1]
        assert again.problems == []

    def test_an_uncovered_chain_is_reported_and_not_requested_again(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("exchange_netflow",), assets=("SOL",))
        fetched = fetch(provider, since=SPAN)
        (problem,) = fetched.problems
        assert "exchange_netflow SOL: no values at all" in problem
        assert fetch(provider, since=SPAN).asked == []

    def test_a_delay_of_the_plan_is_reported_and_counts(self, server: Sandbox) -> None:
        provider = self.make(server, "free-key", metrics=("mvrv", "dev_activity"))
        fetched = fetch(provider, since=NOW - 400 * DAY)
        delay, cut = fetched.problems
        assert "the plan delays mvrv by up to 30 days" in delay
        assert "mvrv BTC: values only from 2023-03-23T00:00:00Z on" in cut
        assert {r.known_at - r.event_time for r in fetched.of("mvrv")} == {30 * DAY}
        assert fetched.of("mvrv")[-1].event_time == TODAY - 30 * DAY
        assert fetched.of("dev_activity")[-1].event_time == TODAY
        assert fetch(provider, known=fetched.known).asked == []

    def test_values_cut_by_the_plan_are_reported(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": "restrictedTo", "count": 1})
        provider = self.make(server, "free-key", metrics=("mvrv",))
        fetched = fetch(provider, since=SPAN)
        (cut,) = fetched.problems
        assert "mvrv BTC: values only up to 2024-02-19T00:00:00Z, requested from" in cut
        assert fetch(provider, since=SPAN).problems == []

    @pytest.mark.parametrize(("lag", "late"), [("5m", 20 * MINUTE), ("12h", 12 * HOUR)])
    def test_a_value_may_count_no_sooner_than_it_was_computed(
        self, server: Sandbox, lag: str, late: int
    ) -> None:
        extra = {"social_volume": {"lag": lag}}
        chosen = ("social_volume",)
        provider = self.make(server, metrics=chosen, series=extra, known_when_computed=True)
        rows = fetch(provider).of("social_volume")
        assert {row.known_at - row.event_time for row in rows} == {late}

    def test_an_unknown_error_is_reported_and_retried(self, server: Sandbox) -> None:
        extra = {"mvrv": {"step": "1h"}}
        provider = self.make(server, metrics=("mvrv", "dev_activity"), series=extra)
        for _ in range(2):
            fetched = fetch(provider)
            assert fetched.problems == ["mvrv BTC: The metric's min interval is 1d."]
            assert {row.metric for row in fetched.rows} == {"dev_activity"}

    def test_another_version_and_aggregation_are_a_matter_of_configuration(
        self, server: Sandbox
    ) -> None:
        extra = {"social_volume": {"lag": "2h", "extra": {"version": "2.1", "aggregation": "SUM"}}}
        fetched = fetch(self.make(server, metrics=("social_volume",), series=extra))
        assert {row.known_at - row.event_time for row in fetched.rows} == {2 * HOUR}
        query = fetched.asked[-1][2]["query"]
        assert 'getMetric(metric: "social_volume_total", version: "2.1")' in query
        assert "aggregation: SUM" in query

    def test_a_query_that_is_too_complex_has_a_hint(self, server: Sandbox) -> None:
        extra = {"social_volume": {"step": "5m"}}
        provider = self.make(server, metrics=("social_volume",), series=extra, page_size=500_000)
        fetched = fetch(provider, since=NOW - 800 * DAY)
        assert "too complex" in fetched.problems[0]
        assert "not requested again" in fetched.problems[0]

    @pytest.mark.parametrize(
        ("status", "errors", "meant"),
        [
            (200, [{"message": "no", "path": ["q0"]}], None),
            (200, [{"message": "no"}], RefusedError),
            (200, {"details": "Internal server error"}, UnavailableError),
            (400, {"details": "Apikey is not valid"}, UnauthorisedError),
            (401, [{"message": "Apikey is not valid"}], UnauthorisedError),
            (400, {"details": "no"}, None),
            (429, {"details": "API Rate Limit Reached"}, None),
        ],
    )
    def test_errors_in_a_sound_answer(
        self, status: int, errors: object, meant: type[Exception] | None
    ) -> None:
        assert Santiment.web.classify is not None
        assert Santiment.web.classify(status, {"data": None, "errors": errors}, {}) is meant

    def test_a_body_that_is_no_object_is_an_error(self, server: Sandbox) -> None:
        server.fault({"kind": "list_dict"})
        fetched = fetch(self.make(server))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []
        assert CANARY not in str(fetched.error)
