"""The tagging of texts: ambiguous tickers and names, pairs, marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.text.coins import COINS
from weft.text.tagging import ASIDE, Tagger

OTHERS = ("ATH", "THE", "JUST", "SKL", "COIN0", "ALL", "BANK")
TAGGER = Tagger(OTHERS, {"Acme Chain": "ACM"}, stocks=["AAPL", "ALL"])


def assets_of(title: str, summary: str = "") -> set[str]:
    return set(TAGGER.tag(title, summary).assets)


@pytest.mark.parametrize(
    "title",
    [
        "Stocks near record high as gas prices flow through to one op and a dot",
        "Near-term outlook: just one thing not to link",
        "Ape at the zoo throws sand at a mask",
        "DOT announces new highway bridge funding",
        "SEC SAYS NEAR ALL GAS AND OIL FLOW IS NOT FOR ONE",
        "$gas prices rise",
        "Avalanche kills two skiers in the Alps",
        "Ripple effects felt across the travel industry",
        "Market optimism grows on the curve",
        "The cosmos is larger than thought",
        "Sand and gravel maker reports profit",
        "The link between sleep and memory",
        "A ton of arb work for the op desk",
        "Sui generis rights explained",
        "I NEED THE LINK NOW",
    ],
)
def test_common_words_are_no_coins(title: str) -> None:
    assert assets_of(title) == set()


@pytest.mark.parametrize(
    ("title", "assets"),
    [
        ("Bitcoin near record high as gas prices link to flow", {"BTC"}),
        ("THE bitcoin price is NOT falling", {"BTC"}),
        ("ETH hits an all-time high (ATH)", {"ETH"}),
        ("Market Optimism Grows as Bitcoin Rallies", {"BTC"}),
        ("Bitcoin Cash hits $500", {"BCH"}),
        ("Ethereum Classic forks again", {"ETC"}),
        ("Solana's outage ends", {"SOL"}),
        ("$btc to the moon", {"BTC"}),
        ("Buy $ONE now", {"ONE"}),
        ("$LINK whales wake up", {"LINK"}),
        ("NEAR token jumps 10%", {"NEAR"}),
        ("near protocol unveils sharding", {"NEAR"}),
        ("Near Foundation hires a CEO", {"NEAR"}),
        ("Polkadot (DOT) gains", {"DOT"}),
        ("LINK and DOT lead altcoins higher", {"LINK", "DOT"}),
        ("Chainlink integrates with a bank", {"LINK"}),
        ("Optimism (OP) ships an upgrade", {"OP"}),
        ("Avalanche token slides", {"AVAX"}),
        ("Ripple wins against the SEC", {"XRP"}),
        ("ONE/USDT and NOT/USDT listed", {"ONE", "NOT"}),
        ("NEARUSDT perpetual opens", {"NEAR"}),
        ("GAS coin doubles", {"GAS"}),
        ("COIN0 surges", {"COIN0"}),
        ("Acme Chain raises a round", {"ACM"}),
        ("AAPL beats estimates", {"AAPL"}),
        ("SKL token listed", {"SKL"}),
    ],
)
def test_coins_are_tagged(title: str, assets: set[str]) -> None:
    assert assets_of(title) - {"USDT"} == assets


def test_every_name_in_the_table_gives_its_coin() -> None:
    taken: set[str] = set()
    for coin in COINS:
        for name, _ in coin.names:
            title = f"{name.title()} token"
            if name not in taken:
                assert coin.ticker in assets_of(title), title
            taken.add(name)
        assert coin.ticker in assets_of(f"${coin.ticker} today")
        assert coin.ticker in assets_of(f"{coin.ticker}/USDT opens")


def test_summary_and_source_marks_have_lower_weight() -> None:
    tags = TAGGER.tag("Bitcoin rises", "Ethereum and Solana follow", ["doge", "BTC"])
    assert tags.assets == {"BTC": 1.0, "DOGE": ASIDE, "ETH": ASIDE, "SOL": ASIDE}


def test_a_list_of_prices_has_low_weights() -> None:
    many = "BTC ETH XRP BNB SOL DOGE LTC TRX"
    assert TAGGER.tag(many).assets["BTC"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("title", "is_market"),
    [
        ("Crypto market tumbles", True),
        ("SEC opens comment on digital asset rules", True),
        ("Senate passes stablecoin bill for crypto", True),
        ("Spot Bitcoin ETFs see outflows", True),
        ("Cardano ships an upgrade", False),
        ("Fed holds rates", False),
    ],
)
def test_market_news_are_tagged(title: str, is_market: bool) -> None:
    assert TAGGER.tag(title).is_market == is_market


WRITTEN = ("Bitcoin", "NEAR", "near", "LINK", "token", "XYZ", "THE", "rally", "ABC9")


@given(st.lists(st.sampled_from(WRITTEN), max_size=9))
def test_further_tickers_change_no_other_tag(written: list[str]) -> None:
    """A coin listed later must not change the tags of earlier texts."""
    title = " ".join(written)
    plain = dict(TAGGER.tag(title).assets)
    wider = dict(Tagger((*OTHERS, "XYZ", "ABC9", "RALLY")).tag(title).assets)
    assert {a: w for a, w in wider.items() if a not in {"XYZ", "ABC9", "RALLY"}} == plain


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_tagged(title: str, summary: str) -> None:
    assert all(0.0 < weight <= 1.0 for weight in TAGGER.tag(title, summary).assets.values())
