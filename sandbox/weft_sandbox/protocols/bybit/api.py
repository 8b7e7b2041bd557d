"""Bybit's envelope, limits, headers and errors: most errors come with HTTP 200."""

import time
from collections.abc import Mapping
from typing import Any

from weft_sandbox.limits import Budget, Meter
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import BYBIT_LINEAR, BYBIT_SPOT, Venue
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

VENUES = {"spot": BYBIT_SPOT, "linear": BYBIT_LINEAR}


def envelope(
    result: Json, code: int = 0, message: str = "OK", at: int | None = None
) -> dict[str, Any]:
    """Return the envelope of every response."""
    body: dict[str, Any] = {"retCode": code, "retMsg": message, "result": result}
    # Errors have no access to the sandbox clock; no client computes with this time.
    return body | {"retExtInfo": {}, "time": at if at is not None else time.time_ns() // 1_000_000}


_CODES = {
    Problem.RATE_LIMITED: (10006, "Too many visits!"),
    Problem.NO_KEY: (10003, "API key is invalid."),
    Problem.BAD_KEY: (10003, "API key is invalid."),
    Problem.EXPIRED_KEY: (33004, "Your api key has expired."),
    Problem.PLAN: (10005, "Permission denied, please check your API key."),
    Problem.SERVER: (10016, "Server error."),
}


def _errors(problem: Problem, detail: str) -> Answer:
    if problem is Problem.BANNED:
        return Answer(b"access too frequent", 403, {}, "text/plain")
    if problem is Problem.NOT_FOUND:
        return Answer(b"404 page not found", 404, {}, "text/plain")
    if problem is Problem.BAD_PARAMETER:
        return Answer(envelope({}, 10001, f"params error: {detail} invalid"))
    return Answer(envelope({}, *_CODES[problem]))


def _headers(meters: Mapping[str, Meter]) -> dict[str, str]:
    meter = meters["address"]
    reset = time.time_ns() // 1_000_000 + int(meter.reset_seconds * 1_000)
    return {
        "X-Bapi-Limit": str(meter.amount),
        "X-Bapi-Limit-Status": str(meter.left),
        "X-Bapi-Limit-Reset-Timestamp": str(reset),
    }


api = Api(
    "bybit",
    errors=_errors,
    key=Key(header="X-BAPI-API-KEY", required=False),
    budgets=(Budget("address", 600, 5),),
    headers=_headers,
    # The address is banned immediately, without a status 429 before.
    ban_after=0,
)


def market_of(ask: Ask, *, spot: bool = True) -> tuple[str, Venue, Coin]:
    """Return category, venue and coin of a request."""
    category = ask.text("category", "linear", ("spot", "linear") if spot else ("linear",))
    name = ask.text("symbol")
    for coin in ask.world.coins:
        if coin.symbol == name and coin.listed <= ask.now:
            return category, VENUES[category], coin
    raise Refusal(Problem.BAD_PARAMETER, "symbol")
