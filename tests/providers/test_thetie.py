"""The TIE against the sandbox."""

from statistics import fmean
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.components.provider import FactKey
from weft.foundation.times import DAY, HOUR, SECOND, parse_time
from weft.sources.http import SchemaChangedError
from weft_providers.thetie import TheTie
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World
from weft_sandbox.protocols.thetie import entities

MIDNIGHT = NOW // DAY * DAY


def last_scores(world: World, asset: str, day: int) -> list[float]:
    """The tone of the items about an asset that were scored on a day, the last score of each."""
    scores = {}
    for item in world.news(day - DAY, day + DAY, asset):
        if day <= item.time + 40 * SECOND < day + DAY:
            scores[item.number] = item.sentiment
        if item.number % 11 == 0 and day <= item.time + 3 * HOUR < day + DAY:
            scores[item.number] = min(item.sentiment + 0.05, 1.0)
    return list(scores.values())


class TestTheTie(Sandboxed):
    provider = TheTie
    drift = "sentiment_score"
    unknown: ClassVar[dict[str, Any]] = {"sentiment_path": "/v1/nosuch"}

    @pytest.mark.parametrize("asset", ["BTC", "ETH"])
    def test_a_day_has_the_mean_tone_of_its_items(
        self, server: Sandbox, world: World, asset: str
    ) -> None:
        fetched = fetch(self.make(server))
        tone, volume = fetched.of("news_sentiment", asset), fetched.of("news_volume", asset)
        assert [row.event_time for row in volume] == [
            MIDNIGHT - back * DAY for back in (5, 4, 3, 2, 1, 0)
        ]
        for row in volume:
            assert row.value == len(last_scores(world, asset, row.event_time - DAY))
        for row in tone:
            expected = fmean(last_scores(world, asset, row.event_time - DAY))
            assert row.value == pytest.approx(expected, abs=2e-3)
            assert -1 <= row.value <= 1
        assert {row.known_at - row.event_time for row in (*tone, *volume)} == {HOUR}

    def test_days_beyond_the_answer_are_left_out(self, server: Sandbox) -> None:
        few = fetch(self.make(server, items_per_request=150), since=NOW - 9 * DAY)
        url = server.url("thetie") + "/v1/news_sentiment?limit=150"
        rows = httpx.get(url, headers={"Authorization": "Bearer k"}).json()["data"]
        oldest = parse_time(f"{rows[-1]['timestamp'].replace(' ', 'T')}Z")
        days = few.of("news_volume")
        assert [row.event_time for row in days] == list(
            range(-(-oldest // DAY) * DAY + DAY, MIDNIGHT + 1, DAY)
        )
        assert days == fetch(self.make(server)).of("news_volume")[-len(days) :]

    def test_a_day_without_news_has_a_count_and_no_tone(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, assets=("PEPE",)))
        quiet = {row.event_time for row in fetched.of("news_volume", "PEPE") if not row.value}
        assert quiet
        assert not quiet & {row.event_time for row in fetched.of("news_sentiment", "PEPE")}

    def test_the_coins_of_an_item_are_requested_once(self, server: Sandbox) -> None:
        provider = self.make(server)
        first, second = fetch(provider), fetch(provider)
        assert len(first.asked) > 3
        assert len(second.asked) == 1
        assert second.rows == first.rows

    def test_a_score_on_another_scale_is_an_error(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server, neutral_score=50.0, score_span=50.0))
        assert all(-1 <= row.value < -0.8 for row in fetched.rows if "sent" in row.metric)
        fetched = fetch(self.make(server, neutral_score=0.5, score_span=0.5))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_an_answer_about_other_items_is_an_error(self, server: Sandbox) -> None:
        server.fault({"kind": "cursor_loop", "path": "/v1/news_metadata"})
        fetched = fetch(self.make(server))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_an_asset_without_any_news_has_no_values(self, server: Sandbox) -> None:
        provider = self.make(server, assets=("BTC", "NOSUCH"))
        fetched = fetch(provider)
        assert fetched.error is None
        assert {row.entity for row in fetched.rows} == {"BTC"}
        (problem,) = fetched.problems
        assert problem.startswith("NOSUCH: unknown")
        # News about it may follow: each round looks again, and the line is not repeated.
        assert fetch(provider).problems == []

    def test_an_asset_with_earlier_news_stays_known(self, server: Sandbox) -> None:
        known = {FactKey("news_volume", "asset", "NOSUCH"): NOW - 5 * DAY}
        fetched = fetch(self.make(server, assets=("NOSUCH",)), known=known)
        assert fetched.problems == []
        assert {row.value for row in fetched.of("news_volume", "NOSUCH")} == {0.0}

    def test_a_share_is_of_all_items_of_the_day(self, server: Sandbox, world: World) -> None:
        rows = fetch(self.make(server, metrics=("news_dominance",))).of("news_dominance")
        assert len(rows) == 6
        for row in rows:
            day = row.event_time - DAY
            every = sum(len(last_scores(world, asset, day)) for asset in world.coin)
            assert row.value == pytest.approx(len(last_scores(world, "BTC", day)) / every)

    def test_names_are_counted_once_a_day_if_the_config_names_their_field(
        self, server: Sandbox, world: World
    ) -> None:
        assert fetch(self.make(server, metrics=("news_entities",))).asked == []
        options = {"news_entities": {"path": "entities"}}
        rows = fetch(self.make(server, metrics=tuple(options), series=options)).of("news_entities")
        assert len(rows) == 6
        for row in rows:
            day = row.event_time - DAY
            items = [
                item
                for item in world.news(day - DAY, day + DAY, "BTC")
                if day <= item.time + 40 * SECOND < day + DAY
                or (item.number % 11 == 0 and day <= item.time + 3 * HOUR < day + DAY)
            ]
            assert row.value == len({name for item in items for name in entities(item)})

    def test_posts_are_requested_if_the_config_names_their_path(
        self, server: Sandbox, world: World
    ) -> None:
        metrics = ("social_sentiment", "social_volume", "social_dominance")
        unnamed = self.make(server, metrics=metrics)
        assert fetch(unnamed).asked == []
        assert set(metrics) < unnamed.waiting().keys()
        options = dict(zip(metrics, ("sentiment_score", "tweet_volume", "dominance"), strict=True))
        named: dict[str, Any] = {
            m: {"path": f"/v1/social_sentiment.{f}"} for m, f in options.items()
        }
        named["social_dominance"]["factor"] = 0.01
        fetched = fetch(self.make(server, metrics=metrics, series=named))
        assert [path for _, path, _ in fetched.asked] == ["/v1/social_sentiment"] * 2
        ends = np.arange(MIDNIGHT - 5 * DAY, MIDNIGHT + 1, DAY)
        for metric in metrics:
            rows = fetched.of(metric, "ETH")
            assert [row.event_time for row in rows] == ends.tolist()
            truth = world.series(metric, "ETH", ends - 20 * SECOND)
            truth = np.rint(truth) if metric == "social_volume" else truth
            assert [row.value for row in rows] == pytest.approx(truth)
            assert {row.known_at - row.event_time for row in rows} == {HOUR}

    def test_posts_of_an_unknown_asset_are_reported(self, server: Sandbox) -> None:
        named = {"social_sentiment": {"path": "/v1/social_sentiment.sentiment_score"}}
        provider = self.make(server, metrics=tuple(named), series=named, assets=("NOSUCH",))
        (problem,) = fetch(provider).problems
        assert problem.startswith("social_sentiment NOSUCH: ")
        assert fetch(provider).asked == []

    def test_posts_on_another_scale_are_an_error(self, server: Sandbox) -> None:
        named = {"social_sentiment": {"path": "/v1/social_sentiment.tweet_volume"}}
        fetched = fetch(self.make(server, metrics=tuple(named), series=named))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []
