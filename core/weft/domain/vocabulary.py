"""Vocabulary of metrics: one name, unit and sign for each, whichever provider brings it.

A layer asks for a metric by its name here, not for a vendor's series; each provider converts the
vendor's names and units. A metric outside this list may be used as well; its provider then defines
what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from weft.domain.instruments import Scope
from weft.foundation.times import Interval


@dataclass(frozen=True, slots=True)
class Metric:
    """One canonical metric.

    Attributes:
        name: what layers ask for.
        unit: unit of its values; a share is 0 to 1, never percent.
        scope: whether it is about an instrument, an asset or the whole market.
        meaning: what it measures, over which time, and what its sign means.
        group: heading in lists.
        every: usual time from one value to the next, for the slowest common source, weekends and
            publication delay included. A value older than four of these counts as unknown.
        lowest: smallest possible value; None where there is no bound.
        highest: greatest possible value; None where there is no bound.
    """

    name: str
    unit: str
    scope: Scope
    meaning: str
    group: str
    every: Interval
    lowest: float | None = None
    highest: float | None = None

    @property
    def range(self) -> str:
        """The range of possible values in words; empty where there are no bounds."""
        match self.lowest, self.highest:
            case None, None:
                return ""
            case None, highest:
                return f"{highest:g} or less"
            case lowest, None:
                return f"{lowest:g} or more"
            case lowest, highest:
                return f"{lowest:g} to {highest:g}"


_Bounds: TypeAlias = tuple[float | None, float | None]

_OF_UNIT: Final[Mapping[str, _Bounds]] = {
    "share": (0.0, 1.0),
    "coins": (0.0, None),
    "USD": (0.0, None),
    "count": (0.0, None),
    "ratio": (0.0, None),
    "days": (0.0, None),
    "coin days": (0.0, None),
    "hashes a second": (0.0, None),
    "points": (0.0, None),
    "quote": (0.0, None),
    "rank": (1.0, None),
    "-1 to 1": (-1.0, 1.0),
    "0 to 100": (0.0, 100.0),
    "score": (None, None),
}
"""Smallest and greatest value of each unit."""

_NET: Final[_Bounds] = (None, None)
_SPREAD: Final[_Bounds] = (0.0, 2.0)
"""A price difference over the mid price: 2 where one of the prices is 0."""
_GROWTH: Final[_Bounds] = (-1.0, None)
"""A rate of growth cannot fall below -1."""

_OF_METRIC: Final[Mapping[str, _Bounds]] = {
    "funding_rate": (None, None),
    "bid_ask_spread": _SPREAD,
    "cross_exchange_spread": _SPREAD,
    # In a thin order book slippage may exceed 1.
    "slippage": (0.0, None),
    "exchange_netflow": _NET,
    "miner_netflow": _NET,
    "smart_money_netflow_usd": _NET,
    "whale_netflow_usd": _NET,
    "top_trader_netflow_usd": _NET,
    "fresh_wallet_netflow_usd": _NET,
    "bridge_netflow_usd": _NET,
    # Unrealised losses may exceed the market cap; unrealised profits cannot.
    "nupl": (None, 1.0),
    "supply_inflation": _GROWTH,
    # Share of the circulating supply, which may multiply.
    "unlock_share": (0.0, None),
    "stablecoin_yield": _GROWTH,
    "treasury_10y": _GROWTH,
    "fed_funds": _GROWTH,
}
"""Bounds of metrics that differ from those of their unit."""

PAID_OVER: Final[Mapping[str, str]] = MappingProxyType({"funding_rate": "8h"})
"""Metrics that are paid at intervals, and the span to which views scale them.

A provider stores each payment as it was made. Some venues pay every 8 hours, others every hour,
and some change the interval: a view scales each payment to the span by the time since the previous
payment, as known then.
"""

_DAY: Final = Interval.parse("1d")
_EVERY_OF_GROUP: Final[Mapping[str, str]] = {"order book": "1h"}
_EVERY_OF_METRIC: Final[Mapping[str, str]] = {
    "funding_rate": "8h",
    "bid_ask_imbalance": "1d",
    "cross_exchange_spread": "1d",
    "vwap": "1d",
    "trade_count": "1d",
    "dev_commits": "1w",
    "active_developers": "1w",
    "developer_share": "1w",
    "max_supply": "4w",
    "unlock_usd": "1w",
    "unlock_share": "1w",
    # No values on weekends and holidays (up to four days), published a day later; the dollar
    # index once a week.
    "vix": "2d",
    "treasury_10y": "2d",
    "fed_funds": "2d",
    "dollar_index": "5d",
}
"""Usual times from one value to the next, where they are not a day."""


def _every(name: str, group: str) -> Interval:
    text = _EVERY_OF_METRIC.get(name, _EVERY_OF_GROUP.get(group, _DAY.name))
    return Interval.parse(text)


_ASSET, _MARKET, _INSTRUMENT = Scope.ASSET, Scope.MARKET, Scope.INSTRUMENT

_ROWS: Final = {
    "derivatives": (
        ("funding_rate", "share", _INSTRUMENT, "paid by longs to shorts, per 8 hours in views"),
        ("open_interest", "coins", _INSTRUMENT, "contracts open"),
        ("open_interest_usd", "USD", _INSTRUMENT, "contracts open"),
        ("long_short_ratio", "ratio", _INSTRUMENT, "accounts long over accounts short"),
        ("top_long_short_accounts", "ratio", _INSTRUMENT, "the same, of the largest accounts"),
        ("top_long_short_positions", "ratio", _INSTRUMENT, "their long positions over short ones"),
        ("taker_buy_sell_ratio", "ratio", _INSTRUMENT, "volume of taker buys over taker sells"),
        (
            "long_liquidations_usd",
            "USD",
            _INSTRUMENT,
            "forced closes of long positions, per interval",
        ),
        (
            "short_liquidations_usd",
            "USD",
            _INSTRUMENT,
            "forced closes of short positions, per interval",
        ),
        ("estimated_leverage_ratio", "ratio", _ASSET, "open interest over exchange reserve"),
    ),
    "order book": (
        ("bid_depth_usd", "USD", _INSTRUMENT, "bids within 1 % of the mid price"),
        ("ask_depth_usd", "USD", _INSTRUMENT, "asks within 1 % of the mid price"),
        ("book_imbalance", "-1 to 1", _INSTRUMENT, "bid less ask depth over both; + is more bids"),
        ("bid_ask_spread", "share", _INSTRUMENT, "best ask less best bid, over the mid price"),
        ("slippage", "share", _INSTRUMENT, "cost of a market order of 100,000 USD"),
        ("vwap", "quote", _INSTRUMENT, "volume-weighted price of an interval"),
        ("trade_count", "count", _INSTRUMENT, "trades of an interval"),
        ("bid_ask_imbalance", "-1 to 1", _ASSET, "bid less ask volume of all venues over both"),
        (
            "cross_exchange_spread",
            "share",
            _ASSET,
            "dearest less cheapest venue, over the mid price",
        ),
    ),
    "exchange flows": (
        ("exchange_inflow", "coins", _ASSET, "to exchanges, a day"),
        ("exchange_outflow", "coins", _ASSET, "from exchanges, a day"),
        ("exchange_netflow", "coins", _ASSET, "in less out, a day; + means coins move in"),
        ("exchange_reserve", "coins", _ASSET, "on addresses of exchanges"),
        ("stablecoin_supply_ratio", "ratio", _ASSET, "market cap over stablecoin supply"),
    ),
    "holders": (
        ("large_transactions", "count", _ASSET, "transfers above 100,000 USD, a day"),
        ("whale_transactions", "count", _ASSET, "transfers above 1,000,000 USD, a day"),
        ("large_holder_share", "share", _ASSET, "of supply with large holders"),
        ("hodl_over_1y", "share", _ASSET, "of supply that has not moved for a year"),
        ("hodl_under_1m", "share", _ASSET, "of supply that moved within a month"),
        ("mean_coin_age", "days", _ASSET, "since a coin last moved, on average"),
        ("age_consumed", "coin days", _ASSET, "destroyed by transfers, a day"),
        ("in_the_money", "share", _ASSET, "of addresses whose coins are worth more than paid"),
        ("out_of_the_money", "share", _ASSET, "of addresses whose coins are worth less than paid"),
    ),
    "valuation": (
        ("mvrv", "ratio", _ASSET, "market value over realised value"),
        ("mvrv_zscore", "score", _ASSET, "market less realised value, in standard deviations"),
        ("nupl", "share", _ASSET, "net unrealised profit or loss over market cap"),
        ("sopr", "ratio", _ASSET, "price sold over price paid of coins spent, a day"),
        ("realized_cap_usd", "USD", _ASSET, "coins at the price they last moved at"),
        ("thermocap_usd", "USD", _ASSET, "all miner revenue so far"),
        ("market_cap_usd", "USD", _ASSET, "circulating supply at the present price"),
        ("fully_diluted_cap_usd", "USD", _ASSET, "all supply there will be, at the present price"),
        ("puell_multiple", "ratio", _ASSET, "value mined in a day over its yearly mean"),
        ("reserve_risk", "ratio", _ASSET, "price over the confidence of long holders"),
        ("nvt", "ratio", _ASSET, "market cap over value transferred in a day"),
        ("supply_in_profit", "share", _ASSET, "of supply last moved at a lower price"),
    ),
    "miners": (
        ("hash_rate", "hashes a second", _ASSET, "mean of a day"),
        ("miner_inflow", "coins", _ASSET, "to miners, a day"),
        ("miner_outflow", "coins", _ASSET, "from miners, a day"),
        ("miner_netflow", "coins", _ASSET, "in less out, a day"),
        ("miner_reserve", "coins", _ASSET, "on addresses of miners"),
    ),
    "smart money": (
        ("smart_money_netflow_usd", "USD", _ASSET, "bought less sold by labelled funds, a day"),
        ("smart_money_holders", "count", _ASSET, "labelled wallets that hold it"),
        ("whale_netflow_usd", "USD", _ASSET, "bought less sold by wallets labelled whale, a day"),
        (
            "top_trader_netflow_usd",
            "USD",
            _ASSET,
            "bought less sold by the most profitable wallets, a day",
        ),
        ("fresh_wallet_netflow_usd", "USD", _ASSET, "bought less sold by new wallets, a day"),
        ("bridge_netflow_usd", "USD", _ASSET, "to its chain through bridges, a day"),
    ),
    "activity": (
        ("active_addresses", "count", _ASSET, "addresses that sent or received, a day"),
        ("active_users", "count", _ASSET, "users of the protocol, a day"),
        ("transactions", "count", _ASSET, "a day"),
        ("fees_usd", "USD", _ASSET, "paid by users, a day"),
        ("revenue_usd", "USD", _ASSET, "fees that the protocol keeps, a day"),
        ("tvl_usd", "USD", _ASSET, "locked in its protocols"),
        ("dex_volume_usd", "USD", _ASSET, "traded on its exchanges, a day"),
        ("price_to_fees", "ratio", _ASSET, "market cap over a year's fees"),
        ("price_to_sales", "ratio", _ASSET, "market cap over a year's revenue"),
        ("dev_activity", "count", _ASSET, "development events, a day"),
        ("dev_commits", "count", _ASSET, "commits to its repositories, a week"),
        ("active_developers", "count", _ASSET, "people who committed within a week"),
    ),
    "ecosystem": (
        ("activity_share", "share", _ASSET, "active users over those of all its peers, a day"),
        ("fees_share", "share", _ASSET, "fees over those of all its peers, a day"),
        ("tvl_share", "share", _ASSET, "value locked over that of all its peers"),
        ("developer_share", "share", _ASSET, "active developers over those of all its peers"),
    ),
    "supply": (
        ("circulating_supply", "coins", _ASSET, "in circulation"),
        ("max_supply", "coins", _ASSET, "largest possible supply; no value where unlimited"),
        ("supply_inflation", "share", _ASSET, "growth of the supply in circulation over a year"),
    ),
    "events": (
        ("unlock_usd", "USD", _ASSET, "tokens that unlock within the coming 30 days"),
        ("unlock_share", "share", _ASSET, "of supply that unlocks within the coming 30 days"),
        ("governance_events", "count", _ASSET, "votes and proposals, a day"),
    ),
    "social": (
        ("social_volume", "count", _ASSET, "mentions, a day"),
        ("social_dominance", "share", _ASSET, "of all mentions"),
        ("social_sentiment", "-1 to 1", _ASSET, "of posts; + is favourable"),
        ("news_sentiment", "-1 to 1", _ASSET, "of articles; + is favourable"),
        ("news_volume", "count", _ASSET, "articles, a day"),
        ("news_dominance", "share", _ASSET, "of all articles of a day, those about it"),
        ("news_entities", "count", _ASSET, "people, firms and topics in its articles, a day"),
        ("galaxy_score", "0 to 100", _ASSET, "social and market health"),
        ("alt_rank", "rank", _ASSET, "1 is best"),
        ("influencers", "count", _ASSET, "accounts that posted on it"),
        ("spam_share", "share", _ASSET, "of posts that are spam"),
        ("mindshare", "share", _ASSET, "of the attention of crypto posts"),
    ),
    "market": (
        ("fear_greed", "0 to 100", _MARKET, "0 is fear, 100 greed"),
        ("total_market_cap_usd", "USD", _MARKET, "of all coins"),
        ("btc_dominance", "share", _MARKET, "of Bitcoin in it"),
        ("stablecoin_supply_usd", "USD", _MARKET, "in circulation"),
        ("stablecoin_yield", "share", _MARKET, "a year, middle of the large pools"),
        ("trending_rank", "rank", _ASSET, "among searches; 1 is first"),
        ("vix", "points", _MARKET, "expected volatility of US stocks"),
        ("dollar_index", "points", _MARKET, "trade-weighted US dollar"),
        ("treasury_10y", "share", _MARKET, "yield of ten-year US government bonds, a year"),
        ("fed_funds", "share", _MARKET, "overnight rate, a year"),
    ),
}

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        name: Metric(
            name,
            unit,
            scope,
            meaning,
            group,
            _every(name, group),
            *_OF_METRIC.get(name, _OF_UNIT[unit]),
        )
        for group, rows in _ROWS.items()
        for name, unit, scope, meaning in rows
    }
)
"""Every canonical metric, by name."""
