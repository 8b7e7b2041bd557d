"""Which coins are peers: each base asset's sector."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_MEMBERS: Final = {
    "money": "BTC LTC BCH BSV DOGE XRP XLM DASH ZEC XMR KAS ETC",
    "platforms": (
        "ETH SOL ADA AVAX DOT NEAR ATOM TRX ALGO EOS XTZ SUI APT SEI TON HBAR ICP FTM S NEO EGLD "
        "VET QTUM FLOW LUNA LUNC TIA INJ"
    ),
    "scaling": "MATIC POL ARB OP STRK MNT IMX METIS ZK STX SKL LRC",
    "defi": (
        "UNI AAVE MKR SKY COMP CRV SNX SUSHI YFI 1INCH LDO PENDLE ENA JUP RUNE DYDX GMX CAKE BAL "
        "ONDO RAY JTO HYPE ETHFI"
    ),
    "memes": "SHIB PEPE FLOKI BONK WIF MEME BRETT POPCAT PENGU TRUMP PNUT TURBO NEIRO BOME",
    "ai": "FET AGIX OCEAN TAO RENDER RNDR WLD ARKM VIRTUAL AIOZ AKT GRASS",
    "gaming": "AXS SAND MANA GALA ENJ ILV RON BEAM PIXEL APE CHZ YGG MAGIC",
    "exchanges": "BNB OKB CRO KCS GT LEO FTT HT BGB",
    "data": "LINK GRT FIL AR BAND API3 PYTH STORJ SC BTT THETA HNT",
}

SECTORS: Final[Mapping[str, str]] = MappingProxyType(
    {asset: sector for sector, assets in _MEMBERS.items() for asset in assets.split()}
)
"""Sector of each base asset. One that is not here has the whole market as its peers.

Where a coin fits several sectors, it stands in the one whose news moves it most.
"""
