"""Recorded answers of exchanges."""

from pathlib import Path

from tests.providers.recorded import body
from weft.foundation.times import HOUR, MINUTE, SECOND, parse_time
from weft.sources.http import BannedError, RateLimitedError
from weft.testing import Recorded, parse_recorded
from weft_providers.binance.futures import BinanceFutures
from weft_providers.bybit import Bybit

OPEN_INTEREST = "/v5/market/open-interest"
FUNDING = "/fapi/v1/fundingRate"
NOW = parse_time("2024-03-05T00:30:00Z")


def bybit(*metrics: str) -> Bybit:
    """Return the provider with some metrics of one contract."""
    return Bybit(Bybit.Config(only="metrics", metrics=metrics, symbols=("BTCUSDT",)))


def test_bybit_sends_a_cursor_back_as_it_came() -> None:
    first = body("bybit_open_interest_cursor")
    second = body("bybit_open_interest_cursor")
    row = {"openInterest": "10", "singleOpenInterest": "5", "timestamp": "1709589600000"}
    second["result"] |= {"list": [row], "nextPageCursor": ""}
    answers = {OPEN_INTEREST: (first, second)}
    parsed = parse_recorded(bybit("open_interest"), answers, now=NOW, days=2)
    assert (parsed.error, parsed.problems) == (None, ())
    assert "cursor=lastid%3D0%26lasttime%3D1709589600" in parsed.asked[1].url
    facts = parsed.of("open_interest", "BTCUSDT")
    # Coins of one side, not of both.
    assert [(fact.event_time, fact.value) for fact in facts] == [
        (1_709_589_600 * SECOND, 5.0),
        (1_709_593_200 * SECOND, 230567.192),
    ]
    assert {fact.known_at - fact.event_time for fact in facts} == {HOUR}


def test_bybit_loses_one_row_alone() -> None:
    answer = body("bybit_open_interest_cursor")
    broken = {"openInterest": "1", "singleOpenInterest": None, "timestamp": "1709589600000"}
    answer["result"] |= {"list": [*answer["result"]["list"], broken], "nextPageCursor": ""}
    parsed = parse_recorded(bybit("open_interest"), {OPEN_INTEREST: answer}, now=NOW, days=2)
    assert parsed.error is None
    assert len(parsed.facts) == 1
    assert "1 of 2 rows left out" in parsed.problems[0]


def test_bybit_names_the_end_of_a_limit_in_a_header() -> None:
    lifted = (NOW + 10 * MINUTE) // 1_000
    headers = {"X-Bapi-Limit-Reset-Timestamp": str(lifted)}
    said = {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": 1}
    answers = {OPEN_INTEREST: Recorded(body=said, headers=headers)}
    parsed = parse_recorded(bybit("open_interest"), answers, now=NOW)
    assert isinstance(parsed.error, RateLimitedError)
    assert parsed.error.retry_after_seconds == 600.0


def test_binance_names_the_end_of_a_ban_and_the_next_process_keeps_to_it(tmp_path: Path) -> None:
    until = NOW + 2 * HOUR + 17 * MINUTE
    said = (
        f"Way too much request weight used; IP(203.0.113.7) banned until {until // 1_000}. Please"
    )
    for status in (418, 429):
        answers = {FUNDING: Recorded(status=status, body={"code": -1003, "msg": said})}
        provider = BinanceFutures(
            BinanceFutures.Config(
                only="metrics", metrics=("funding_rate",), symbols=("BTCUSDT", "ETHUSDT")
            )
        )
        cache = tmp_path / str(status)
        banned = parse_recorded(provider, answers, now=NOW, cache=cache)
        assert isinstance(banned.error, BannedError)
        assert banned.error.retry_after_seconds == 8_220.0
        later = parse_recorded(provider, answers, now=until - SECOND, cache=cache)
        assert isinstance(later.error, BannedError)
        assert later.asked == ()
        over = parse_recorded(provider, {FUNDING: []}, now=until + SECOND, cache=cache)
        assert over.error is None
        assert len(over.asked) == 2
