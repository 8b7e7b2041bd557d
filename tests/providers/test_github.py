"""GitHub's statistics against the sandbox."""

import asyncio
import random
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, WEEK, parse_time
from weft.sources.http import (
    Http,
    RateLimitedError,
    ResponseCache,
    UnavailableError,
    UnlistedSymbolError,
)
from weft_providers.github import GitHub
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

SUNDAY = parse_time("2024-03-17T00:00:00Z")


class TestGitHub(Sandboxed):
    provider = GitHub
    drift = "week"
    planned = False
    unknown: ClassVar[dict[str, Any]] = {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no/such"}}

    def test_stored_values_are_not_requested_before_they_are_due(self, server: Sandbox) -> None:
        provider = self.make(server)
        known = fetch(provider).known
        for later in (NOW, NOW + DAY, SUNDAY + 8 * DAY - 1):
            assert fetch(provider, now=later, known=known).asked == []
        due = SUNDAY + 8 * DAY + MINUTE
        server.clock.move(due, 0)
        again = fetch(provider, now=due, known=known)
        assert {row.event_time for row in again.of("dev_commits")} == {
            SUNDAY + WEEK * back for back in (1, 0, -1, -2, -3)
        }

    def test_an_answer_without_rows_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.make(server, metrics=("dev_commits",)))
        assert fetched.error is None
        assert fetched.rows == []

    def test_a_renamed_field_is_an_error_and_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": "week"})
        fetched = fetch(self.make(server, metrics=("dev_commits",)))
        assert "no .week" in str(fetched.error)
        assert fetched.rows == []

    def test_a_week_ends_on_sunday_and_is_known_a_day_later(
        self, server: Sandbox, world: World
    ) -> None:
        for asset in ("BTC", "ETH"):
            provider = self.make(server, assets=(asset,))
            rows = fetch(provider, since=NOW - 300 * DAY).of("dev_commits", asset)
            times = np.array([row.event_time for row in rows])
            assert times[-1] == SUNDAY
            assert set(np.diff(times).tolist()) == {WEEK}
            expected = world.series("developer_activity", asset, times)
            # Rounded once for each repository.
            assert [row.value for row in rows] == pytest.approx(expected, abs=1.01)
            assert {row.known_at - row.event_time for row in rows} == {DAY}

    def test_developers_are_people_with_commits_in_the_week(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server), since=NOW - 300 * DAY)
        commits = {row.event_time: row.value for row in fetched.of("dev_commits")}
        people = {row.event_time: row.value for row in fetched.of("active_developers")}
        assert commits.keys() == people.keys()
        assert people == {time: 2 + commits[time] // 8 for time in commits}

    def test_statistics_under_computation_are_waited_for(self, server: Sandbox) -> None:
        server.fault({"kind": "status", "status": 202, "count": 3})
        fetched = fetch(self.make(server))
        assert fetched.error is None
        assert len(fetched.rows) == 4

    def test_missing_statistics_are_not_zero(self, server: Sandbox) -> None:
        server.fault({"kind": "status", "status": 202, "path": "*/solidity/*"})
        provider = self.make(server)
        fetched = fetch(provider)
        assert isinstance(fetched.error, UnavailableError)
        assert {row.entity for row in fetched.rows} == {"BTC"}
        server.heal()
        assert {row.entity for row in fetch(provider).rows} == {"BTC", "ETH"}

    def test_the_sandbox_computes_after_each_push(self, server: Sandbox) -> None:
        start = NOW // HOUR * HOUR + 2 * SECOND
        server.clock.move(start, 0)
        fetched = fetch(self.make(server, metrics=("dev_commits",), assets=("BTC",)), now=start)
        assert isinstance(fetched.error, UnavailableError)
        assert fetched.rows == []

    def test_unchanged_statistics_are_not_sent_again(self, server: Sandbox, tmp_path: Path) -> None:
        async def twice() -> list[bool]:
            clock, seen = SimulatedClock(NOW), []
            web, url = GitHub(GitHub.Config()).web, server.url("github")
            async with (
                ResponseCache(tmp_path) as cache,
                Http(
                    web, name="github", clock=clock, rng=random.Random(1), base_url=url, cache=cache
                ) as http,
            ):
                for _ in range(2):
                    path = "/repos/bitcoin/bitcoin/stats/commit_activity"
                    answer = await http.get(path, ttl=60)
                    seen.append(answer.not_modified)
                    clock.advance_to(clock.now() + 61 * SECOND)
            return seen

        assert asyncio.run(twice()) == [False, True]

    def test_a_token_lifts_the_limit(self, server: Sandbox) -> None:
        assert self.make(server).web.limits[0].units == 5_000  # type: ignore[union-attr]  # what a fault may bring
        without = GitHub(GitHub.Config())
        assert without.web.limits[0].units == 60
        assert without.ready()

    def test_errors_by_status_and_message(self) -> None:
        classify = GitHub.web.classify
        assert classify is not None
        message = {"message": "API rate limit exceeded for ..."}
        assert classify(403, message, {}) is RateLimitedError
        assert classify(403, {"message": ""}, {"retry-after": "60"}) is RateLimitedError
        assert classify(403, {"message": "Resource not accessible"}, {}) is None
        assert classify(202, None, {}) is UnavailableError
        for status in (204, 404, 409):
            assert classify(status, None, {}) is UnlistedSymbolError
