"""The recipes of the simulated series: their lead or lag, and correlation with returns.

The driver of a series is the coin's return (scaled by its usual size, over `hours`) with weight
`correlation`, plus noise and slow waves. A series with positive `hours` leads: its returns are in
the future. A series with negative `hours` lags. Compare layers, models and evaluations with this
table:

| series | hours | correlation | | series | hours | correlation |
|---|---|---|---|---|---|---|
| exchange_netflow | +24 | -0.20 | | mvrv_zscore | -720 | +0.80 |
| whale_transfers | +12 | +0.12 | | nupl | -720 | +0.75 |
| stablecoin_inflow | +48 | +0.18 | | sopr | -72 | +0.60 |
| active_addresses | +72 | +0.12 | | realized_price | -2160 | +0.40 |
| tvl | +96 | +0.10 | | social_volume | -24 | +0.40 |
| developer_activity | +336 | +0.08 | | google_trends | -168 | +0.50 |
| dex_volume | +6 | +0.08 | | fear_greed | -168 | +0.70 |
| social_sentiment | +8 | +0.10 | | open_interest | -72 | +0.45 |
| news_sentiment | +12 | +0.12 | | long_short_ratio | -48 | -0.40 |
| top_position_ratio | +12 | +0.10 | | top_account_ratio | -24 | +0.15 |
| exchange_reserve | +168 | -0.15 | | funding_pressure | -72 | +0.60 |
| miner_outflow | +24 | -0.08 | | vix | -24 | -0.35 |
| etf_flow | -24 | +0.45 | | dxy | +72 | -0.12 |
| bid_ask_imbalance | +6 | +0.10 | | us10y | 0 | 0 |
| gold, fees, hash_rate, ... | 0 | 0 | | | | |

Correlations are of an hourly series with the volatility-scaled return of the window; with the
plain return they are some hundredths smaller. A series with 0 hours is noise, as is every name
that is not in the table.
"""

from dataclasses import dataclass
from typing import Literal

from weft_sandbox.market.draws import key_of


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parameters of a series.

    Attributes:
        level: middle of the series.
        spread: change by one standard deviation of the driver; for a positive series as a share of
            the level.
        hours: window of future returns (positive) or past returns (negative) in the driver; 0 for
            none.
        correlation: correlation with those returns.
        shape: ``positive`` stays above 0; ``bounded`` stays between low and high; ``signed`` has no
            bounds.
        low: lower bound.
        high: upper bound.
        unit: unit of the level: one, coins in circulation, or their value in dollars.
    """

    level: float
    spread: float
    hours: int = 0
    correlation: float = 0.0
    shape: Literal["positive", "signed", "bounded"] = "positive"
    low: float = 0.0
    high: float = 0.0
    unit: Literal["one", "coins", "dollars"] = "one"


def _index(hours: int, correlation: float, low: float = 0.0, high: float = 100.0) -> Recipe:
    return Recipe((low + high) / 2, 1.0, hours, correlation, "bounded", low, high)


RECIPES = {
    "exchange_netflow": Recipe(0.0, 2e-4, 24, -0.20, "signed", unit="coins"),
    "exchange_inflow": Recipe(1.5e-3, 0.35, 24, -0.08, unit="coins"),
    "exchange_outflow": Recipe(1.5e-3, 0.35, 24, 0.08, unit="coins"),
    "exchange_reserve": Recipe(0.12, 0.04, 168, -0.15, unit="coins"),
    "whale_transfers": Recipe(180.0, 0.5, 12, 0.12),
    "stablecoin_inflow": Recipe(3e8, 0.4, 48, 0.18),
    "stablecoin_supply": Recipe(1.6e11, 0.03, 0, 0.0),
    "active_addresses": Recipe(450_000.0, 0.15, 72, 0.12),
    "new_addresses": Recipe(60_000.0, 0.2, 72, 0.08),
    "transactions": Recipe(400_000.0, 0.15),
    "tvl": Recipe(0.05, 0.1, 96, 0.10, unit="dollars"),
    "developer_activity": Recipe(120.0, 0.3, 336, 0.08),
    "dex_volume": Recipe(0.004, 0.5, 6, 0.08, unit="dollars"),
    "fees": Recipe(2e6, 0.6),
    "revenue": Recipe(1e6, 0.6),
    "hash_rate": Recipe(6e20, 0.06),
    "difficulty": Recipe(9e13, 0.05),
    "miner_outflow": Recipe(4e-5, 0.4, 24, -0.08, unit="coins"),
    "miner_inflow": Recipe(4e-5, 0.4, unit="coins"),
    "miner_netflow": Recipe(0.0, 5e-6, shape="signed", unit="coins"),
    "miner_reserve": Recipe(0.09, 0.02, unit="coins"),
    "miner_revenue": Recipe(3.5e7, 0.2, -24, 0.30),
    "mvrv": Recipe(1.7, 0.3, -720, 0.80),
    "mvrv_zscore": Recipe(1.2, 1.1, -720, 0.80, "signed"),
    "nupl": _index(-720, 0.75, -0.6, 0.9),
    "sopr": Recipe(1.01, 0.015, -72, 0.60),
    "nvt": Recipe(60.0, 0.3),
    "realized_price": Recipe(0.65, 0.08, -2160, 0.40, unit="one"),
    "supply_in_profit": _index(-720, 0.75, 0.3, 1.0),
    "dormancy": Recipe(12.0, 0.5),
    "thermocap_usd": Recipe(0.06, 0.02, unit="dollars"),
    "puell_multiple": Recipe(1.2, 0.3),
    "reserve_risk": Recipe(0.002, 0.3),
    "estimated_leverage_ratio": Recipe(0.2, 0.15),
    "age_consumed": Recipe(0.5, 0.5, unit="coins"),
    "mean_coin_age": Recipe(800.0, 0.03),
    "hodl_over_1y": Recipe(0.62, 1.0, shape="bounded", low=0.5, high=0.75),
    "social_volume": Recipe(9_000.0, 0.5, -24, 0.40),
    "social_sentiment": _index(8, 0.10, -1.0, 1.0),
    "social_dominance": _index(0, 0.0, 0.0, 0.5),
    "bid_ask_imbalance": _index(6, 0.10, -1.0, 1.0),
    "news_sentiment": _index(12, 0.12, -1.0, 1.0),
    "google_trends": _index(-168, 0.50),
    "galaxy_score": _index(-24, 0.30),
    "fear_greed": _index(-168, 0.70),
    "open_interest": Recipe(0.012, 0.18, -72, 0.45, unit="coins"),
    "long_short_ratio": Recipe(1.25, 0.22, -48, -0.40),
    "top_position_ratio": Recipe(1.1, 0.12, 12, 0.10),
    "top_account_ratio": Recipe(1.2, 0.18, -24, 0.15),
    "funding_pressure": Recipe(0.0, 1.0, -72, 0.60, "signed"),
    "etf_flow": Recipe(0.0, 1.8e8, -24, 0.45, "signed"),
    "vix": Recipe(18.0, 0.22, -24, -0.35),
    "dxy": Recipe(103.0, 0.02, 72, -0.12),
    "us10y": Recipe(4.1, 0.08),
    "us2y": Recipe(3.9, 0.08),
    "fed_funds": Recipe(4.0, 0.05),
    "gold": Recipe(2_600.0, 0.08),
    "oil": Recipe(74.0, 0.1),
    "sp500": Recipe(5_800.0, 0.08, -24, 0.30),
    "inflation_expectation": Recipe(2.4, 0.06),
}
"""Recipes by name; any other name is noise."""


def recipe_of(name: str) -> Recipe:
    """Return the recipe of a series; an unknown name gives positive noise of a random level."""
    known = RECIPES.get(name)
    if known is not None:
        return known
    chance = key_of("level", name) / 2**63
    return Recipe(10.0 ** (5.0 * chance - 1.0), 0.25)
