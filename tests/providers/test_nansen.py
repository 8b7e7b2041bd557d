"""Nansen against the sandbox."""

from typing import Any

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft.sources.http import ForbiddenError, NotCoveredError, SchemaChangedError
from weft_providers import nansen
from weft_providers.nansen import Nansen
from weft_sandbox import Sandbox
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.protocols.nansen import TOKENS, bridged, holders, netflow

HERE = np.array([NOW])
ALL = tuple(TOKENS)


class TestNansen(Sandboxed):
    provider = Nansen
    drift = "net_flow_24h_usd"
    drifting = ("smart_money_netflow_usd",)
    options = {"bridge_label": "exchange"}  # noqa: RUF012  # a ClassVar of the base
    unknown = {"assets": ("NOSUCH",), "ids": {"NOSUCH": "ethereum:0xdead"}}  # noqa: RUF012  # read only

    def test_flows_and_holders_as_of_now(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server, assets=ALL))
        groups = {
            "smart_money_netflow_usd": "smart_trader",
            "whale_netflow_usd": "whale",
            "top_trader_netflow_usd": "top_pnl",
            "fresh_wallet_netflow_usd": "fresh_wallets",
        }
        for name in ("ETH", "SOL", "ARB"):
            coin = world.coin[name]
            for metric, group in groups.items():
                (row,) = fetched.of(metric, name)
                assert (row.event_time, row.known_at) == (NOW, NOW)
                assert row.value == pytest.approx(float(netflow(world, group, coin, HERE)[0]))
            (row,) = fetched.of("smart_money_holders", name)
            assert row.value == holders(world, coin, HERE)[0]
        flows = [row.value for row in fetched.rows if row.metric == "smart_money_netflow_usd"]
        assert min(flows) < 0 < max(flows)

    def test_bridges_give_out_what_comes_in(self, server: Sandbox, world: World) -> None:
        (row,) = fetch(self.make(server)).of("bridge_netflow_usd", "ETH")
        coin, hour = world.coin["ETH"], NOW // HOUR * HOUR
        before, after = bridged(world, coin, np.array([hour - DAY, hour]))
        price = world.price(REFERENCE, coin, hour) * coin.tick
        assert (row.event_time, row.known_at) == (hour, NOW)
        assert row.value == pytest.approx((before - after) * price)

    def test_the_label_of_bridges_is_a_matter_of_config(self, server: Sandbox) -> None:
        metrics = ("bridge_netflow_usd",)
        fetched = fetch(self.make(server, metrics=metrics, bridge_label="whale"))
        assert [body["label"] for _, _, body in fetched.asked] == ["whale"] * 2
        assert len(fetched.rows) == 2
        unnamed = self.make(server, metrics=metrics, bridge_label="")
        assert fetch(unnamed).asked == []
        assert "providers.nansen.bridge_label" in unnamed.waiting()["bridge_netflow_usd"]

    def test_all_pages_come(self, server: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(nansen, "_PAGE", 3)
        options: dict[str, Any] = {"assets": ALL, "metrics": ("smart_money_holders",)}
        fetched = fetch(self.make(server, **options))
        assert {row.entity for row in fetched.rows} == set(ALL)
        assert [body["pagination"]["page"] for _, _, body in fetched.asked] == [1, 2, 3, 4]
        server.fault({"kind": "cursor_loop"})
        fetched = fetch(self.make(server, **options))
        assert isinstance(fetched.error, SchemaChangedError)
        assert len(fetched.asked) == 2

    def test_a_token_missing_in_a_list_is_no_zero_and_not_requested_soon(
        self, server: Sandbox
    ) -> None:
        extra: dict[str, Any] = {"assets": ("ETH", "NOSUCH"), "ids": {"NOSUCH": "ethereum:0xdead"}}
        provider = self.make(server, metrics=("smart_money_holders",), **extra)
        fetched = fetch(provider)
        assert {row.entity for row in fetched.rows} == {"ETH"}
        assert fetched.problems == []
        assert fetch(provider, known=fetched.known).asked == []
        later = NOW + 6 * HOUR
        assert len(fetch(provider, known=fetched.known, now=later).asked) == 1

    def test_a_null_is_no_value(self, server: Sandbox) -> None:
        server.fault({"kind": "null_field", "field": "whale_net_flow_usd"})
        fetched = fetch(self.make(server))
        assert fetched.error is None
        assert not fetched.of("whale_netflow_usd", "ETH")
        assert fetched.of("top_trader_netflow_usd", "ETH")

    def test_an_unknown_label_is_reported(self, server: Sandbox) -> None:
        provider = self.make(server, bridge_label="nosuch")
        fetched = fetch(provider)
        assert fetched.error is None
        (problem,) = fetched.problems
        assert problem.startswith("bridge_netflow_usd BTC, bridge_netflow_usd ETH: ")
        assert "set bridge_label if 'nosuch' is no label there" in problem
        assert fetched.of("whale_netflow_usd", "ETH")

    def test_no_more_credits_are_spent_than_wanted(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, credits_per_day=10, credits_per_call=5))
        assert fetched.error is not None
        assert "next free turn" in str(fetched.error)

    def test_addresses_are_compared_as_their_chain_does(self, server: Sandbox) -> None:
        chain, address = TOKENS["ETH"]
        spelt = f"{chain}:{address.upper().replace('0X', '0x')}"
        metrics = ("smart_money_holders", "whale_netflow_usd")
        fetched = fetch(self.make(server, ids={"ETH": spelt}, metrics=metrics))
        assert fetched.of("smart_money_holders", "ETH")
        assert fetched.of("whale_netflow_usd", "ETH")


def test_credits_that_are_used_up_stop_everything() -> None:
    classify = Nansen.web.classify
    assert classify is not None
    assert classify(403, {"detail": {"message": "Insufficient credits"}}, {}) is ForbiddenError
    assert classify(403, {"detail": "not in your plan"}, {}) is NotCoveredError
    assert classify(422, {"detail": []}, {}) is None
