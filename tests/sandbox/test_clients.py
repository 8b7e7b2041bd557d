"""Third-party clients work against the sandbox with only another base URL."""

from typing import Any

import pytest

from tests.sandbox.conftest import NOW
from weft_sandbox import Sandbox

pytestmark = pytest.mark.slow


def exchange(name: str, urls: dict[str, Any], **options: Any) -> Any:
    ccxt = pytest.importorskip("ccxt")
    instance = getattr(ccxt, name)({"options": options})
    instance.urls["api"] = urls if name != "binance" else {**instance.urls["api"], **urls}
    instance.has["fetchCurrencies"] = False
    return instance


def test_ccxt_binance(frozen: Sandbox) -> None:
    base = frozen.url("binance")
    urls = {
        "public": f"{base}/api/v3",
        "fapiPublic": f"{base}/fapi/v1",
        "fapiData": f"{base}/futures/data",
    }
    spot = exchange("binance", urls, defaultType="spot", fetchMarkets={"types": ["spot"]})
    spot.load_markets()
    rows = spot.fetch_ohlcv("BTC/USDT", "1h", limit=1000)
    assert len(rows) == 1000
    assert rows[-1][0] <= NOW // 1000
    assert spot.market("BTC/USDT")["precision"]["price"] == 0.01
    assert spot.fetch_ticker("ETH/USDT")["bid"] > 0
    assert len(spot.fetch_order_book("ETH/USDT", 100)["bids"]) == 100
    assert spot.fetch_trades("ETH/USDT", limit=20)
    linear = exchange("binance", urls, defaultType="future", fetchMarkets={"types": ["linear"]})
    linear.load_markets()
    assert len(linear.fetch_ohlcv("BTC/USDT:USDT", "1h", limit=100)) == 100
    assert linear.fetch_funding_rate_history("BTC/USDT:USDT", limit=50)


def test_ccxt_bybit(frozen: Sandbox) -> None:
    base = frozen.url("bybit")
    client = exchange(
        "bybit",
        dict.fromkeys(("public", "private", "spot", "v2"), base),
        fetchMarkets={"types": ["spot", "linear"]},
    )
    client.load_markets()
    assert len(client.fetch_ohlcv("BTC/USDT:USDT", "1h", limit=200)) == 200
    assert client.fetch_ticker("BTC/USDT")["last"] > 0


def test_ccxt_coinbase(frozen: Sandbox) -> None:
    base = frozen.url("coinbase")
    client = exchange("coinbaseexchange", {"public": base, "private": base})
    client.load_markets()
    rows = client.fetch_ohlcv("BTC/USD", "1h", limit=100)
    assert rows == sorted(rows)
    assert client.fetch_ticker("BTC/USD")["bid"] > 0
