"""Eighty further coins, to test at the size of a large exchange.

Names, prices and supplies resemble real ones; the other properties are drawn.
"""

from math import ceil, floor, log10

from weft.foundation.times import DAY
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import generator

# Name, price in dollars, millions of coins in circulation, title; the busiest first.
_TABLE = """
TON 5.4 2500 Toncoin                    SUI 1.9 2700 Sui
SHIB 1.8e-5 589e6 Shiba Inu             HBAR 0.11 37e3 Hedera
XLM 0.12 29e3 Stellar                   OP 1.7 1200 Optimism
APT 8.7 480 Aptos                       ICP 8.9 470 Internet Computer
ETC 24 149 Ethereum Classic             INJ 22 98 Injective
WIF 2.1 999 dogwifhat                   BONK 2.4e-5 69e6 Bonk
RENDER 5.8 390 Render                   IMX 1.5 1600 Immutable
STX 1.8 1490 Stacks                     VET 0.025 81e3 VeChain
TIA 5.6 210 Celestia                    SEI 0.42 3600 Sei
ALGO 0.14 8200 Algorand                 GRT 0.17 9500 The Graph
FTM 0.62 2800 Fantom                    THETA 1.3 1000 Theta Network
RUNE 5.1 336 THORChain                  MKR 1900 0.92 Maker
LDO 1.2 895 Lido DAO                    FET 1.4 2600 Artificial Superintelligence
ENA 0.37 2700 Ethena                    JUP 0.84 1350 Jupiter
PYTH 0.34 3600 Pyth Network             ONDO 0.72 1400 Ondo
STRK 0.45 1700 Starknet                 FLOKI 1.4e-4 9.6e6 FLOKI
EOS 0.52 1500 EOS                       XTZ 0.71 1000 Tezos
SAND 0.27 2400 The Sandbox              MANA 0.31 1900 Decentraland
AXS 4.9 152 Axie Infinity               GALA 0.021 36e3 Gala
FLOW 0.56 1530 Flow                     CHZ 0.065 9200 Chiliz
EGLD 27 27 MultiversX                   KAVA 0.34 1080 Kava
NEO 10 70 Neo                           IOTA 0.13 3500 IOTA
XMR 160 18.4 Monero                     ZEC 38 16.3 Zcash
DASH 25 12 Dash                         SNX 1.5 330 Synthetix
COMP 46 8.7 Compound                    CRV 0.28 1250 Curve
SUSHI 0.66 190 SushiSwap                YFI 5100 0.033 yearn
BAL 2 58 Balancer                       ZRX 0.33 848 0x Protocol
ENJ 0.16 1750 Enjin Coin                BAT 0.18 1490 Basic Attention Token
ONE 0.013 14.4e3 Harmony                 DYDX 1 640 dYdX
GMX 24 9.8 GMX                          PENDLE 4.2 160 Pendle
BLUR 0.19 1900 Blur                     APE 0.76 680 ApeCoin
ENS 18 33 Ethereum Name Service         MASK 2.3 100 Mask Network
WLD 1.8 500 Worldcoin                   ARKM 1.3 300 Arkham
MINA 0.47 1170 Mina                     ROSE 0.066 6700 Oasis
KSM 19 16 Kusama                        ZIL 0.014 18.8e3 Zilliqa
QTUM 2.3 105 Qtum                       ICX 0.14 1010 ICON
ONT 0.18 900 Ontology                   WAVES 1 115 Waves
CELO 0.51 560 Celo                      ANKR 0.024 10e3 Ankr
SKL 0.038 5600 SKALE                    STORJ 0.42 143 Storj
LRC 0.13 1370 Loopring                  WOO 0.17 1850 WOO
"""
_WIDTH = 40
_STEPS_A_MINUTE = 1e5
"""Least decimals of an amount, so that the trades of a minute can differ in size."""
_LATEST_LISTING_DAY = 1_200


def _drawn(rank: int, name: str, price: float, millions: float, title: str) -> Coin:
    rng = generator(0, ("coin", name))
    turnover = round(60_000 / (1 + rank / 12) * float(rng.uniform(0.7, 1.4)), -2)
    day = int(rng.integers(-400, _LATEST_LISTING_DAY))
    return Coin(
        name=name,
        title=title,
        price=price,
        # Not 1.0, which marks coins that follow the market without delay.
        beta=round(float(rng.uniform(1.05, 1.6)), 2),
        volatility=round(float(rng.uniform(0.4, 0.8)), 2),
        turnover=turnover,
        trades=int(rng.integers(6, 14)),
        price_digits=min(max(4 - floor(log10(price)), 2), 9),
        size_digits=min(max(ceil(log10(_STEPS_A_MINUTE * price / turnover)), 0), 8),
        supply=millions * 1e6,
        # Some coins trade from the opening of the market.
        listed=OPENING + max(day, 0) * DAY,
    )


def _read() -> tuple[Coin, ...]:
    lines = [line for line in _TABLE.splitlines() if line]
    cells = [cell for line in lines for cell in (line[:_WIDTH], line[_WIDTH:])]
    rows = (cell.split(maxsplit=3) for cell in cells)
    return tuple(
        _drawn(rank, name, float(price), float(millions), title.strip())
        for rank, (name, price, millions, title) in enumerate(rows)
    )


MORE_COINS = _read()
"""Coins in addition to `coins.COINS`."""
