"""LunarCrush against the sandbox."""

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, SINCE, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import SchemaChangedError, UnauthorisedError
from weft_providers import lunarcrush
from weft_providers.lunarcrush import LunarCrush
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World
from weft_sandbox.protocols.lunarcrush import social

ENDS = np.arange(-(-SINCE // DAY) * DAY, NOW // DAY * DAY + 1, DAY)


class TestLunarCrush(Sandboxed):
    provider = LunarCrush
    drift = "sentiment"
    drifting = ("social_sentiment",)

    def test_days_in_canonical_units(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        expected = social(world, world.coin["BTC"], ENDS)
        truths = {
            "social_sentiment": world.series("social_sentiment", "BTC", ENDS),
            "social_dominance": world.series("social_dominance", "BTC", ENDS),
            "social_volume": world.series("social_volume", "BTC", ENDS),
            "influencers": expected["contributors_created"],
            "spam_share": expected["spam"] / expected["posts_created"],
        }
        for metric, truth in truths.items():
            rows = fetched.of(metric)
            assert [row.event_time for row in rows] == ENDS.tolist(), metric
            assert {row.known_at - row.event_time for row in rows} == {HOUR}
            # The source rounds to whole percent and whole posts.
            near = {"social_sentiment": 0.0101, "social_volume": 0.51}.get(metric, 1e-9)
            assert [row.value for row in rows] == pytest.approx(truth.tolist(), abs=near), metric
        sentiment = [row.value for row in fetched.of("social_sentiment")]
        assert all(-1 <= value <= 1 for value in sentiment)
        assert np.sign(sentiment) == pytest.approx(np.sign(truths["social_sentiment"]), abs=1)

    def test_scores_are_those_of_now(self, server: Sandbox, world: World) -> None:
        fetched = fetch(self.make(server))
        for name in ("BTC", "ETH"):
            expected = social(world, world.coin[name], np.array([NOW]))
            for metric in ("galaxy_score", "alt_rank"):
                (row,) = fetched.of(metric, name)
                assert (row.event_time, row.known_at, row.value) == (NOW, NOW, expected[metric][0])
        assert sum("/coins/list/" in path for _, path, _ in fetched.asked) == 1

    def test_scores_by_day_where_wanted(self, server: Sandbox, world: World) -> None:
        options = {"galaxy_score": {"step": "1d", "extra": {"now": False}}}
        fetched = fetch(self.make(server, series=options))
        expected = social(world, world.coin["BTC"], ENDS)["galaxy_score"]
        assert [row.value for row in fetched.of("galaxy_score")] == expected.tolist()
        assert len(fetched.of("alt_rank")) == 1

    def test_all_pages_of_the_list_come(
        self, server: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lunarcrush, "_PAGE", 3)
        provider = self.make(server, metrics=("alt_rank",), assets=("BTC", "ADA", "PEPE"))
        fetched = fetch(provider)
        assert {row.entity for row in fetched.rows} == {"BTC", "ADA", "PEPE"}
        assert [params["page"] for _, _, params in fetched.asked] == [0, 1, 2, 3, 4, 5, 6]

    def test_a_coin_that_is_not_listed_does_not_cost_the_others_theirs(
        self, server: Sandbox
    ) -> None:
        provider = self.make(server, metrics=("alt_rank",), assets=("BTC", "NOSUCH"))
        fetched = fetch(provider)
        assert {row.entity for row in fetched.rows} == {"BTC"}
        (problem,) = fetched.problems
        assert problem.startswith("alt_rank NOSUCH")
        assert fetch(provider).problems == []

    def test_an_empty_list_gives_up_no_coin(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("alt_rank",))
        server.fault({"kind": "empty_rows"})
        assert fetch(provider).problems == []
        server.heal()
        assert len(fetch(provider).rows) == 2

    def test_coins_may_be_named_by_number(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, ids={"BTC": "2"}, assets=("BTC", "ETH")))
        for metric in LunarCrush.metrics:
            values = [[row.value for row in fetched.of(metric, n)] for n in ("BTC", "ETH")]
            assert values[0] == values[1] != []

    def test_early_days_lack_what_was_not_judged(self, server: Sandbox) -> None:
        since = parse_time("2020-07-01T00:00:00Z")
        fetched = fetch(self.make(server), since=since)
        assert fetched.of("social_volume")[0].event_time == since
        assert fetched.of("spam_share")[0].event_time > since + 10 * DAY
        assert all(row.value >= 0 for row in fetched.of("spam_share"))

    def test_a_day_that_was_running_at_generation_is_left_out(self, server: Sandbox) -> None:
        # The answer is a day old.
        rows = fetch(self.make(server), now=NOW + DAY).of("social_volume")
        assert rows[-1].event_time == ENDS[-1]

    def test_a_list_with_another_schema_is_an_error(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": "alt_rank"})
        fetched = fetch(self.make(server, metrics=("alt_rank",)))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_the_plan_sets_the_limits(self, server: Sandbox) -> None:
        limits = self.make(server, requests_per_minute=4, requests_per_day=100).web
        assert limits is not None
        assert [(limit.units, limit.seconds) for limit in limits.limits] == [(4, 60), (100, 86_400)]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"error": "Coin not found"}, "UnlistedSymbolError"),
        ({"error": "upgrade your plan"}, "NotCoveredError"),
        ({"error": "rate limit reached"}, "RateLimitedError"),
        ({"error": "try later"}, "UnavailableError"),
    ],
)
def test_an_error_may_come_as_a_success(body: dict[str, str], name: str) -> None:
    assert LunarCrush.web.classify is not None
    kind = LunarCrush.web.classify(200, body, {})
    assert kind is not None
    assert kind.__name__ == name
    assert not issubclass(kind, UnauthorisedError)
