"""Instruments: what a name says, and how sources' own names are told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.domain.instruments import (
    ALWAYS_OPEN,
    SESSIONS,
    Instrument,
    InstrumentTable,
    Kind,
    describe,
    find_spelling,
    split_pair,
    unsettled,
)
from weft.domain.names import FIAT
from weft.foundation.errors import DataError, UnknownSymbolError

BTC = Instrument(symbol="BTCUSDT", base="BTC", quote="USDT")
ETH = Instrument(symbol="ETHUSDT", base="ETH", quote="USDT")


# Venues write Bitcoin as XBT, and currencies before the coin that is priced in them.
NAMED_OTHERWISE = {"XBT", "XDG"} | {*FIAT}


def table(*instruments: Instrument) -> InstrumentTable:
    made = InstrumentTable()
    for instrument in instruments:
        made.add(instrument)
    return made


@pytest.mark.parametrize(
    ("symbol", "pair"),
    [
        ("BTCUSDT", ("BTC", "USDT", 1)),
        ("btcusdt", ("BTC", "USDT", 1)),
        ("BTC-USD", ("BTC", "USD", 1)),
        ("BTC/USDT", ("BTC", "USDT", 1)),
        ("BTC_EUR", ("BTC", "EUR", 1)),
        ("ETHBTC", ("ETH", "BTC", 1)),
        ("BTCFDUSD", ("BTC", "FDUSD", 1)),
        ("BTCUSD", ("BTC", "USD", 1)),
        ("1000PEPEUSDT", ("PEPE", "USDT", 1000)),
        ("1000000MOGUSDT", ("MOG", "USDT", 1_000_000)),
        ("1INCHUSDT", ("1INCH", "USDT", 1)),
        ("BTCJPY", ("BTC", "JPY", 1)),
        ("BTCUSDT.P", ("BTC", "USDT", 1)),
        ("BTC-USDT-SWAP", ("BTC", "USDT", 1)),
        ("BTC/USDT:USDT", ("BTC", "USDT", 1)),
        ("BTC/USDT:USDT-240927", ("BTC", "USDT", 1)),
        ("BTC_USDT", ("BTC", "USDT", 1)),
        ("BTC-PERP", ("BTC", "USD", 1)),
        ("BTCUSD_PERP", ("BTC", "USD", 1)),
        ("BTCUSDT_240927", ("BTC", "USDT", 1)),
        ("BTC-27SEP24", ("BTC", "USD", 1)),
        ("PF_XBTUSD", ("BTC", "USD", 1)),
        ("XBTUSDTM", ("BTC", "USDT", 1)),
        ("XBTUSD", ("BTC", "USD", 1)),
        ("XXBTZUSD", ("BTC", "USD", 1)),
        ("XETHXXBT", ("ETH", "BTC", 1)),
        ("tBTCUSD", ("BTC", "USD", 1)),
        ("KRW-BTC", ("BTC", "KRW", 1)),
        ("BINANCE:BTCUSDT", ("BTC", "USDT", 1)),
        ("TUSD/BTC", ("TUSD", "BTC", 1)),
        ("BTCTUSD", ("BTC", "TUSD", 1)),
        ("DOTUSD", ("DOT", "USD", 1)),
        ("BNBUSD", ("BNB", "USD", 1)),
        ("BNBBUSD", ("BNB", "BUSD", 1)),
        ("EURUSD", ("EUR", "USD", 1)),
        ("SHIB1000USDT", ("SHIB", "USDT", 1000)),
        ("1MBABYDOGEUSDT", ("BABYDOGE", "USDT", 1_000_000)),
        ("kPEPE-PERP", ("PEPE", "USD", 1000)),
        ("币安人生USDT", ("币安人生", "USDT", 1)),
        ("FBTC", None),
        ("GBTC", None),
        ("FETH", None),
        ("MARS", None),
        ("ENTRY", None),
        ("BTC-27SEP24-60000-C", None),
        ("USDT", None),
        ("AAPL", None),
        ("", None),
        ("-USD", None),
        ("BTC-", None),
        ("A-B-C", None),
        ("BRK-B", None),
        ("BRK/B", None),
    ],
)
def test_a_pair_is_split_into_base_quote_and_multiplier(
    symbol: str, pair: tuple[str, str, int] | None
) -> None:
    assert split_pair(symbol) == pair


@given(
    st.from_regex(r"[A-Z]{2,6}", fullmatch=True).filter(lambda name: name not in NAMED_OTHERWISE),
    st.sampled_from(["USDT", "USD", "BTC"]),
    st.sampled_from([1, 1000, 10_000]),
)
def test_a_separated_pair_gives_back_what_it_was_made_of(
    base: str, quote: str, multiplier: int
) -> None:
    bundle = str(multiplier) if multiplier > 1 else ""
    assert split_pair(f"{bundle}{base}-{quote}") == (base, quote, multiplier)


def test_a_coin_never_closes_and_a_stock_has_sessions() -> None:
    coin, stock = describe("1000PEPEUSDT", venue="binance"), describe("AAPL")
    assert (coin.base, coin.quote, coin.multiplier) == ("PEPE", "USDT", 1000)
    assert (coin.kind, coin.calendar, coin.venue) == (Kind.SPOT, ALWAYS_OPEN, "binance")
    assert coin.always_open
    assert (stock.base, stock.quote, stock.kind) == ("AAPL", "USD", Kind.EQUITY)
    assert stock.calendar == SESSIONS
    assert not stock.always_open


def test_a_stock_whose_name_looks_like_a_pair_can_be_said_to_be_one() -> None:
    found = describe("XUSD", kind=Kind.EQUITY)
    assert (found.base, found.kind, found.always_open) == ("XUSD", Kind.EQUITY, False)


def test_a_perpetual_is_a_pair_as_well() -> None:
    assert describe("BTCUSDT", kind=Kind.PERPETUAL).kind is Kind.PERPETUAL


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("BTCUSDT", Kind.SPOT),
        ("BTCUSDT.P", Kind.PERPETUAL),
        ("BTC-USDT-SWAP", Kind.PERPETUAL),
        ("BTC/USDT:USDT", Kind.PERPETUAL),
        ("BTCUSD_PERP", Kind.PERPETUAL),
        ("BTCUSDT_240927", Kind.FUTURE),
        ("BRK-B", Kind.EQUITY),
        ("0700.HK", Kind.EQUITY),
        ("GBTC", Kind.EQUITY),
        ("foo_bar", Kind.UNKNOWN),
        ("BTC-27SEP24-60000-C", Kind.UNKNOWN),
        ("BTC", Kind.UNKNOWN),
    ],
)
def test_a_name_says_what_sort_of_contract_it_is_or_that_it_does_not(
    symbol: str, kind: Kind
) -> None:
    assert describe(symbol).kind is kind
    assert describe(symbol).always_open == (kind not in {Kind.EQUITY, Kind.UNKNOWN})


@pytest.mark.parametrize("symbol", ["BTCJPY", "BTCUSDT", "foo_bar", "FBTC", "EURUSD", "BTC"])
@pytest.mark.parametrize("kind", [Kind.SPOT, Kind.PERPETUAL])
def test_a_stated_spot_or_perpetual_market_never_closes(symbol: str, kind: Kind) -> None:
    found = describe(symbol, kind=kind)
    assert (found.kind, found.always_open) == (kind, True)
    assert unsettled([found]) == []


def test_currencies_trade_while_banks_do() -> None:
    assert not describe("EURUSD").always_open
    assert not describe("XAUUSD").always_open
    assert describe("EUR/USDT").always_open


def test_a_name_that_says_nothing_is_reported_with_the_option_that_does() -> None:
    (line,) = unsettled([describe("BTCUSDT"), describe("AAPL"), describe("foo_bar")])
    assert line.startswith("foo_bar:")
    assert "market" in line
    assert "perpetual" in line


def test_a_source_may_call_an_instrument_by_its_own_name() -> None:
    known = table(BTC)
    known.alias("kraken", "XBTUSD", "BTCUSDT")
    known.alias("kraken", "XBTUSD", "BTCUSDT")
    assert known.translate("kraken", "XBTUSD") == "BTCUSDT"
    assert known.translate("coinbase", "XBTUSD") == "XBTUSD"
    with pytest.raises(DataError, match="already means BTCUSDT"):
        known.alias("kraken", "XBTUSD", "ETHUSDT")
    assert known.translate("kraken", "XBTUSD") == "BTCUSDT"


def test_the_latest_description_of_a_symbol_counts() -> None:
    known = table(BTC, ETH)
    known.add(Instrument(symbol="BTCUSDT", base="BTC", quote="USDT", tick=0.1))
    assert (len(known), known["BTCUSDT"].tick) == (2, 0.1)


def test_an_instrument_that_stopped_trading_stays_known() -> None:
    known = table(BTC, ETH)
    known.retire("BTCUSDT", 77)
    assert known["BTCUSDT"].delisted == 77
    assert "BTCUSDT" in known
    assert {i.symbol for i in known} == {"BTCUSDT", "ETHUSDT"}


def test_instruments_are_found_by_asset_and_by_symbol_in_the_order_asked_for() -> None:
    perpetual = Instrument(symbol="BTC-PERP", base="BTC", quote="USD", kind=Kind.PERPETUAL)
    known = table(BTC, ETH, perpetual)
    assert known.of_asset("BTC") == ("BTCUSDT", "BTC-PERP")
    assert known.of_asset("DOGE") == ()
    assert known.select(["ETHUSDT", "BTCUSDT"]) == (ETH, BTC)


def test_an_unknown_symbol_is_told_with_the_nearest_known_one() -> None:
    with pytest.raises(UnknownSymbolError, match=r"BTCUSTD.*Did you mean BTCUSDT"):
        table(BTC, ETH)["BTCUSTD"]
    with pytest.raises(UnknownSymbolError, match="Check the providers"):
        table()["BTCUSDT"]
    with pytest.raises(UnknownSymbolError):
        table(BTC).retire("ETHUSDT", 1)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("btcusdt", "BTCUSDT"),
        ("BTC/USDT", "BTCUSDT"),
        ("btc-usd", "BTC-USD"),
        ("btcusd", "BTC-USD"),
        ("eth/usdt", "ETH/USDT"),
        ("ETHUSDT", None),
        ("SOLUSDT", None),
        ("", None),
    ],
)
def test_a_symbol_is_found_however_it_is_spelled(name: str, symbol: str | None) -> None:
    # ETHUSDT could be either of two.
    known = ["BTCUSDT", "BTC-USD", "ETH/USDT", "ETH-USDT"]
    assert find_spelling(name, known) == symbol
