"""Parts of file names: symbol, interval, venue and kind."""

import pytest

from weft_providers.files.names import name_pattern, parse_name

NAMES = {
    "BTCUSDT.csv": ("BTCUSDT", None, "", ""),
    "AAPL.csv": ("AAPL", None, "", ""),
    "BTC-USD.csv": ("BTC-USD", None, "", ""),
    "BRK-B.csv": ("BRK-B", None, "", ""),
    "^GSPC.csv": ("^GSPC", None, "", ""),
    "H.csv": ("H", None, "", ""),
    "600000.csv": ("600000", None, "", ""),
    "stocks/200002.csv": ("200002", None, "", ""),
    "daily prices of apple.csv": ("daily prices of apple", None, "", ""),
    "BTCUSDT-1h-2026-10.csv": ("BTCUSDT", "1h", "", ""),
    "BTCUSDT-1h-2026-10-05.zip": ("BTCUSDT", "1h", "", ""),
    "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-10.zip": ("BTCUSDT", "1h", "", ""),
    "BTCUSDT/1h/2026-10.csv": ("BTCUSDT", "1h", "", ""),
    "BTC-USDT/1h.csv": ("BTC-USDT", "1h", "", ""),
    "BTC_USDT_USDT-1h-futures.feather": ("BTCUSDT", "1h", "", "perpetual"),
    "BTC_USDT-5m.json.gz": ("BTCUSDT", "5m", "", ""),
    "BINANCE_BTCUSDT, 60.csv": ("BTCUSDT", "1h", "binance", ""),
    "BINANCE_BTCUSDT.P, 1D_a1b2c.csv": ("BTCUSDT", "1d", "binance", "perpetual"),
    "NASDAQ_AAPL, 1D (2).csv": ("AAPL", "1d", "nasdaq", ""),
    "Binance_BTCUSDT_d.csv": ("BTCUSDT", "1d", "binance", ""),
    "Bitstamp_BTCUSD_2021_minute.csv": ("BTCUSD", "1m", "bitstamp", ""),
    "XBTUSD_60.csv": ("XBTUSD", "1h", "", ""),
    "EURUSD_H1_202301020000_202312292300.csv": ("EURUSD", "1h", "", ""),
    "DAT_ASCII_EURUSD_M1_2023.csv": ("EURUSD", "1m", "", ""),
    "EURUSD_Candlestick_1_Hour_BID_01.01.2023-31.12.2023.csv": ("EURUSD", "1h", "", ""),
    "AAPL_full_1hour_adjsplit.txt": ("AAPL", "1h", "", ""),
    "bitstampUSD_1-min_data_2012-01-01_to_2021-03-31.csv": ("bitstampUSD", "1m", "", ""),
    "SPY_2024.csv": ("SPY", None, "", ""),
    "somewhere/2024-01-05.csv.gz": ("", None, "", ""),
}


@pytest.mark.parametrize("path", NAMES)
def test_name_gives_symbol_interval_venue_and_kind(path: str) -> None:
    parts = parse_name(path)
    assert parts is not None
    interval = parts.interval.name if parts.interval else None
    assert (parts.symbol, interval, parts.venue, parts.kind) == NAMES[path]


@pytest.mark.parametrize(
    ("pattern", "path", "symbol"),
    [
        ("{symbol}-{interval}-{year}-{month}", "BTCUSDT-1h-2026-10.csv", "BTCUSDT"),
        ("{any}/{base}_{quote}", "spot/BTC_USDT.csv", "BTCUSDT"),
        (r"(?P<symbol>[A-Z]+)\.us", "daily/AAPL.us.txt", "AAPL"),
        ("EURUSD", "whatever.csv", "EURUSD"),
        ("BRK.B", "whatever.csv", "BRK.B"),
        ("{symbol}-{interval}", "prices.csv", None),
    ],
)
def test_pattern_gives_the_symbol(pattern: str, path: str, symbol: str | None) -> None:
    parts = parse_name(path, name_pattern(pattern))
    assert (parts and parts.symbol) == symbol
