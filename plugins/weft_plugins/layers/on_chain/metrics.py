"""Direction and weight of each on-chain and derivatives metric, and the reason for it.

The signs are the usual reading of these metrics among analysts, not estimates; the option `signs`
of the layer overrides them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["level", "change"]

LIQUIDATIONS: Final = "liquidation_imbalance"
"""Derived from three metrics: long less short liquidations, over open interest."""

LEVELS: Final = "liquidation_levels"
"""The balance of the feature of that name, which is centred at 0 and needs no ranking."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a metric enters the score.

    Attributes:
        name: canonical metric name.
        group: which part of the score it belongs to.
        form: whether its level, or the logarithm of its change over `change_rows`, is ranked among
            its history.
        sign: +1 where a high rank favours rising prices, -1 where it favours falling ones.
        weight: within its group.
        hours: usual time between two values; that of the slowest source where they differ.
        why: the reason for the sign.
    """

    name: str
    group: str
    form: Form
    sign: int
    weight: float
    hours: float
    why: str


_ROWS: Final[Mapping[str, tuple[tuple[str, Form, int, float, float, str], ...]]] = {
    "valuation": (
        ("mvrv_zscore", "level", -1, 2.0, 24, "dear against what holders paid"),
        ("mvrv", "level", -1, 1.0, 24, "dear against what holders paid"),
        ("nupl", "level", -1, 1.0, 24, "profits that may be taken"),
        ("sopr", "level", -1, 1.0, 24, "profits being taken"),
        ("supply_in_profit", "level", -1, 0.5, 24, "profits that may be taken"),
        ("reserve_risk", "level", -1, 1.0, 24, "price ahead of the confidence of long holders"),
        ("nvt", "level", -1, 0.5, 24, "dear against what the network is used for"),
        ("price_to_fees", "level", -1, 0.5, 24, "dear against what users pay"),
        ("price_to_sales", "level", -1, 0.5, 24, "dear against what the protocol earns"),
    ),
    "flows": (
        ("exchange_netflow", "level", -1, 2.0, 24, "coins move to where they are sold"),
        ("exchange_inflow", "level", -1, 0.5, 24, "coins move to where they are sold"),
        ("exchange_outflow", "level", 1, 0.5, 24, "coins are taken away to be held"),
        ("exchange_reserve", "change", -1, 1.5, 24, "more coins ready to be sold"),
        ("stablecoin_supply_ratio", "level", -1, 1.0, 24, "little dry powder beside the market"),
        ("stablecoin_supply_usd", "change", 1, 0.5, 24, "new money waits at the side"),
    ),
    "positioning": (
        ("funding_rate", "level", -1, 2.0, 8, "crowded longs pay to stay; contrarian"),
        ("open_interest_usd", "change", -1, 0.5, 8, "leverage that built up is closed again"),
        ("open_interest", "change", -1, 0.5, 8, "leverage that built up is closed again"),
        ("estimated_leverage_ratio", "level", -1, 1.0, 24, "fragile: much leverage on few coins"),
        ("long_short_ratio", "level", -1, 1.0, 8, "the crowd of accounts is long; contrarian"),
        ("top_long_short_accounts", "level", 1, 0.5, 8, "large accounts are long"),
        ("top_long_short_positions", "level", 1, 0.5, 8, "large positions are long"),
        ("taker_buy_sell_ratio", "level", 1, 1.0, 8, "buyers pay the spread to be filled"),
    ),
    "liquidations": (
        (LIQUIDATIONS, "level", 1, 1.0, 24, "longs were forced out: who had to sell has sold"),
        (LEVELS, "level", 1, 0.25, 8, "folklore: price is drawn to where more would be closed"),
    ),
    "miners": (
        ("puell_multiple", "level", -1, 1.5, 24, "mining pays unusually well; miners sell"),
        ("miner_netflow", "level", 1, 0.5, 24, "miners keep what they mine"),
        ("miner_outflow", "level", -1, 0.5, 24, "miners sell"),
        ("miner_reserve", "change", 1, 0.5, 24, "miners keep what they mine"),
        ("hash_rate", "change", 1, 1.0, 24, "miners invest; its recovery ends capitulation"),
    ),
    "holders": (
        ("hodl_over_1y", "change", 1, 1.0, 24, "old coins rest: accumulation"),
        ("hodl_under_1m", "change", -1, 1.0, 24, "old coins change hands: distribution"),
        ("mean_coin_age", "change", 1, 0.5, 24, "coins rest"),
        ("age_consumed", "level", -1, 1.0, 24, "old coins move, mostly to be sold"),
        ("large_holder_share", "change", 1, 0.5, 24, "large holders accumulate"),
        ("in_the_money", "level", -1, 0.5, 24, "profits that may be taken"),
    ),
    "smart_money": (
        ("smart_money_netflow_usd", "level", 1, 1.5, 24, "informed wallets buy"),
        ("top_trader_netflow_usd", "level", 1, 1.0, 24, "wallets that were right buy"),
        ("whale_netflow_usd", "level", 1, 1.0, 24, "large wallets buy"),
        ("smart_money_holders", "change", 1, 0.5, 24, "more informed wallets hold it"),
        ("bridge_netflow_usd", "level", 1, 0.5, 24, "money moves to its chain"),
    ),
    "activity": (
        ("active_addresses", "change", 1, 1.5, 24, "adoption grows"),
        ("transactions", "change", 1, 0.5, 24, "use grows"),
        ("fees_usd", "change", 1, 0.5, 24, "users pay more"),
        ("revenue_usd", "change", 1, 0.5, 24, "the protocol earns more"),
        ("tvl_usd", "change", 1, 1.0, 24, "money moves into its protocols"),
        ("active_users", "change", 1, 0.5, 24, "adoption grows"),
        ("active_developers", "change", 1, 0.25, 168, "it is worked on"),
    ),
    "order_book": (
        ("book_imbalance", "level", 1, 1.0, 1, "more waits to be bought than to be sold"),
        ("bid_ask_imbalance", "level", 1, 0.5, 1, "more waits to be bought than to be sold"),
    ),
}

READINGS: Final[Mapping[str, Reading]] = MappingProxyType(
    {row[0]: Reading(row[0], group, *row[1:]) for group, rows in _ROWS.items() for row in rows}
)
"""Every reading, by the metric's name."""

GROUPS: Final = tuple(_ROWS)
"""The parts of the score."""
