"""Tags texts with the coins they are about; many tickers are common words ("near", "link")."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from weft.text.coins import COINS, SPOKEN, Clarity

_WORD = re.compile(r"\$?[^\W_]+(?:['-][^\W_]+)*", re.UNICODE)


def words(text: str) -> list[str]:
    """Return the words of a plain text as written; ``$BTC`` includes its sign."""
    return _WORD.findall(text)


ASIDE: Final = 0.5
"""Weight of a coin that only the summary or the source names."""


_CROWD: Final = 4
"""Number of coins in a text above which each weight decreases: lists of prices."""


_NEARBY: Final = 8
"""Greatest distance in words between an ambiguous ticker and a crypto word."""


_CUE_WORDS: Final = """
token tokens coin coins protocol network blockchain chain mainnet testnet foundation labs dao price
prices holders investors ecosystem altcoin altcoins staking wallet wallets usdt usdc whale whales
"""

_CUES: Final = frozenset(_CUE_WORDS.split())
"""Words directly after an ambiguous name that show that it means the coin."""


_CRYPTO_WORDS: Final = """
token tokens coin coins mainnet testnet altcoin altcoins staking wallet wallets usdt usdc whale
whales crypto cryptos cryptocurrency cryptocurrencies defi nft nfts onchain on-chain airdrop web3
binance coinbase kraken bybit okx upbit blockchain blockchains stablecoin stablecoins btc eth xrp
bitcoin ethereum memecoin memecoins hodl bullish bearish
"""

_CRYPTO: Final = frozenset(_CRYPTO_WORDS.split())
"""Words near an ambiguous ticker that show that it means a coin."""


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
"""Words in a text that show that an ambiguous name means the coin."""


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
    """The subjects of a text.

    Attributes:
        assets: weight of each asset, above 0 and up to 1.
        is_market: whether the text concerns all coins.
    """

    assets: Mapping[str, float]
    is_market: bool


class Tagger:
    """Finds the assets that texts are about.

    A ticker counts in capitals, with ``$``, in brackets, and in pairs such as ``BTC/USDT``. A
    ticker that is also a word, or is in no table, counts in capitals only with a crypto word within
    eight words; words often written in capitals do not count at all. Names count in any case,
    unless they are
    words: those need a capital and a crypto word in the text (Avalanche), or a word such as
        protocol
    directly after them (Near). Example::

        tagger = Tagger(names={"the merge": "ETH"})
        assert tagger.find("NEAR token jumps 10%") == {"NEAR"}

    Args:
        assets: further tickers, such as the base assets of the instruments.
        names: further names in any case, and the asset of each.
        stocks: tickers of companies, which need no crypto word.
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
        # Words have no digits.
        self._clear = {ticker for ticker in others if re.search(r"\d", ticker)}
        self._clear |= {coin.ticker for coin in COINS if coin.clear} | companies - SPOKEN
        by_name: dict[str, tuple[str, Clarity]] = {}
        for coin in COINS:
            # Two coins may share a name; the first in the table gets it: POL for Polygon.
            for name, clarity in coin.names:
                by_name.setdefault(name, (coin.ticker, clarity))
        by_name |= {
            name.casefold(): (asset, Clarity.PLAIN)
            for name, asset in (names or {}).items()
            if words(name)
        }
        self._names: dict[str, list[tuple[tuple[str, ...], str, Clarity]]] = {}
        for name, (asset, clarity) in by_name.items():
            parts = tuple(words(name))
            self._names.setdefault(parts[0], []).append((parts, asset, clarity))
        for named in self._names.values():
            # Longest first: Bitcoin Cash is not Bitcoin.
            named.sort(key=lambda entry: (-len(entry[0]), entry[0]))

    def tag(self, title: str, summary: str = "", marks: Iterable[str] = ()) -> Tags:
        """Return the assets of a text with weights, and whether it concerns the market.

        Args:
            title: title without markup, on one line.
            summary: summary without markup, on one line.
            marks: assets stated by the source.
        """
        main = self.find(title, summary)
        aside = self.find(summary, title) | {mark.upper() for mark in marks}
        # Only large coins count, so that further tickers do not change the weights.
        crowd = min(1.0, _CROWD / max(1, len((main | aside) & _LARGE)))
        assets = {asset: crowd * (1.0 if asset in main else ASIDE) for asset in main | aside}
        is_market = _MARKET.search(title) is not None
        return Tags(dict(sorted(assets.items())), is_market)

    def find(self, text: str, rest: str = "") -> set[str]:
        """Return the assets that a text names.

        Args:
            text: text without markup, on one line.
            rest: text beside it, which may show that the subject is crypto.
        """
        if not text:
            return set()
        written = [word.removesuffix("'s") for word in words(text)]
        folded = [word.casefold() for word in written]
        signs = [place for place, word in enumerate(folded) if word in _CRYPTO]
        matches = self._marked(text)
        if not matches and not self._may_name(written, folded):
            return matches
        in_context = (
            not matches.isdisjoint(_LARGE)
            or not _COMPANIES.isdisjoint(folded)
            or not _COMPANIES.isdisjoint(rest.casefold().split())
        )
        matches |= self._named(written, folded, in_context=in_context)
        matches |= self._capitals(
            written, signs, certain=not matches.isdisjoint(_LARGE), shouted=text.isupper()
        )
        return matches

    def _may_name(self, written: list[str], folded: list[str]) -> bool:
        return not (self._tickers.isdisjoint(written) and self._names.keys().isdisjoint(folded))

    def _marked(self, text: str) -> set[str]:
        """Return the assets with a ticker mark: ``$SOL``, ``(SOL)``, ``SOL/USDT``."""
        matches = set()
        if "$" in text:
            for word in words(text):
                if word[0] == "$" and word[1:].isupper() and word[1:] in self._tickers:
                    matches.add(word[1:])
                elif word[0] == "$" and word[1:].upper() in self._clear:
                    matches.add(word[1:].upper())
        if "(" in text:
            # Brackets may contain abbreviations, too: an all-time high (ATH).
            matches |= self._tickers.intersection(_MARKED.findall(text)) - SPOKEN
        matches |= {base for base, _ in _PAIR.findall(text) if base in self._tickers}
        return matches

    def _named(self, written: list[str], folded: list[str], *, in_context: bool) -> set[str]:
        matches, taken = set[str](), -1
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
                    matches.add(asset)
                    taken = end - 1
                    break
        return matches

    def _capitals(
        self, written: list[str], signs: list[int], *, certain: bool, shouted: bool
    ) -> set[str]:
        """Return the tickers in capitals that mean coins.

        Args:
            written: words of the text.
            signs: positions of crypto words.
            certain: whether the text names another coin.
            shouted: whether the text is all in capitals, so that capitals distinguish no tickers.
        """
        matches = set[str]()
        for place, word in enumerate(written):
            if word not in self._tickers or not word.isupper():
                continue
            if word in self._clear:
                matches.add(word)
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
                matches.add(word)
        return matches
