"""The large coins: tickers, names, and names that are also common words."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Clarity(Enum):
    """What a name or ticker needs nearby to mean a coin."""

    PLAIN = "nothing: it has no other meaning"
    CAPITAL = "a capital letter, and something about crypto in the text"
    CUED = "a word such as token, protocol or price beside it"


@dataclass(frozen=True, slots=True)
class Coin:
    """One coin.

    Attributes:
        ticker: asset of the coin, such as ``BTC``.
        names: names in lower case, each with what it needs nearby.
        clear: whether the ticker in capitals has no other meaning.
    """

    ticker: str
    names: tuple[tuple[str, Clarity], ...]
    clear: bool


_P, _C, _Q = Clarity.PLAIN, Clarity.CAPITAL, Clarity.CUED

# Ticker; + if the ticker is clear; names: bare if plain, ^ if capital, ? if cued.
_TABLE: Final = """
BTC + bitcoin, bitcoins
ETH + ethereum, ^ether
USDT + tether
XRP + ^ripple
BNB + bnb chain, binance coin
SOL + solana
USDC + usd coin
DOGE + dogecoin, dogecoins
ADA - cardano
TRX + ^tron
TON - toncoin, the open network
LINK - chainlink
AVAX + ^avalanche
SUI + ?sui
SHIB + shiba inu, shiba
XLM + stellar lumens, ?stellar
HBAR + hedera, hedera hashgraph
DOT - polkadot
BCH + bitcoin cash
HYPE - hyperliquid
UNI - uniswap
LTC + litecoin
PEPE - pepecoin, ^pepe
AAVE + aave
XMR + monero
NEAR - near protocol, ?near
APT - ^aptos
ICP - internet computer
ETC - ethereum classic
POL - ^polygon
MATIC + ^polygon
ARB - arbitrum
OP - ?optimism
FIL - filecoin
VET - vechain
ATOM - cosmos hub, ?cosmos
ALGO - algorand
RENDER - render network, ?render
IMX + immutable x, ?immutable
INJ + ?injective
STX + ?stacks
GRT + the graph protocol, ?graph
MKR + makerdao, ?maker
SKY - ?sky
LDO + lido finance, lido dao, ?lido
SEI - ?sei
TIA - ^celestia
FTM + ?fantom
RUNE - thorchain
SAND - the sandbox, ?sandbox
MANA - decentraland
AXS + axie infinity
APE - apecoin
GALA - gala games
CHZ + chiliz
CRV + curve finance, curve dao, ?curve
SNX + synthetix
COMP - ?compound
SUSHI - sushiswap
CAKE - pancakeswap
DYDX + dydx
JUP - ?jupiter
PYTH + pyth network
WIF - dogwifhat
BONK - bonk coin
FLOKI + floki inu, floki
FET + fetch.ai
TAO - bittensor
WLD + worldcoin
KAS - kaspa
FLOW - ?flow
GAS - ?gas
NEO - ?neo
EOS - ?eos
XTZ + tezos
EGLD + multiversx, elrond
THETA - theta network
ZEC + zcash
DASH - ?dash
ENA - ethena
ONDO - ondo finance
PENDLE + pendle
JTO + jito
STRK + starknet
ZK - zksync
MASK - mask network
ONE - harmony one, ?harmony
NOT - notcoin
JST + ?just
LUNA - terra luna, ?terra
LUNC + terra classic
FTT + ftx token
CRO - cronos
BSV + bitcoin sv
ZRO - layerzero
ENS - ethereum name service
TRUMP - ?trump
"""

_SIGNS: Final = {"^": Clarity.CAPITAL, "?": Clarity.CUED}


def _coins() -> tuple[Coin, ...]:
    coins = []
    for line in _TABLE.strip().splitlines():
        ticker, sign, rest = line.split(" ", 2)
        names = tuple(
            (name.lstrip("^?"), _SIGNS.get(name[0], Clarity.PLAIN)) for name in rest.split(", ")
        )
        coins.append(Coin(ticker, names, sign == "+"))
    return tuple(coins)


COINS: Final = _coins()
"""The large coins, and coins whose names are common words."""

_SPOKEN: Final = """
A ALL AM AN AND ANY ARE AS AT BE BUT BUY BY CAN DO FOR FROM GET GO HAS HE HIGH HOT HOW I IF IN IS IT
JUST LOW ME MORE MY NEW NO NOT NOW OF OFF OK ON ONE OR OUR OUT PRO SELL SHE SO THAT THE THEN THEY
THIS TO TOP UP US USA USD WAS WE WHAT WHO WHY WILL WIN WITH YES YOU CEO ETF SEC FED AI EU UK IPO GDP
CPI FBI DOJ IRS API NFT DAO DEX TVL ATH KEY ACT BIG BOT CAT DOG FUN GUN HOME MAGIC MOVE OG PEOPLE
RARE SAFE SUPER USUAL
"""

SPOKEN: Final = frozenset(_SPOKEN.split())
"""Words often written in capitals; as tickers they need a mark such as ``$``."""
