"""FRED's recorded answers."""

from collections.abc import Mapping
from typing import Any

from tests.providers.recorded import body
from weft.foundation.times import HOUR, parse_time
from weft.testing import Recorded, parse_recorded
from weft_providers.fred import Fred

OBSERVATIONS = "/fred/series/observations"
NOW = parse_time("2025-12-30T12:00:00Z")


def answer(*rows: tuple[str, str, str]) -> Mapping[str, Any]:
    """Return observations as FRED gives them: date, first day of the vintage, value."""
    listed = [
        {"realtime_start": since, "realtime_end": "9999-12-31", "date": date, "value": value}
        for date, since, value in rows
    ]
    return {"count": len(listed), "offset": 0, "limit": 100_000, "observations": listed}


def test_a_period_with_too_many_vintages_is_split() -> None:
    """A vintage that goes on in the next part, where it seems to begin, is one vintage."""
    answers = {
        OBSERVATIONS: Recorded(status=400, body=body("fred_vintage_limit_400")),
        f"{OBSERVATIONS}?realtime_start=2015-12-31&realtime_end=2020-12-29": answer(
            ("2015-12-31", "2016-01-04", "18.21"),
            ("2016-01-01", "2016-01-04", "."),
            ("2016-01-04", "2016-01-05", "20.70"),
        ),
        f"{OBSERVATIONS}?realtime_start=2020-12-30&realtime_end=2023-06-30": answer(
            ("2015-12-31", "2020-12-30", "18.21"),
            ("2016-01-01", "2020-12-30", "."),
            ("2016-01-04", "2021-03-01", "20.75"),
            ("2016-01-04", "2020-12-30", "20.70"),
        ),
        f"{OBSERVATIONS}?realtime_start=2023-07-01": answer(
            ("2015-12-31", "2023-07-01", "18.21"),
            ("2016-01-04", "2023-07-01", "20.75"),
            ("2025-12-29", "2025-12-30", "14.20"),
        ),
    }
    provider = Fred(Fred.Config(metrics=("vix",)))
    days = (NOW - parse_time("2016-01-01T00:00:00Z")) / (24 * HOUR)
    parsed = parse_recorded(provider, answers, now=NOW, days=days)
    assert (parsed.error, parsed.problems) == (None, ())
    result = [(fact.event_time, fact.known_at, fact.value) for fact in parsed.of("vix")]
    at = [parse_time(f"{day}T00:00:00Z") for day in ("2016-01-01", "2016-01-05")]
    known = [parse_time(f"{day}T06:00:00Z") for day in ("2016-01-05", "2016-01-06", "2021-03-02")]
    # The newest was loaded today at an unknown hour, so it is not known before tomorrow.
    assert result == [(at[0], known[0], 18.21), (at[1], known[1], 20.70), (at[1], known[2], 20.75)]


def test_a_broken_observation_costs_itself() -> None:
    rows = answer(("2025-12-22", "2025-12-23", "14.1"), ("2025-12-23", "2025-12-24", "n/a"))
    provider = Fred(Fred.Config(metrics=("vix",)))
    parsed = parse_recorded(provider, {OBSERVATIONS: rows}, now=NOW, days=10)
    assert parsed.error is None
    assert [fact.value for fact in parsed.of("vix")] == [14.1]
    assert "1 of 2 rows left out" in parsed.problems[0]
