"""FRED against the sandbox, vintage by vintage."""

from typing import Any, ClassVar

import numpy as np
import pytest

from tests.providers.sandboxed import NOW, Sandboxed, fetch
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import UnauthorisedError, UnavailableError, UnlistedSymbolError
from weft_providers.fred import Fred
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World
from weft_sandbox.protocols.fred import ARCHIVE

NAMES = {"vix": "vix", "dollar_index": "dxy", "treasury_10y": "us10y", "fed_funds": "fed_funds"}
TUESDAY = parse_time("2024-03-19T00:00:00Z")


class TestFred(Sandboxed):
    provider = Fred
    drift = "value"
    planned = False
    unknown: ClassVar[dict[str, Any]] = {"series": {"vix": {"path": "NO"}}, "metrics": ("vix",)}

    def test_stored_values_are_not_requested_before_they_are_due(self, server: Sandbox) -> None:
        provider = self.make(server)
        known = fetch(provider).known
        assert fetch(provider, known=known).asked == []
        server.clock.move(NOW + DAY, 0)
        again = fetch(provider, now=NOW + DAY, known=known)
        # The dollar index comes but once a week.
        assert {p["series_id"] for _, _, p in again.asked} == {"VIXCLS", "DGS10", "DFF"}
        assert again.of("vix", "")[-1].event_time == TUESDAY + DAY

    @pytest.mark.parametrize("metric", sorted(NAMES))
    def test_a_value_is_of_the_end_of_its_day(
        self, server: Sandbox, world: World, metric: str
    ) -> None:
        fetched = fetch(self.make(server, metrics=(metric,)), since=NOW - 60 * DAY)
        rows = fetched.of(metric, "")
        first = {row.event_time: row for row in reversed(rows)}
        days = np.array(sorted(first))
        assert set((days % DAY).tolist()) == {0}
        percent = metric in {"treasury_10y", "fed_funds"}
        expected = world.series(NAMES[metric], None, days) * (0.01 if percent else 1)
        tolerance = 6e-5 if percent else 6e-3
        assert [first[day].value for day in days.tolist()] == pytest.approx(expected, abs=tolerance)
        assert (len(first) > 55) == (metric == "fed_funds")

    def test_a_vintage_is_known_at_the_end_of_the_day_of_loading(self, server: Sandbox) -> None:
        row = fetch(self.make(server)).of("vix", "")[-1]
        assert row.event_time == parse_time("2024-03-19T00:00:00Z")
        assert row.known_at == parse_time("2024-03-20T06:00:00Z")
        index = fetch(self.make(server)).of("dollar_index", "")
        # Friday's value was published on Monday, with those of the days before.
        assert index[-1].event_time == parse_time("2024-03-16T00:00:00Z")
        assert {row.known_at for row in index} == {parse_time("2024-03-19T06:00:00Z")}

    def test_every_vintage_of_a_value_is_a_row(self, server: Sandbox, world: World) -> None:
        provider = self.make(server, metrics=("dollar_index",))
        rows = fetch(provider, since=NOW - 200 * DAY).of("dollar_index", "")
        day = parse_time("2023-11-02T00:00:00Z")
        first, second = [row for row in rows if row.event_time == day]
        assert first.known_at == parse_time("2023-11-07T06:00:00Z")
        assert second.known_at == parse_time("2024-02-20T06:00:00Z")
        assert second.value == pytest.approx(first.value * 1.002, abs=1e-3)

    def test_the_first_vintages_of_the_archive_are_known_after_the_usual_lag(
        self, server: Sandbox
    ) -> None:
        since = ARCHIVE - 300 * DAY
        rows = fetch(self.make(server, metrics=("vix",)), since=since).of("vix", "")
        early = [row for row in rows if row.event_time < ARCHIVE - 40 * DAY]
        assert len(early) > 150
        assert {row.known_at - row.event_time for row in early} == {30 * HOUR}
        assert all(row.known_at >= row.event_time + 30 * HOUR for row in rows)

    def test_pages_are_read_to_the_end(self, server: Sandbox) -> None:
        small = fetch(self.make(server, page_size=7), since=NOW - 90 * DAY)
        assert len(small.asked) > 20
        whole = fetch(self.make(server), since=NOW - 90 * DAY)
        assert sorted(small.rows) == sorted(whole.rows)

    def test_new_vintages_of_the_weeks_before_are_looked_for(self, server: Sandbox) -> None:
        provider = self.make(server, metrics=("treasury_10y",))
        known = fetch(provider, since=NOW - 60 * DAY).known
        server.clock.move(NOW + DAY, 0)
        again = fetch(provider, now=NOW + DAY, since=NOW - 60 * DAY, known=known)
        assert min(row.event_time for row in again.rows) < NOW - 30 * DAY
        (asked,) = again.asked
        assert asked[2]["observation_start"] == asked[2]["realtime_start"] == "2024-02-14"

    def test_a_holiday_is_left_out(self, server: Sandbox) -> None:
        since = parse_time("2023-12-22T00:00:00Z")
        rows = fetch(self.make(server, metrics=("vix",)), since=since).of("vix", "")
        christmas = parse_time("2023-12-25T00:00:00Z")
        assert christmas + DAY not in {row.event_time for row in rows}
        assert christmas + 2 * DAY in {row.event_time for row in rows}

    def test_errors_by_status_and_message(self) -> None:
        classify = Fred.web.classify
        assert classify is not None
        for status, message, kind in (
            (400, "Bad Request.  The value for variable api_key is wrong", UnauthorisedError),
            (400, "Bad Request.  The series does not exist.", UnlistedSymbolError),
            (400, "Bad Request.  Variable limit is wrong", None),
            (423, "Locked", UnavailableError),
        ):
            assert classify(status, {"error_message": message}, {}) is kind
