"""CoinGecko against the sandbox."""

from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import SecretStr

from tests.providers.sandboxed import CANARY, NOW, Sandboxed, fetch
from weft.components.provider import SourceKind
from weft.foundation.times import DAY, HOUR, MINUTE
from weft.sources.http import (
    NotCoveredError,
    SchemaChangedError,
    UnauthorisedError,
    UnlistedSymbolError,
)
from weft_providers.coingecko import CoinGecko
from weft_sandbox import Sandbox
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World

MIDNIGHT = NOW // DAY * DAY


class TestCoinGecko(Sandboxed):
    provider = CoinGecko
    options: ClassVar[dict[str, Any]] = {"assets": tuple(CoinGecko.ids)}
    drift = "item"
    planned = False
    unknown: ClassVar[dict[str, Any]] = {
        "assets": ("NOSUCH",),
        "ids": {"NOSUCH": "no-such-coin"},
        "metrics": ("market_cap_usd",),
    }

    def test_stored_values_are_not_requested_before_they_are_due(self, server: Sandbox) -> None:
        provider = self.make(server)
        known = fetch(provider).known
        # A coin that is not trending has no rank, so its rank is requested again.
        assert {path for _, path, _ in fetch(provider, known=known).asked} == {
            "/api/v3/search/trending"
        }
        server.clock.move(NOW + DAY, 0)
        again = fetch(provider, now=NOW + DAY, known=known)
        assert {params.get("days") for _, _, params in again.asked} == {None, 6}
        key = next(key for key in known if key.metric == "market_cap_usd")
        assert again.known[key] == MIDNIGHT + DAY

    def test_an_answer_without_rows_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.make(server, metrics=("trending_rank",)))
        assert fetched.error is None
        assert fetched.rows == []

    def test_a_renamed_field_is_an_error_and_stores_nothing(self, server: Sandbox) -> None:
        for metric, kind in (
            ("market_cap_usd", "list_dict"),
            ("trending_rank", "rename_field"),
            ("btc_dominance", "list_dict"),
        ):
            server.heal()
            server.fault({"kind": kind, "field": self.drift})
            fetched = fetch(self.make(server, metrics=(metric,), assets=("BTC",)))
            assert isinstance(fetched.error, SchemaChangedError)
            assert fetched.rows == []

    def test_a_market_cap_has_its_midnight_and_is_known_one_hour_later(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.make(server, assets=("SOL",)), since=NOW - 200 * DAY)
        rows = fetched.of("market_cap_usd", "SOL")
        coin = world.coin["SOL"]
        assert [row.event_time for row in rows] == list(
            range(MIDNIGHT - 199 * DAY, MIDNIGHT + 1, DAY)
        )
        for row in rows[::40]:
            price = world.price(REFERENCE, coin, row.event_time) * coin.tick
            assert row.value == pytest.approx(price * coin.supply)
        assert {row.known_at - row.event_time for row in rows} == {HOUR}

    def test_a_demo_key_requests_no_older_history_than_its_plan(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("BTC",), metrics=("market_cap_usd",))
        fetched = fetch(provider, since=NOW - 900 * DAY)
        assert fetched.error is None
        assert len(fetched.rows) == 365
        wide = self.make(server, assets=("BTC",), metrics=("market_cap_usd",), history_days=900)
        assert "10012" in fetch(wide, since=NOW - 900 * DAY).problems[0]

    def test_the_total_market_has_the_time_of_its_update(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.make(server))
        (total,), (share,) = fetched.of("total_market_cap_usd", ""), fetched.of("btc_dominance", "")
        at = NOW // (10 * MINUTE) * (10 * MINUTE)
        assert (total.event_time, total.known_at) == (at, NOW)
        bitcoin = world.coin["BTC"]
        worth = world.price(REFERENCE, bitcoin, at) * bitcoin.tick * bitcoin.supply
        assert share.value == pytest.approx(worth / total.value)
        assert 0.3 < share.value < 0.9
        assert sum(path.endswith("/global") for _, path, _ in fetched.asked) == 1

    def test_what_is_searched_for_most_is_first(self, server: Sandbox, world: World) -> None:
        rows = [row for row in fetch(self.make(server)).rows if row.metric == "trending_rank"]
        at = np.array([NOW // (10 * MINUTE) * (10 * MINUTE)])
        searched = {c.name: float(world.series("searches", c.name, at)[0]) for c in world.coins}
        ordered = sorted(searched, key=lambda name: -searched[name])[:7]
        assert {row.entity: row.value for row in rows} == {
            name: rank for rank, name in enumerate(ordered, 1)
        }
        assert {row.event_time for row in rows} == {row.known_at for row in rows} == {NOW}

    def test_without_a_key_it_works_slowly(self, server: Sandbox) -> None:
        provider = CoinGecko(CoinGecko.Config(base_url=server.url("coingecko")))
        assert provider.ready()
        assert provider.web.limits[0].units == 8
        assert fetch(provider).error is None

    def test_a_paid_key_has_another_host_and_header(self) -> None:
        provider = CoinGecko(CoinGecko.Config(plan="paid", api_key=SecretStr(CANARY)))
        assert provider.base_url == "https://pro-api.coingecko.com"
        assert (provider.source, provider.source_kind) == ("coingecko", SourceKind.REAL)
        assert provider.web.limits[0].units == 400

    def test_codes_say_what_a_status_leaves_open(self) -> None:
        classify = CoinGecko.web.classify
        assert classify is not None
        for code, kind in (
            (10002, UnauthorisedError),
            (10005, NotCoveredError),
            (10012, NotCoveredError),
        ):
            assert classify(401, {"error": {"status": {"error_code": code}}}, {}) is kind
            assert classify(401, {"status": {"error_code": code}}, {}) is kind
        assert classify(404, {"error": "coin not found"}, {}) is UnlistedSymbolError
