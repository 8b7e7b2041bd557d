"""Parses instrument names: base, quote, multiplier and kind of contract.

Venues write pairs differently (``BTCUSDT``, ``BTC-USD``, ``XXBTZUSD``, ``KRW-BTC``) and mark
contracts differently (``BTCUSDT.P``, ``BTC-USDT-SWAP``, ``BTC/USDT:USDT``, ``BTCUSDT_240927``).
A name that fits no rule is not parsed: a wrong guess would decide whether a market closes at night.
"""

import re
from dataclasses import dataclass
from typing import Final

_FIAT_TEXT: Final = (
    "USD EUR GBP JPY KRW TRY BRL AUD CAD CHF NZD INR RUB UAH PLN ZAR MXN ARS IDR NGN THB VND SGD "
    "HKD CNY TWD COP CZK RON SEK NOK DKK HUF ILS AED PHP KZT"
)
FIAT: Final = frozenset(_FIAT_TEXT.split())
"""National currencies. A pair of two of them trades during banking hours only."""

_STABLE_TEXT: Final = (
    "FDUSD PYUSD USDT USDC BUSD TUSD GUSD SUSD USDD USDP USDE USD1 RLUSD DAI UST EURT EURC EURI "
    "EURS BIDR IDRT BVND USDS AEUR"
)
_STABLE: Final = frozenset(_STABLE_TEXT.split())
_COIN_QUOTES_TEXT: Final = "BTC XBT ETH BNB TRX XRP DOGE SOL DOT WETH WBTC WBNB WSOL HT OKB KCS"
_METALS: Final = frozenset({"XAU", "XAG", "XPT", "XPD"})
_MONEY: Final = FIAT | _STABLE
_SEPARATED_QUOTES: Final = _MONEY | set(_COIN_QUOTES_TEXT.split())

_UNMISTAKABLE = ("FDUSD", "USDT", "USDC")
"""Quote currencies that no stock ticker and no coin ends in."""

_JOINED_QUOTES = (*_UNMISTAKABLE, "BUSD", "TUSD", *sorted(FIAT), "DAI", "BTC", "ETH", "BNB")

_SHORTEST_JOINED = 6
"""A stock ticker has up to five letters: FBTC and GBTC are funds, and ETHBTC is a pair."""

_COINS_TEXT: Final = (
    "1INCH A AAVE ADA AGIX AIOZ AKT ALGO ANKR APE API3 APT AR ARB ARKM ATOM AVAX AXS BAL BAND BAT "
    "BCH BEAM BGB BNB BNT BOME BONK BRETT BSV BTC BTT CAKE CELO CHZ COMP CRO CRV DASH DOGE DOT "
    "DYDX EGLD ENA ENJ ENS EOS ETC ETH ETHFI FET FIL FLOKI FLOW FTM FTT GALA GMT GMX GRASS GRT "
    "HBAR HNT HYPE ICP ILV IMX INJ IOTA JTO JUP KAS KAVA KSM LDO LEO LINK LRC LTC LUNA LUNC MAGIC "
    "MANA MASK MATIC MEME METIS MINA MKR MNT NEAR NEIRO NEO OCEAN OKB OM ONDO ONE OP ORDI PAXG "
    "PENDLE PENGU PEPE PIXEL PNUT POL POPCAT PYTH QNT QTUM RAY RENDER RNDR RON ROSE RUNE RVN S "
    "SAND SC SEI SHIB SKL SKY SNX SOL STORJ STRK STX SUI SUSHI TAO THETA TIA TON TRUMP TRX TURBO "
    "UNI VET VIRTUAL W WAVES WIF WLD XEC XEM XLM XMR XRP XTZ YFI YGG ZEC ZEN ZIL ZK ZRX"
)
COINS: Final = frozenset(_COINS_TEXT.split())
"""Known coins, which resolve ambiguous names: XBTUSD is quoted in USD, BTCTUSD in TUSD."""

_ALONE_TEXT: Final = "BTC XBT ETH XRP BNB SOL DOGE ADA LTC BCH TRX XMR SHIB PEPE"
_ALONE: Final = frozenset(_ALONE_TEXT.split())
"""Coins whose bare name means the coin rather than a stock."""

_ALIASES: Final = {"XBT": "BTC", "XDG": "DOGE"}

_SWAP = re.compile(r"[.\-_/](?:PERP|PERPETUAL|SWAP)$")
_PERPETUAL = re.compile(r"\.P$|(?<=USDT)M$|(?<=USDC)M$|:[A-Z0-9]{3,5}$")
_DATED = re.compile(r"[-_:](?:20)?\d{6}$|[-_]\d{1,2}[A-Z]{3}\d{2}$")
_SETTLED = re.compile(r":[A-Z0-9]{3,5}$")
_KRAKEN_FUTURE = re.compile(r"^(?:PF|PI)_(?=[A-Z]{6,}$)")
_KRAKEN = re.compile(r"X([A-Z]{3})(?:Z([A-Z]{3})|X(XBT|ETH))")
_VENUE = re.compile(r"^[A-Z0-9]+:(?=[^:/]+$)")
_BUNDLE = re.compile(r"(1000000|100000|10000|1000)(?=[A-Z])|(1M)(?=[A-Z]{3})")
_TRAILING_BUNDLE = re.compile(r"(?<=[A-Z]{2})(1000)$")
_MILLION = 1_000_000
_TICKER = re.compile(r"\^?[A-Z]{1,5}(?:[.\-/][A-Z]{1,2})?|[A-Z0-9]{1,6}\.[A-Z]{1,3}|[A-Z]{1,3}=F")


@dataclass(frozen=True, slots=True)
class Pair:
    """A parsed pair name.

    Attributes:
        base: the asset it is about.
        quote: the currency or asset of its prices.
        multiplier: units of the base in one unit of the instrument.
        contract: ``spot``, ``perpetual`` or ``future``.
    """

    base: str
    quote: str
    multiplier: int = 1
    contract: str = "spot"

    @property
    def rests(self) -> bool:
        """Whether it trades during banking hours only: currencies, and metals in currencies."""
        return self.base in FIAT | _METALS and self.quote in FIAT and self.contract == "spot"


def read_pair(symbol: str) -> Pair | None:
    """Return the parsed name of a crypto or currency pair, or None where the name is no pair."""
    name, contract, alone = _contract(_without_prefix(symbol))
    parts = _separated(name) if re.search(r"[-/_]", name) else _joined(name)
    if parts is None and alone and re.fullmatch(r"[A-Z0-9]+", name):
        parts = name, "USD"
    if parts is None:
        return None
    base, quote = parts
    base, multiplier = _unbundled(base, thousand=re.match(r"k[A-Z]", symbol) is not None)
    return Pair(_ALIASES.get(base, base), _ALIASES.get(quote, quote), multiplier, contract)


def is_ticker(symbol: str) -> bool:
    """Return whether a name can be the ticker of a stock, and is not that of a large coin."""
    name = _VENUE.sub("", symbol.upper())
    return _TICKER.fullmatch(name) is not None and name not in _ALONE | _STABLE


def _without_prefix(symbol: str) -> str:
    """Return the name in capitals, without a leading venue and without the ``t`` of Bitfinex."""
    bare = symbol[1:] if re.match(r"t[A-Z0-9]{6,}", symbol) else symbol
    return _VENUE.sub("", bare.upper().removesuffix("=X"))


def _contract(name: str) -> tuple[str, str, bool]:
    """Return the name without suffix, its contract, and whether a bare base is a pair."""
    if (dated := _DATED.search(name)) is not None:
        rest = _SETTLED.sub("", name[: dated.start()])
        return rest, "future", rest in COINS | _ALIASES.keys()
    if (swap := _SWAP.search(name)) is not None:
        return name[: swap.start()], "perpetual", True
    if (perpetual := _PERPETUAL.search(name)) is not None:
        return name[: perpetual.start()], "perpetual", False
    if (kraken := _KRAKEN_FUTURE.match(name)) is not None:
        return name[kraken.end() :], "perpetual", False
    return name, "spot", False


def _separated(name: str) -> tuple[str, str] | None:
    match = re.fullmatch(r"([^-/_.:]+)([-/_])([^-/_.:]+)", name)
    if match is None:
        return None
    base, mark, quote = match.groups()
    if mark == "-" and base in _MONEY and quote not in _MONEY:
        base, quote = quote, base  # as Korean venues write it
    return (base, quote) if quote in _SEPARATED_QUOTES else None


def _joined(name: str) -> tuple[str, str] | None:
    if (kraken := _KRAKEN.fullmatch(name)) is not None and (kraken[2] or "USD") in FIAT:
        return kraken[1], kraken[2] or kraken[3]
    readings = [(name.removesuffix(q), q) for q in _JOINED_QUOTES if name.endswith(q)]
    readings = [(base, quote) for base, quote in readings if base]
    for base, quote in readings:
        if base in COINS or base in _ALIASES or _BUNDLE.match(base):
            return base, quote
    # Where no known coin decides, take the shorter quote: FOOTUSD is FOOT rather than FOO in TUSD.
    readings.sort(key=lambda pair: (pair[1] not in {*_UNMISTAKABLE, "BUSD"}, len(pair[1])))
    return next(
        (
            (base, quote)
            for base, quote in readings
            if quote in _UNMISTAKABLE or (len(name) >= _SHORTEST_JOINED and len(base) > 1)
        ),
        None,
    )


def _unbundled(base: str, *, thousand: bool) -> tuple[str, int]:
    if thousand:
        return base[1:], 1000
    if (bundle := _BUNDLE.match(base)) is not None:
        return base[bundle.end() :], int(bundle[1]) if bundle[1] else _MILLION
    if (bundle := _TRAILING_BUNDLE.search(base)) is not None:
        return base[: bundle.start()], int(bundle[1])
    return base, 1
