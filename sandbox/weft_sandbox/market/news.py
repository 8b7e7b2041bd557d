"""Made-up headlines: some tell what happened, a few know what comes, most are noise.

Of all items 35 % take their sentiment from the coin's past 6 hours, 20 % from its next 12 hours,
and the rest from nothing.
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
        number: unique, the same for everybody who asks.
        time: when it appeared, in microseconds since 1970.
        title: headline.
        text: a sentence or two.
        outlet: who published it.
        coin: what it is about.
        sentiment: -1 to 1, as its author meant it.
    """

    number: int
    time: int
    title: str
    text: str
    outlet: str
    coin: str
    sentiment: float


class News:
    """Writes the news of any hour."""

    def __init__(self, skeleton: Skeleton, series: Series) -> None:
        self._skeleton, self._series = skeleton, series

    def items(self, first: int, end: int, coin: Coin | None = None) -> list[NewsItem]:
        """Return what appeared in a span, oldest first, of one coin or of all."""
        hours = range(max((first - OPENING) // HOUR, 0), max(-(-(end - OPENING) // HOUR), 0))
        found = [item for hour in hours for item in self._hour(hour)]
        name = coin.name if coin else None
        return [i for i in found if first <= i.time < end and name in {None, i.coin}]

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
                told = float(self._series.window_return(coin, at, -PAST_HOURS)[0])
            elif kind < PAST_SHARE + COMING_SHARE:
                told = float(self._series.window_return(coin, at, COMING_HOURS)[0])
            else:
                told = 0.0
            mood = float(np.clip(np.tanh(0.6 * told + 0.35 * noise), -1, 1))
            titles = _GOOD if mood > 0.2 else _BAD if mood < -0.2 else _FLAT
            title = titles[int(rng.integers(len(titles)))].format(coin=coin.title)
            outlet = OUTLETS[int(rng.integers(len(OUTLETS)))]
            text = f"{title}, {outlet} reports. Trading in {coin.name} was closely watched."
            time = OPENING + hour * HOUR + int(moment * HOUR) // 1_000_000 * 1_000_000
            number = hour * 64 + index
            items.append(NewsItem(number, time, title, text, outlet, coin.name, round(mood, 3)))
        return items
