"""Kaiko against the sandbox."""

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import NOW, SINCE, Sandboxed, fetch
from weft.foundation.times import HOUR, MINUTE
from weft.sources.http import SchemaChangedError
from weft_providers.kaiko import Kaiko
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.venues import REFERENCE, Venue
from weft_sandbox.market.world import World
from weft_sandbox.protocols.kaiko import EXCHANGES, api, usual

LAST = NOW // HOUR * HOUR
ENDS = np.arange(-(-SINCE // HOUR) * HOUR, LAST + 1, HOUR)


def hours(world: World, venue: Venue = REFERENCE) -> Bars:
    first, end = int(ENDS[0]) - HOUR, int(ENDS[-1])
    return world.candles(venue, world.coin["BTC"], Grid.of("1h"), first, end, NOW)


class TestKaiko(Sandboxed):
    provider = Kaiko
    drift = "price"
    drifting = ("vwap", "cross_exchange_spread")
    options = {"book_history_days": 6}  # noqa: RUF012  # a ClassVar of the base
    unknown = {"assets": ("NOSUCH",), "instruments": {"XUSDT": "binc/spot/x-usdt"}}  # noqa: RUF012  # read only

    def test_depth_is_in_dollars_at_the_end_of_its_hour(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.make(server))
        btc = world.coin["BTC"]
        for side in ("bid", "ask"):
            rows = fetched.of(f"{side}_depth_usd", "BTCUSDT")
            assert [row.event_time for row in rows] == ENDS.tolist()
            assert {row.known_at - row.event_time for row in rows} == {5 * MINUTE}
            truth = usual(world, f"{side}_depth_usd", btc, ENDS, 2 * btc.turnover)
            assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_imbalance_spread_and_slippage(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        btc = world.coin["BTC"]
        bids, asks = (
            usual(world, f"{side}_depth_usd", btc, ENDS, 2 * btc.turnover)
            for side in ("bid", "ask")
        )
        truths = {
            "book_imbalance": (bids - asks) / (bids + asks),
            "bid_ask_spread": usual(world, "bid_ask_spread", btc, ENDS, 2e-4),
            "slippage": usual(world, "slippage", btc, ENDS, 3e-4),
        }
        for metric, truth in truths.items():
            values = [row.value for row in fetched.of(metric, "BTCUSDT")]
            assert values == pytest.approx(truth.tolist()), metric

    def test_prices_and_counts_equal_the_market(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        bars = hours(world)
        prices = bars.quote / bars.volume * world.coin["BTC"].tick
        rows = fetched.of("vwap", "BTCUSDT")
        assert [row.event_time for row in rows] == ENDS.tolist()
        assert [row.value for row in rows] == pytest.approx(prices.tolist())
        counts = [row.value for row in fetched.of("trade_count", "BTCUSDT")]
        assert counts == bars.trades.tolist()

    def test_the_gap_between_venues(self, server: Sandbox, world: World) -> None:
        rows = fetch(self.make(server)).of("cross_exchange_spread")
        bars = [hours(world, EXCHANGES[name, "spot"][0]) for name in ("cbse", "krkn", "stmp")]
        prices = np.array([b.quote / b.volume for b in bars])
        dearest, cheapest = prices.max(axis=0), prices.min(axis=0)
        truth = (dearest - cheapest) / ((dearest + cheapest) / 2)
        assert [row.value for row in rows] == pytest.approx(truth.tolist())
        assert [row.event_time for row in rows] == ENDS.tolist()

    def test_all_pages_come(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, page_size=40, trades_page_size=50, assets=("BTC",)))
        whole = fetch(self.make(server, assets=("BTC",)))
        assert sorted(fetched.rows) == sorted(whole.rows)
        books = [asked for asked in fetched.asked if "order_book" in asked[1]]
        assert len(books) == 2 * 4
        assert sum("continuation_token" in params for _, _, params in books) == 2 * 3
        assert all(len(p) == 1 for _, _, p in books if "continuation_token" in p)

    def test_pages_that_go_round_in_circles_end(self, server: Sandbox) -> None:
        server.fault({"kind": "cursor_loop", "path": "*ob_aggregations*"})
        fetched = fetch(self.make(server, page_size=10))
        assert isinstance(fetched.error, SchemaChangedError)
        assert "another page" in str(fetched.error)
        assert not fetched.of("slippage", "BTCUSDT")

    def test_no_value_is_no_zero(self, server: Sandbox) -> None:
        server.fault({"kind": "null_field", "field": "bid_slippage"})
        fetched = fetch(self.make(server))
        assert fetched.error is None
        assert not fetched.of("slippage", "BTCUSDT")
        assert fetched.of("bid_depth_usd", "BTCUSDT")

    def test_a_venue_that_lacks_the_pair_is_left_out(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, venues=("cbse", "krkn", "nosuch")))
        assert fetched.problems == []
        assert fetched.of("cross_exchange_spread")
        fetched = fetch(self.make(server, venues=("cbse", "nosuch")))
        assert any("cross_exchange_spread" in problem for problem in fetched.problems)

    def test_old_order_books_are_not_requested(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, book_history_days=2))
        assert fetched.of("slippage", "BTCUSDT")[0].event_time > NOW - 2 * 24 * HOUR - HOUR
        assert fetched.of("vwap", "BTCUSDT")[0].event_time == ENDS[0]


def test_the_sandbox_has_the_ticks_and_books_of_kaiko() -> None:
    with Sandbox(start=NOW, speed=0, apis=[api]) as sandbox:
        http = httpx.Client(base_url=sandbox.url("kaiko"), headers={"X-Api-Key": "k"})
        with http:
            path = "exchanges/binc/spot/btc-usdt"
            ticks = http.get(f"/v3/data/trades.v1/{path}/trades", params={"page_size": 2}).json()
            newest, older = (row["timestamp"] for row in ticks["data"])
            assert older <= newest <= NOW // 1000
            following = http.get(ticks["next_url"]).json()["data"]
            assert following[0]["timestamp"] <= older
            books = f"/v2/data/order_book_snapshots.v1/{path}/snapshots"
            raw = http.get(f"{books}/raw").json()["data"]
            assert len(raw) == 10
            assert float(raw[0]["asks"][0]["price"]) > float(raw[0]["bids"][0]["price"])
            assert "bid_volume1" not in raw[0]
            full = http.get(f"{books}/full", params={"slippage": 1_000_000}).json()["data"]
            assert full[0]["ask_slippage"] is not None
            assert http.get(f"{books}/nosuch").json()["result"] == "error"
