"""Which coins a text is about."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from weft.text.coins import COINS, SPOKEN, Clarity

_WORD = re.compile(r"\$?[^\W_]+(?:['-][^\W_]+)*", re.UNICODE)


def words(text: str) -> list[str]:
    """Return the words of a plain text as they are written; ``$BTC`` keeps its sign."""
    return _WORD.findall(text)


ASIDE: Final = 0.5
"""Weight of a coin that only the summary, or the source's own mark, names."""


_CROWD: Final = 4
"""Coins in one text above which each counts for less: a list of prices is about none of them."""


_NEARBY: Final = 8
"""Words between a ticker that is a word, and what shows that coins are meant."""


_CUE_WORDS: Final = """
token tokens coin coins protocol network blockchain chain mainnet testnet foundation labs dao price
prices holders investors ecosystem altcoin altcoins staking wallet wallets usdt usdc whale whales
"""

_CUES: Final = frozenset(_CUE_WORDS.split())
"""Behind a name that is a word, these say that the coin is meant."""


_CRYPTO_WORDS: Final = """
token tokens coin coins mainnet testnet altcoin altcoins staking wallet wallets usdt usdc whale
whales crypto cryptos cryptocurrency cryptocurrencies defi nft nfts onchain on-chain airdrop web3
binance coinbase kraken bybit okx upbit blockchain blockchains stablecoin stablecoins btc eth xrp
bitcoin ethereum memecoin memecoins hodl bullish bearish
"""

_CRYPTO: Final = frozenset(_CRYPTO_WORDS.split())
"""Near a ticker that is a word, these say that coins are what it is about."""


_COMPANIES: Final = _CRYPTO | {
    "sec",
    "etf",
    "etfs",
    "ledger",
    "ceo",
    "network",
    "protocol",
    "price",
}
"""In a text with a name that has another meaning, these say that the coin is meant."""


_MARKET: Final = re.compile(
    r"\b(?:crypto(?:currency|currencies)? (?:market|markets|sector|industry|regulation|rules|bill"
    r"|stocks|crackdown|ban|tax|exchanges?|winter|traders|investors|prices|rout|sell-?off|rally)"
    r"|digital assets?|cryptocurrencies|altcoins?|stablecoin (?:bill|act|rules|regulation)"
    r"|bitcoin (?:spot )?etfs?|spot (?:bitcoin|ether|ethereum|crypto) etfs?|crypto etfs?"
    r"|(?:sec|cftc|esma|mica|fca|fed|fomc|treasury|senate|congress|lawmakers|regulators?)\b"
    r".{0,80}\b(?:crypto\w*|bitcoin|digital assets?|tokens?|stablecoins?|exchanges?)"
    r"|(?:crypto\w*|bitcoin|stablecoins?)\b.{0,80}\b(?:sec|cftc|esma|mica|fca|regulators?|lawmakers"
    r"|senate|congress|fed|fomc)|tether|usdt|binance|coinbase (?:sued|halts|outage|hack))\b",
    re.IGNORECASE,
)

_LARGE: Final = frozenset(coin.ticker for coin in COINS)
_PAIR: Final = re.compile(r"\b([A-Z0-9]{2,10})[/-]?(USDT|USDC|FDUSD|BUSD|USD|EUR|BTC|ETH)\b")
_MARKED: Final = re.compile(r"\(\$?([A-Z0-9]{1,10})(?:[/-][A-Z]{3,5})?\)")


@dataclass(frozen=True, slots=True)
class Tags:
    """What a text is about.

    Attributes:
        assets: weight of each asset, above 0 and up to 1.
        is_market: whether it bears on all coins.
    """

    assets: Mapping[str, float]
    is_market: bool


class Tagger:
    """Finds the assets that texts are about.

    A ticker counts in capitals, with ``$`` or in brackets, and in pairs such as ``BTC/USDT``. Where
    it is a word besides, or stands in no table, capitals alone do only with something about crypto
    within eight words, and words that everybody writes in capitals never do. Names count in
    whatever letters, unless they are words: those need a capital and something about crypto in the
    text (Avalanche), or a word such as protocol beside them (Near).

    Args:
        assets: further tickers to look for, as instruments have them for their base.
        names: further names, in whatever letters, and the assets they stand for.
        stocks: tickers of companies, which need nothing about crypto beside them.
    """

    def __init__(
        self,
        assets: Iterable[str] = (),
        names: Mapping[str, str] | None = None,
        stocks: Iterable[str] = (),
    ) -> None:
        companies = {stock.upper() for stock in stocks}
        others = {asset.upper() for asset in assets}
        self._tickers = {coin.ticker for coin in COINS} | companies | others
        # No word has a digit in it.
        self._clear = {ticker for ticker in others if re.search(r"\d", ticker)}
        self._clear |= {coin.ticker for coin in COINS if coin.clear} | companies - SPOKEN
        found: dict[str, tuple[str, Clarity]] = {}
        for coin in COINS:
            # Of two coins that had one name the first listed keeps it, as POL has Polygon.
            for name, clarity in coin.names:
                found.setdefault(name, (coin.ticker, clarity))
        found |= {
            name.casefold(): (asset, Clarity.PLAIN)
            for name, asset in (names or {}).items()
            if words(name)
        }
        self._names: dict[str, list[tuple[tuple[str, ...], str, Clarity]]] = {}
        for name, (asset, clarity) in found.items():
            parts = tuple(words(name))
            self._names.setdefault(parts[0], []).append((parts, asset, clarity))
        for named in self._names.values():
            # The longest first: Bitcoin Cash is no Bitcoin.
            named.sort(key=lambda entry: (-len(entry[0]), entry[0]))

    def tag(self, title: str, summary: str = "", marks: Iterable[str] = ()) -> Tags:
        """Return what a text is about.

        Args:
            title: without markup, on one line.
            summary: likewise.
            marks: assets by the source's own account.
        """
        told = self.find(title, summary)
        aside = self.find(summary, title) | {mark.upper() for mark in marks}
        # What else is listed somewhere must not change what a text is about.
        crowd = min(1.0, _CROWD / max(1, len((told | aside) & _LARGE)))
        assets = {asset: crowd * (1.0 if asset in told else ASIDE) for asset in told | aside}
        is_market = _MARKET.search(title) is not None
        return Tags(dict(sorted(assets.items())), is_market)

    def find(self, text: str, rest: str = "") -> set[str]:
        """Return the assets that a text names.

        Args:
            text: without markup, on one line.
            rest: what stands beside it, and may say that crypto is what it is about.
        """
        if not text:
            return set()
        written = [word.removesuffix("'s") for word in words(text)]
        folded = [word.casefold() for word in written]
        signs = [place for place, word in enumerate(folded) if word in _CRYPTO]
        found = self._marked(text)
        if not found and not self._may_name(written, folded):
            return found
        in_context = (
            not found.isdisjoint(_LARGE)
            or not _COMPANIES.isdisjoint(folded)
            or not _COMPANIES.isdisjoint(rest.casefold().split())
        )
        found |= self._named(written, folded, in_context=in_context)
        found |= self._capitals(
            written, signs, certain=not found.isdisjoint(_LARGE), shouted=text.isupper()
        )
        return found

    def _may_name(self, written: list[str], folded: list[str]) -> bool:
        return not (self._tickers.isdisjoint(written) and self._names.keys().isdisjoint(folded))

    def _marked(self, text: str) -> set[str]:
        """Return what is marked as a ticker: ``$SOL``, ``(SOL)``, ``SOL/USDT``."""
        found = set()
        if "$" in text:
            for word in words(text):
                if word[0] == "$" and word[1:].isupper() and word[1:] in self._tickers:
                    found.add(word[1:])
                elif word[0] == "$" and word[1:].upper() in self._clear:
                    found.add(word[1:].upper())
        if "(" in text:
            # Shorthand stands in brackets as well: an all-time high (ATH).
            found |= self._tickers.intersection(_MARKED.findall(text)) - SPOKEN
        found |= {base for base, _ in _PAIR.findall(text) if base in self._tickers}
        return found

    def _named(self, written: list[str], folded: list[str], *, in_context: bool) -> set[str]:
        found, taken = set[str](), -1
        for place, word in enumerate(folded):
            if place <= taken or word not in self._names:
                continue
            for parts, asset, clarity in self._names[word]:
                end = place + len(parts)
                if tuple(folded[place:end]) != parts:
                    continue
                cued = end < len(folded) and folded[end] in _CUES
                marked = end < len(written) and written[end].lstrip("$") == asset
                capital = written[place][0].isupper()
                if (
                    clarity is Clarity.PLAIN
                    or (clarity is Clarity.CAPITAL and capital and in_context)
                    or (clarity is Clarity.CUED and capital and (cued or marked))
                ):
                    found.add(asset)
                    taken = end - 1
                    break
        return found

    def _capitals(
        self, written: list[str], signs: list[int], *, certain: bool, shouted: bool
    ) -> set[str]:
        """Return the tickers that stand in capitals, where those mean coins.

        Args:
            written: the words.
            signs: places of words about crypto.
            certain: whether the text names another coin.
            shouted: whether all of it is in capitals, which then tell no ticker from a word.
        """
        found = set[str]()
        for place, word in enumerate(written):
            if word not in self._tickers or not word.isupper():
                continue
            if word in self._clear:
                found.add(word)
                continue
            if shouted:
                continue
            follows = written[place + 1].casefold() if place + 1 < len(written) else ""
            if word in SPOKEN:
                meant = follows in {"token", "tokens", "coin", "coins"}
            else:
                nearby = any(0 < abs(place - sign) <= _NEARBY for sign in signs)
                meant = certain or nearby or follows in _CUES
            if meant:
                found.add(word)
        return found
