"""CryptoQuant against the sandbox: signs, days, pieces of a long span."""

from typing import ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft.sources.http import (
    NotCoveredError,
    RateLimitedError,
    SchemaChangedError,
    UnauthorisedError,
)
from weft_providers.cryptoquant import CryptoQuant
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

TODAY = NOW // DAY * DAY
SPAN = NOW - 90 * DAY


def days(first: int, last: int) -> list[int]:
    """The ends of days that have values."""
    ends = range(-(-first // DAY) * DAY, last + 1, DAY)
    return [end for end in ends if (end // DAY - 1) % 43 != 11]


class TestCryptoQuant(Sandboxed):
    provider = CryptoQuant
    options: ClassVar = {"assets": ("BTC",)}
    drift = "date"

    @pytest.mark.parametrize("metric", CryptoQuant.metrics)
    def test_a_day_comes_in_canonical_units_at_its_end(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        rows = fetch(self.make(server, metrics=(metric,)), since=SPAN).of(metric)
        assert [row.event_time for row in rows] == days(SPAN, TODAY)
        assert len(rows) < 90, "nulls are left out, and not zero"
        expected = world.series(metric, "BTC", np.array([row.event_time for row in rows]))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())
        assert {row.known_at - row.event_time for row in rows} == {2 * HOUR}

    @pytest.mark.parametrize("size", [2, 7, 90, 91, 1_000])
    def test_a_long_span_is_read_in_pieces_without_a_gap(self, server: Sandbox, size: int) -> None:
        provider = self.make(server, metrics=("exchange_netflow",), page_size=size)
        fetched = fetch(provider, since=SPAN)
        result = [row.event_time for row in fetched.of("exchange_netflow")]
        assert result == days(SPAN, TODAY)
        assert len(fetched.asked) >= -(-90 // size)

    def test_hours_are_a_matter_of_configuration(self, server: Sandbox, world: World) -> None:
        extra = {"exchange_inflow": {"step": "1h", "lag": "1h"}}
        provider = self.make(server, metrics=("exchange_inflow",), series=extra)
        rows = fetch(provider, since=NOW - 6 * HOUR).of("exchange_inflow")
        last = NOW // HOUR * HOUR - HOUR
        assert [row.event_time for row in rows] == list(range(last - 4 * HOUR, last + 1, HOUR))
        expected = world.series(
            "exchange_inflow", "BTC", np.array([row.event_time for row in rows])
        )
        assert [row.value for row in rows] == pytest.approx(expected.tolist())

    def test_a_token_is_requested_by_its_family(self, server: Sandbox, world: World) -> None:
        provider = self.make(
            server, metrics=("exchange_reserve",), assets=("LINK",), ids={"LINK": "erc20/link"}
        )
        fetched = fetch(provider)
        rows = fetched.of("exchange_reserve", "LINK")
        expected = world.series("exchange_reserve", "LINK", np.array([r.event_time for r in rows]))
        assert [row.value for row in rows] == pytest.approx(expected.tolist())
        assert fetched.asked[0][1] == "/v1/erc20/exchange-flows/reserve"

    def test_a_path_missing_for_an_asset_is_reported_once(self, server: Sandbox) -> None:
        chosen = ("exchange_netflow", "miner_netflow")
        provider = self.make(server, metrics=chosen, assets=("BTC", "ETH"))
        fetched = fetch(provider)
        assert {(row.metric, row.entity) for row in fetched.rows} == {
            ("exchange_netflow", "BTC"),
            ("exchange_netflow", "ETH"),
            ("miner_netflow", "BTC"),
        }
        (problem,) = fetched.problems
        assert problem.startswith("miner_netflow ETH: ")
        assert len(fetch(provider).asked) == 3

    def test_no_older_history_than_the_plan_is_requested(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("mvrv",), history_days=30)
        fetched = fetch(provider, since=SPAN)
        ((_, _, params),) = fetched.asked
        assert params["from"] == "20240220T000000"
        assert fetched.of("mvrv")[0].event_time == TODAY - 28 * DAY

    @pytest.mark.parametrize(
        ("code", "meant"),
        [(401, UnauthorisedError), (429, RateLimitedError), (403, NotCoveredError), (200, None)],
    )
    def test_the_code_in_the_body_counts(self, code: int, meant: type[Exception] | None) -> None:
        assert CryptoQuant.web.classify is not None
        assert CryptoQuant.web.classify(200, {"status": {"code": code}}, {}) is meant

    def test_the_plan_sets_the_rate_limit(self, server: Sandbox) -> None:
        provider = self.make(server, requests_per_minute=7)
        assert provider.web is not None
        assert [limit.units for limit in provider.web.limits] == [7]

    def test_an_invalid_date_is_an_error(self, server: Sandbox) -> None:
        server.fault({"kind": "null_field", "field": "date"})
        fetched = fetch(self.make(server, metrics=("mvrv",)))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []
