"""Simulated headlines: some follow returns, a few lead them, most are noise.

The sentiment of 35 % of the items follows the coin's past 6 hours, that of 20 % its next 12 hours,
and the rest is noise.
"""

from dataclasses import dataclass

import numpy as np

from weft.foundation.times import HOUR
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import generator
from weft_sandbox.market.series import Series
from weft_sandbox.market.skeleton import Skeleton

PAST_HOURS, COMING_HOURS = 6, 12
PAST_SHARE, COMING_SHARE = 0.35, 0.20
_AN_HOUR = 2.0
OUTLETS = ("Ledger Times", "Block Courier", "The Daily Hash", "Chain Observer", "Coin Gazette")
_GOOD = (
    "{coin} climbs as buyers return",
    "{coin} hits its highest price in weeks",
    "Institutions add {coin} to their portfolios, filing shows",
    "{coin} network upgrade goes live without a hitch",
    "Analysts raise their {coin} outlook after strong inflows",
    "Large holders accumulate {coin}, data suggests",
)
_BAD = (
    "{coin} slides as sellers take over",
    "{coin} falls to its lowest price in weeks",
    "Regulator opens inquiry into {coin} trading",
    "{coin} bridge halted after exploit",
    "Leveraged {coin} longs wiped out",
    "Analysts cut their {coin} outlook after heavy outflows",
)
_FLAT = (
    "{coin} holds steady as traders wait",
    "What to know about {coin} this week",
    "{coin} developers publish their roadmap",
    "{coin} conference announces its speakers",
)


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One published text.

    Attributes:
        number: unique number of the item.
        time: instant of publication, microseconds since 1970.
        title: headline.
        text: one or two sentences.
        outlet: publisher.
        coin: coin of the text.
        sentiment: true sentiment, -1 to 1.
    """

    number: int
    time: int
    title: str
    text: str
    outlet: str
    coin: str
    sentiment: float


class News:
    """Generates the news of any hour."""

    def __init__(self, skeleton: Skeleton, series: Series) -> None:
        self._skeleton, self._series = skeleton, series

    def items(self, first: int, end: int, coin: Coin | None = None) -> list[NewsItem]:
        """Return the news of a span, oldest first, of one coin or of all."""
        hours = range(max((first - OPENING) // HOUR, 0), max(-(-(end - OPENING) // HOUR), 0))
        published = [item for hour in hours for item in self._hour(hour)]
        name = coin.name if coin else None
        return [i for i in published if first <= i.time < end and name in {None, i.coin}]

    def _hour(self, hour: int) -> list[NewsItem]:
        rng = generator(self._skeleton.seed, ("news",), hour)
        coins = self._skeleton.coins
        weights = 1.0 / np.arange(1, len(coins) + 1)
        weights /= weights.sum()
        items = []
        for index, moment in enumerate(np.sort(rng.random(int(rng.poisson(_AN_HOUR))))):
            coin = coins[int(rng.choice(len(coins), p=weights))]
            kind, noise = rng.random(), rng.normal()
            at = np.array([hour], np.int64)
            if kind < PAST_SHARE:
                signal = float(self._series.window_return(coin, at, -PAST_HOURS)[0])
            elif kind < PAST_SHARE + COMING_SHARE:
                signal = float(self._series.window_return(coin, at, COMING_HOURS)[0])
            else:
                signal = 0.0
            mood = float(np.clip(np.tanh(0.6 * signal + 0.35 * noise), -1, 1))
            titles = _GOOD if mood > 0.2 else _BAD if mood < -0.2 else _FLAT
            title = titles[int(rng.integers(len(titles)))].format(coin=coin.title)
            outlet = OUTLETS[int(rng.integers(len(OUTLETS)))]
            text = f"{title}, {outlet} reports. Trading in {coin.name} was closely watched."
            time = OPENING + hour * HOUR + int(moment * HOUR) // 1_000_000 * 1_000_000
            number = hour * 64 + index
            items.append(NewsItem(number, time, title, text, outlet, coin.name, round(mood, 3)))
        return items
