"""The coins of the sandbox, with the character of their markets."""

from dataclasses import dataclass

from weft.foundation.times import parse_time

OPENING = parse_time("2020-01-01T00:00:00Z")
"""Opening of the simulated market; no data is older."""


@dataclass(frozen=True, slots=True)
class Coin:
    """One coin and the character of its market.

    Prices are integer ticks and amounts integer steps, so that sums over candles are exact.

    Attributes:
        name: symbol of the coin, for instance ``BTC``.
        title: full name, as in news.
        price: long-run price in dollars.
        beta: share of the market's moves.
        volatility: annual volatility of the coin's residual moves.
        turnover: mean turnover in dollars a minute.
        trades: mean number of trades a minute.
        price_digits: decimals of a price; a tick is the last one.
        size_digits: decimals of an amount; a step is the last one.
        supply: coins in circulation.
        listed: start of trading, microseconds since 1970.
    """

    name: str
    title: str
    price: float
    beta: float
    volatility: float
    turnover: float
    trades: int
    price_digits: int
    size_digits: int
    supply: float
    listed: int = OPENING

    @property
    def tick(self) -> float:
        """The smallest change of the price, in dollars."""
        return 10.0**-self.price_digits

    @property
    def step(self) -> float:
        """The smallest amount traded, in coins."""
        return 10.0**-self.size_digits

    @property
    def symbol(self) -> str:
        """The pair against USDT, for instance ``BTCUSDT``."""
        return f"{self.name}USDT"


def _day(text: str) -> int:
    return parse_time(f"{text}T00:00:00Z")


COINS = (
    Coin("BTC", "Bitcoin", 62_000, 1.0, 0.12, 900_000, 40, 2, 5, 19.8e6),
    Coin("ETH", "Ethereum", 2_900, 1.15, 0.30, 500_000, 36, 2, 4, 120.5e6),
    Coin("BNB", "BNB", 560, 0.85, 0.32, 120_000, 20, 2, 3, 139e6),
    Coin("SOL", "Solana", 145, 1.4, 0.50, 200_000, 30, 2, 3, 540e6, _day("2020-08-11")),
    Coin("XRP", "XRP", 0.95, 1.0, 0.50, 150_000, 24, 4, 0, 58e9),
    Coin("DOGE", "Dogecoin", 0.16, 1.3, 0.60, 110_000, 20, 5, 0, 148e9),
    Coin("ADA", "Cardano", 0.52, 1.2, 0.45, 60_000, 16, 4, 1, 35.4e9),
    Coin("AVAX", "Avalanche", 29, 1.4, 0.50, 40_000, 14, 2, 2, 420e6, _day("2020-09-22")),
    Coin("LINK", "Chainlink", 15, 1.25, 0.45, 38_000, 14, 3, 2, 650e6),
    Coin("DOT", "Polkadot", 6.4, 1.25, 0.42, 28_000, 12, 3, 2, 1.5e9, _day("2020-08-19")),
    Coin("LTC", "Litecoin", 84, 1.05, 0.38, 32_000, 12, 2, 3, 75e6),
    Coin("TRX", "TRON", 0.16, 0.7, 0.35, 30_000, 10, 4, 1, 86e9),
    Coin("BCH", "Bitcoin Cash", 380, 1.1, 0.45, 22_000, 10, 1, 3, 19.8e6),
    Coin("UNI", "Uniswap", 8.5, 1.3, 0.52, 20_000, 10, 3, 2, 600e6, _day("2020-09-17")),
    Coin("ATOM", "Cosmos", 7.8, 1.2, 0.45, 14_000, 8, 3, 2, 390e6),
    Coin("NEAR", "NEAR Protocol", 4.6, 1.4, 0.58, 18_000, 8, 3, 1, 1.2e9, _day("2020-10-14")),
    Coin("AAVE", "Aave", 150, 1.3, 0.52, 15_000, 8, 2, 3, 15e6, _day("2020-10-15")),
    Coin("ARB", "Arbitrum", 0.82, 1.4, 0.55, 16_000, 8, 4, 1, 4.2e9, _day("2023-03-23")),
    Coin("FIL", "Filecoin", 5.2, 1.25, 0.50, 11_000, 8, 3, 2, 620e6, _day("2020-10-15")),
    Coin("PEPE", "Pepe", 9.5e-6, 1.6, 0.80, 40_000, 12, 8, 0, 420e12, _day("2023-05-05")),
)
