"""Messari against the sandbox."""

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, SINCE, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR
from weft.sources.http import SchemaChangedError
from weft_providers import messari
from weft_providers.messari import Messari
from weft_sandbox import Sandbox
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.market.world import World
from weft_sandbox.protocols.messari import (
    governance,
    is_global,
    locked_share,
    max_supply,
    supply_at,
)

ENDS = np.arange(-(-SINCE // DAY) * DAY, NOW // DAY * DAY + 1, DAY)


class TestMessari(Sandboxed):
    provider = Messari
    drift = "mindshare"
    drifting = ("mindshare",)
    options = {"assets": ("AAVE", "UNI")}  # noqa: RUF012  # a ClassVar of the base
    unknown = {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}, "metrics": ("mindshare",)}  # noqa: RUF012  # read only

    def test_protocols_by_day(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        series = {name: world.series(name, "UNI", ENDS) for name in ("tvl", "fees", "revenue")}
        truths = {
            "tvl_usd": series["tvl"],
            "fees_usd": series["fees"],
            "revenue_usd": np.minimum(series["fees"], series["revenue"]),
        }
        for metric, truth in truths.items():
            rows = fetched.of(metric, "UNI")
            assert [row.event_time for row in rows] == ENDS.tolist(), metric
            assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}
            assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_assets_without_a_protocol_are_not_requested(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, assets=("BTC",), metrics=("tvl_usd",)))
        assert (fetched.asked, fetched.problems) == ([], [])

    def test_attention_by_day(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        truths = {
            "social_sentiment": world.series("social_sentiment", "AAVE", ENDS),
            "social_volume": np.rint(world.series("social_volume", "AAVE", ENDS)),
            "mindshare": world.series("mindshare", "AAVE", ENDS)
            / recipe_of("mindshare").level
            * 0.05,
        }
        for metric, truth in truths.items():
            rows = fetched.of(metric, "AAVE")
            assert [row.event_time for row in rows] == ENDS.tolist(), metric
            assert {row.known_at - row.event_time for row in rows} == {6 * HOUR}
            assert [row.value for row in rows] == pytest.approx(truth.tolist())

    def test_unlocks_of_the_coming_month_as_of_now(self, server: Sandbox, world: World) -> None:
        coin = world.coin["AAVE"]
        days = np.arange(NOW // DAY + 1, NOW // DAY + 31) * DAY
        share = locked_share(coin, days).sum()
        price = world.price(REFERENCE, coin, NOW) * coin.tick
        fetched = fetch(self.make(server))
        (row,) = fetched.of("unlock_share", "AAVE")
        assert (row.event_time, row.known_at) == (NOW, NOW)
        assert row.value == pytest.approx(share)
        (row,) = fetched.of("unlock_usd", "AAVE")
        assert row.value == pytest.approx(share * coin.supply * price)
        (row,) = fetched.of("market_cap_usd", "AAVE")
        assert row.value == pytest.approx(coin.supply * price)

    def test_the_numbers_of_a_profile_as_of_now(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server, assets=("AAVE", "ETH")))
        for name in ("AAVE", "ETH"):
            coin = world.coin[name]
            price, most = world.price(REFERENCE, coin, NOW) * coin.tick, max_supply(coin)
            (row,) = fetched.of("circulating_supply", name)
            assert (row.event_time, row.known_at, row.value) == (NOW, NOW, coin.supply)
            (row,) = fetched.of("fully_diluted_cap_usd", name)
            assert row.value == pytest.approx((most or coin.supply) * price)
            # Without a limit, there is no such number.
            assert [row.value for row in fetched.of("max_supply", name)] == [most][
                : most is not None
            ]
        profiles = [asked for _, path, asked in fetched.asked if path.endswith("/details")]
        # Once with the unlocks of the one that has any, once without for each.
        assert len(profiles) == 3

    def test_inflation_comes_once_its_column_is_named(self, server: Sandbox, world: World) -> None:
        metrics = ("supply_inflation",)
        unnamed = self.make(server, metrics=metrics)
        assert fetch(unnamed).asked == []
        assert "series.supply_inflation.path" in unnamed.waiting()["supply_inflation"]
        extra = {"supply_inflation": {"path": "supply.circulating-supply"}}
        fetched = fetch(self.make(server, metrics=metrics, series=extra))
        rows = fetched.of("supply_inflation", "UNI")
        assert [row.event_time for row in rows] == ENDS.tolist()
        assert {row.known_at - row.event_time for row in rows} == {12 * HOUR}
        now, before = (supply_at(world.coin["UNI"], ENDS - back) for back in (0, 365 * DAY))
        assert [row.value for row in rows] == pytest.approx((now - before) / before)
        assert rows[0].value > 0.001
        wrong = {"supply_inflation": {"path": "supply.nosuch"}}
        changed = fetch(self.make(server, metrics=metrics, series=wrong))
        assert isinstance(changed.error, SchemaChangedError)

    def test_a_schedule_without_coins_is_an_error(self, server: Sandbox) -> None:
        metrics = ("unlock_share",)
        (whole,) = fetch(self.make(server, assets=("AAVE",), metrics=metrics)).of(*metrics, "AAVE")
        server.fault({"kind": "null_field", "field": "cumulativeUnlockedUSD"})
        (same,) = fetch(self.make(server, assets=("AAVE",), metrics=metrics)).of(*metrics, "AAVE")
        assert same == whole
        server.heal()
        server.fault({"kind": "null_field", "field": "cumulativeUnlockedNative"})
        fetched = fetch(self.make(server, assets=("AAVE",), metrics=metrics))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_a_coin_without_a_schedule_is_reported_and_left_out(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("BTC",))
        fetched = fetch(provider)
        (problem,) = fetched.problems
        assert "unlock_usd BTC" in problem
        assert "no unlock schedule" in problem
        assert fetched.of("market_cap_usd")
        assert fetch(provider).problems == []

    def test_events_count_on_the_day_they_were_recorded(
        self, server: Sandbox, world: World
    ) -> None:
        fetched = fetch(self.make(server, metrics=("governance_events",)))
        count = 0
        for name in ("AAVE", "UNI"):
            rows = fetched.of("governance_events", name)
            assert [row.event_time for row in rows] == ENDS.tolist()
            counts = [
                sum(
                    end - DAY <= at < end
                    and coin.name == name
                    and kind == "Governance"
                    and not is_global(at)
                    for at, coin, kind in governance(world, NOW)
                )
                for end in ENDS.tolist()
            ]
            assert [row.value for row in rows] == counts
            count += sum(counts)
        assert count > 0

    def test_all_pages_of_events_come(
        self, server: Sandbox, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(messari, "_PAGE", 5)
        since = NOW // DAY * DAY - 30 * DAY
        fetched = fetch(self.make(server, metrics=("governance_events",)), since=since)
        assert [body["page"] for _, _, body in fetched.asked] == list(
            range(1, len(fetched.asked) + 1)
        )
        expected = governance(world, NOW)
        for name in ("AAVE", "UNI"):
            rows = fetched.of("governance_events", name)
            assert rows[0].event_time == since
            first, last = since - DAY, NOW // DAY * DAY
            count = sum(
                first <= at < last
                and coin.name == name
                and kind == "Governance"
                and not is_global(at)
                for at, coin, kind in expected
            )
            assert sum(row.value for row in rows) == count > 0

    def test_pages_that_repeat_end_and_count_once(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("governance_events",))
        whole = fetch(provider, since=NOW - 60 * DAY)
        server.fault({"kind": "cursor_loop"})
        fetched = fetch(provider, since=NOW - 60 * DAY)
        assert len(fetched.asked) == 2
        for name in ("AAVE", "UNI"):
            # The oldest day of the first page may go on on the second.
            rows = fetched.of("governance_events", name)[1:]
            assert rows == whole.of("governance_events", name)[-len(rows) :]

    def test_events_are_not_listed_back_for_ever(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("governance_events",), events_days=3)
        rows = fetch(provider).of("governance_events", "UNI")
        assert [row.event_time for row in rows] == ENDS[-3:].tolist()

    def test_what_unlocks_at_this_instant_is_no_longer_to_come(
        self, server: Sandbox, world: World
    ) -> None:
        midnight = NOW // DAY * DAY
        server.clock.move(midnight, 0)
        fetched = fetch(self.make(server, metrics=("unlock_share",)), now=midnight)
        days = midnight + np.arange(1, 31) * DAY
        (row,) = fetched.of("unlock_share", "UNI")
        assert row.value == pytest.approx(locked_share(world.coin["UNI"], days).sum())

    def test_a_null_is_no_value(self, server: Sandbox) -> None:
        server.fault({"kind": "null_field", "field": "1"})
        fetched = fetch(self.make(server, metrics=("tvl_usd", "fees_usd")))
        assert fetched.error is None
        assert {row.metric for row in fetched.rows} == {"fees_usd"}

    def test_a_missing_column_is_an_error(self, server: Sandbox) -> None:
        extra = {"tvl_usd": {"path": "tvl"}}
        fetched = fetch(self.make(server, metrics=("tvl_usd",), series=extra))
        assert isinstance(fetched.error, SchemaChangedError)
