"""IntoTheBlock: holders, signals and daily history of a coin. Real error bodies are unknown.

The path of bids and asks is not documented publicly: here they are a list of the history.
"""

import numpy as np

from weft.foundation.arrays import Floats
from weft.foundation.times import DAY, HOUR, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.market.venues import REFERENCE
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_READY = 2 * HOUR
"""Time from the end of a day to its row."""
_WITHOUT_HOLDERS = {"XRP", "TRX"}
"""Coins without data of holders."""


def _errors(problem: Problem, detail: str) -> Answer:
    status = {
        Problem.BAD_PARAMETER: 400,
        Problem.NOT_FOUND: 404,
        Problem.PLAN: 403,
        Problem.RATE_LIMITED: 429,
        Problem.SERVER: 500,
    }.get(problem, 401)
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"message": f"{problem}"}, status, wait)


api = Api(
    "intotheblock",
    errors=_errors,
    key=Key(header="X-Api-Key"),
    budgets=(Budget("second", 5, 1),),
)


def _coin(ask: Ask) -> str:
    name = ask.path["symbol"].upper()
    if name not in ask.world.coin:
        raise Refusal(Problem.NOT_FOUND)
    return name


@api.get("/{symbol}/overview")
def overview(ask: Ask) -> Json:
    """Return the current holders of a coin: numbers of addresses, which some coins do not have."""
    coin = _coin(ask)
    now = np.array([ask.now])

    def at(name: str) -> float:
        return float(ask.world.series(name, coin, now)[0])

    profit = at("supply_in_profit")
    content: dict[str, Json] = {
        "symbol": coin,
        "concentration": 0.05 + 0.3 * at("social_dominance"),
    }
    if coin not in _WITHOUT_HOLDERS:
        holders = 52_000_000
        content["inOutOfTheMoney"] = {
            "in": int(holders * profit * 0.95),
            "between": int(holders * 0.05),
            "out": int(holders * (1 - profit) * 0.95),
        }
        content["byTimeHeldComposition"] = {
            "hodler": int(holders * (0.5 + 0.2 * profit)),
            "cruiser": int(holders * 0.25),
            "trader": int(holders * (0.25 - 0.2 * profit)),
        }
    return content


@api.get("/{symbol}/signals")
def signals(ask: Ask) -> Json:
    """Return a composite signal."""
    mood = float(ask.world.series("news_sentiment", _coin(ask), np.array([ask.now]))[0])
    bullish = round(4 + 4 * mood)
    content = {"bearish": 9 - bullish, "bullish": bullish, "neutral": 0, "score": mood}
    return {"summary": content | {"thresholds": {"bearish": -0.3, "bullish": 0.3}}}


@api.get("/{symbol}/financial", plan=True)
def financial(ask: Ask) -> Json:
    """Return the complete days of a span, oldest first."""
    coin = _coin(ask)
    until = min(ask.instant("until", ask.now, unit=None) + DAY, ask.now - _READY)
    since = max(ask.instant("since", until - 30 * DAY, unit=None), OPENING)
    days = np.arange(-(-since // DAY) * DAY, until - DAY + 1, DAY)
    dates = [iso(day)[:10] for day in days.tolist()]

    def rows(**fields: Floats) -> Json:
        columns = [values.tolist() for values in fields.values()]
        content = [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]
        return [{"date": date} | row for date, row in zip(dates, content, strict=True)]

    ends = days + DAY
    profit = ask.world.series("supply_in_profit", coin, ends)
    entry = ask.world.coin[coin]
    volume = ask.world.series("book_volume", coin, ends)
    tilt = ask.world.series("bid_ask_imbalance", coin, ends)
    price = [ask.world.price(REFERENCE, entry, end) * entry.tick for end in ends.tolist()]
    return {
        "name": entry.title,
        "symbol": coin,
        "rank": 1 + list(ask.world.coin).index(coin),
        "price": rows(price=np.array(price)),
        "inOutOfTheMoneyHistory": rows(
            inPercentage=profit * 0.95, outPercentage=(1 - profit) * 0.9
        ),
        "breakEvenPriceHistory": rows(inPercentage=profit * 0.94, outPercentage=(1 - profit) * 0.9),
        "volatility": rows(volatility60=ask.world.series("volatility60", coin, ends)),
        "bidAskVolumes": rows(bidVolume=volume * (1 + tilt), askVolume=volume * (1 - tilt)),
        "largeTxs": rows(adjustedCount=np.rint(ask.world.series("whale_transfers", coin, ends))),
    }


@api.get("/{symbol}/financial/price")
def price(ask: Ask) -> Json:
    """Return a coin's price."""
    coin = ask.world.coin[_coin(ask)]
    return {"price": ask.world.price(REFERENCE, coin, ask.now) * coin.tick}
