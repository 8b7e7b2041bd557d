"""Names of coins, which sources and layers share (see `weft.text.coins`)."""

from weft.text.coins import COINS, SPOKEN, Clarity, Coin

__all__ = ["COINS", "SPOKEN", "Clarity", "Coin"]
