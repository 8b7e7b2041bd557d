"""CoinGecko's recorded answers."""

from typing import Any

import pytest
from pydantic import SecretStr

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import UnauthorisedError
from weft.testing import Recorded, parse_recorded
from weft_providers.coingecko import CoinGecko

CHART = "/api/v3/coins/bitcoin/market_chart"
NOW = parse_time("2025-03-02T14:05:00Z")
MIDNIGHT = NOW // DAY * DAY


def make(**options: Any) -> CoinGecko:
    """Return the provider with the market cap of Bitcoin."""
    return CoinGecko(CoinGecko.Config(assets=("BTC",), metrics=("market_cap_usd",), **options))


@pytest.mark.parametrize(
    ("code", "plan", "message"),
    [
        (10010, "demo", "set providers.coingecko.plan: paid"),
        (10011, "paid", "set providers.coingecko.plan: demo"),
    ],
)
def test_a_key_at_the_wrong_host_is_named_with_the_host_it_belongs_to(
    code: int, plan: str, message: str
) -> None:
    refused = Recorded(status=400, body=body("coingecko_wrong_host_10010") | {"error_code": code})
    provider = make(plan=plan, api_key=SecretStr("a-key"))
    parsed = parse_recorded(provider, {CHART: refused}, now=NOW)
    assert isinstance(parsed.error, UnauthorisedError)
    assert message in str(parsed.error)
    assert len(parsed.asked) == 1
    assert parsed.facts == ()


def test_market_caps_of_midnights_in_any_order() -> None:
    stamps = [NOW // 1_000, *((MIDNIGHT - n * DAY) // 1_000 for n in range(4))]
    caps = [1.21e12, 1.2e12, None, 0, 1.1e12]
    rows = [list(pair) for pair in zip(stamps, caps, strict=True)]
    for listed in (rows, rows[::-1]):
        parsed = parse_recorded(make(), {CHART: {"market_caps": listed}}, now=NOW)
        assert (parsed.error, parsed.problems) == (None, ())
        result = [(fact.event_time, fact.value) for fact in parsed.of("market_cap_usd", "BTC")]
        assert result == [(MIDNIGHT - 3 * DAY, 1.1e12), (MIDNIGHT, 1.2e12)]
        assert {fact.known_at - fact.event_time for fact in parsed.facts} == {HOUR}
