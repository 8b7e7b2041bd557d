"""Tokens, prices in credits and names of the Nansen API."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from weft.sources.http.api import Headers, RateLimit
from weft.sources.http.errors import (
    ForbiddenError,
    NotCoveredError,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Reader

TOKENS = """
    BTC:ethereum:0x2260fac5e5542a773aa44fbcfedf7c193bc2c599
    ETH:ethereum:0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2
    BNB:bnb:0xbb4cdb9cbd36b01bd1cbaebf2de08d9173bc095c
    SOL:solana:So11111111111111111111111111111111111111112
    AVAX:avalanche:0xb31f66aa3c1e785363f0875a1b74e27b85fd66c7
    LINK:ethereum:0x514910771af9ca656af840dff83e8264ecf986ca
    UNI:ethereum:0x1f9840a85d5af5bf1d1762f925bdaddc4201f984
    AAVE:ethereum:0x7fc66500c84a76ad7e9c93437bfc5ac33e2ddae9
    ARB:arbitrum:0x912ce59144191c1204e64559fe8253a0e49e6548
    PEPE:ethereum:0x6982508145454ce325ddbe47a25d4ec3d2311933
"""


def classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error an answer means."""
    if status == 403:
        # Used up, everything is refused, until there are new ones; a plan lacks one endpoint.
        used_up = b"credit" in orjson.dumps(body).lower()
        return ForbiddenError if used_up else NotCoveredError
    return UnlistedSymbolError if status == 404 else None


def limits_of(credits_per_day: int) -> tuple[RateLimit, ...]:
    """Return the rate limits of a plan, credits among them."""
    return (
        RateLimit(20, 1.0, per_request=True, remaining="x-ratelimit-remaining-second"),
        RateLimit(300, 60.0, per_request=True, reset="ratelimit-reset"),
        RateLimit(credits_per_day, 86_400.0, "credits", remaining="x-nansen-credits-remaining"),
    )


def credited(
    metric: str, kind: str, path: str, field: str, step: str = "5h", lag: str = "1s"
) -> Series:
    """Return a series that costs credits."""
    extra = {"kind": kind, "field": field}
    return Series(metric=metric, path=path, step=step, lag=lag, extra=extra)


def call_of(wanted: Wanted) -> tuple[str, str]:
    """Return the path and the token of a request: series with the same pair share one request."""
    one_token = wanted.series.extra["kind"] != "list"
    return wanted.series.path, wanted.own_id if one_token else ""


def token_of(chain: str, address: str) -> tuple[str, str]:
    """Return chain and address of a token in one spelling."""
    # Only Solana tells addresses apart by case.
    return chain, address if chain == "solana" else address.lower()


def present(wanted: Wanted, row: "Reader", known_at: int) -> list[Point]:
    """Return the value of a row that holds the state of now."""
    place = row.at(wanted.series.extra["field"])
    return [] if place.value is None else [Point(wanted.until, place.number(), known_at)]


def now_of(wanted: Wanted, known_at: int, row: "Reader") -> Point | None:
    """Return the value of a row that holds the state of now, or None."""
    return next(iter(present(wanted, row, known_at)), None)


@dataclass(frozen=True, slots=True)
class Holding:
    """What a group of wallets held of a token at the end of an hour or day, and its price then."""

    end: int
    coins: float
    price: float


def holding_of(row: "Reader") -> Holding | None:
    """Return a holding; None of an hour that is not over, or without a number."""
    numbers = (row.at("token_amount"), row.at("price_usd"))
    if row.at("is_complete").value is not True or any(n.value is None for n in numbers):
        return None
    coins, price = (number.number() for number in numbers)
    return Holding(row.instant("bucket_end", unit="iso"), coins, price)
