"""The TIE against the sandbox."""

from statistics import fmean
from typing import Any, ClassVar

import httpx
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.http import SchemaChangedError
from weft.times import DAY, HOUR, SECOND, parse_time
from weft_app.sandbox import Sandbox
from weft_app.sandbox.world import World
from weft_providers.thetie import TheTie

MIDNIGHT = NOW // DAY * DAY


def told(world: World, asset: str, day: int) -> list[float]:
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
        fetched = fetch(self.made(server))
        tone, volume = fetched.of("news_sentiment", asset), fetched.of("news_volume", asset)
        assert [row.event_time for row in volume] == [
            MIDNIGHT - back * DAY for back in (5, 4, 3, 2, 1, 0)
        ]
        for row in volume:
            assert row.value == len(told(world, asset, row.event_time - DAY))
        for row in tone:
            expected = fmean(told(world, asset, row.event_time - DAY))
            assert row.value == pytest.approx(expected, abs=2e-3)
            assert -1 <= row.value <= 1
        assert {row.known_at - row.event_time for row in (*tone, *volume)} == {HOUR}

    def test_days_beyond_the_answer_are_left_out(self, server: Sandbox) -> None:
        few = fetch(self.made(server, items_per_request=150), since=NOW - 9 * DAY)
        url = server.url("thetie") + "/v1/news_sentiment?limit=150"
        rows = httpx.get(url, headers={"Authorization": "Bearer k"}).json()["data"]
        oldest = parse_time(f"{rows[-1]['timestamp'].replace(' ', 'T')}Z")
        days = few.of("news_volume")
        assert [row.event_time for row in days] == list(
            range(-(-oldest // DAY) * DAY + DAY, MIDNIGHT + 1, DAY)
        )
        assert days == fetch(self.made(server)).of("news_volume")[-len(days) :]

    def test_a_day_without_news_has_a_count_and_no_tone(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server, assets=("PEPE",)))
        quiet = {row.event_time for row in fetched.of("news_volume", "PEPE") if not row.value}
        assert quiet
        assert not quiet & {row.event_time for row in fetched.of("news_sentiment", "PEPE")}

    def test_what_items_are_about_is_asked_once(self, server: Sandbox) -> None:
        provider = self.made(server)
        first, second = fetch(provider), fetch(provider)
        assert len(first.asked) > 3
        assert len(second.asked) == 1
        assert second.rows == first.rows

    def test_a_score_on_another_scale_is_another_form(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server, neutral_score=50.0, score_span=50.0))
        assert all(-1 <= row.value < -0.8 for row in fetched.rows if "sent" in row.metric)
        fetched = fetch(self.made(server, neutral_score=0.5, score_span=0.5))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_an_answer_about_other_items_is_no_answer(self, server: Sandbox) -> None:
        server.fault({"kind": "cursor_loop", "path": "/v1/news_metadata"})
        fetched = fetch(self.made(server))
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []
