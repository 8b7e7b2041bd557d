"""The Fear & Greed Index against the sandbox."""

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, MINUTE
from weft.sources.http import UnavailableError
from weft_providers.alternative_me import AlternativeMe
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

MIDNIGHT = NOW // DAY * DAY


class TestAlternativeMe(Sandboxed):
    provider = AlternativeMe
    drift = "timestamp"
    keyed = False
    planned = False

    def test_an_unknown_asset_is_reported_and_not_requested_again(self, server: Sandbox) -> None:
        pytest.skip("it is asked about the market alone")

    def test_the_event_time_is_the_midnight_of_publication(
        self, server: Sandbox, world: World
    ) -> None:
        rows = fetch(self.make(server), since=NOW - 400 * DAY).of("fear_greed", "")
        times = np.array([row.event_time for row in rows])
        assert times.tolist() == list(range(MIDNIGHT - 399 * DAY, MIDNIGHT + 1, DAY))
        assert [row.value for row in rows] == np.rint(
            world.series("fear_greed", None, times)
        ).tolist()
        assert {row.known_at - row.event_time for row in rows} == {15 * MINUTE}

    def test_the_value_of_today_counts_a_quarter_of_an_hour_after_midnight(
        self, server: Sandbox
    ) -> None:
        for late, newest in ((15 * MINUTE, MIDNIGHT), (15 * MINUTE - 1, MIDNIGHT - DAY)):
            server.clock.move(MIDNIGHT + late, 0)
            result = fetch(self.make(server), now=MIDNIGHT + late).of("fear_greed", "")
            assert result[-1].event_time == newest

    def test_only_due_values_are_requested(self, server: Sandbox) -> None:
        provider = self.make(server)
        known = fetch(provider).known
        server.clock.move(NOW + DAY, 0)
        asked = fetch(provider, now=NOW + DAY, known=known).asked
        assert [params["limit"] for _, _, params in asked] == [6]
        assert fetch(provider, now=MIDNIGHT + 23 * HOUR, known=known).asked == []

    def test_an_error_with_status_200_is_an_error(self) -> None:
        assert AlternativeMe.web is not None
        assert AlternativeMe.web.classify is not None
        message = {"data": None, "metadata": {"error": "try again"}}
        assert AlternativeMe.web.classify(200, message, {}) is UnavailableError
