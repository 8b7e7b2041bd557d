"""Series, and how tables of the Messari API are read."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from weft.components.series import Point, Series, Wanted
from weft.http.api import Headers
from weft.http.errors import NotCoveredError, SourceError, UnavailableError, UnlistedSymbolError
from weft.times import DAY, iso

if TYPE_CHECKING:
    from weft.http import Reader

# What stands after the minus goes to suppliers.
KEPT = "fees-24-hour-usd - fees-supply-side-24-hour-usd"
SLUGS = """
    BTC:bitcoin ETH:ethereum BNB:bnb SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano AVAX:avalanche
    LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap ATOM:cosmos
    NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe
"""


def classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    own = {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)
    return UnavailableError if status == 200 and body["error"] is not None else own


def listed(
    metric: str,
    kind: str,
    path: str,
    lag: str = "1s",
    step: str = "1d",
    factor: float = 1.0,
    *,
    confirmed: bool = True,
) -> Series:
    return Series(
        metric=metric,
        path=path,
        step=step,
        lag=lag,
        factor=factor,
        extra={"kind": kind},
        confirmed=confirmed,
    )


def span_of(group: Sequence[Wanted]) -> dict[str, str]:
    first = min(one.since for one in group) - DAY
    return {"start": iso(first), "end": iso(group[0].until)}


def column_of(read: "Reader", path: str) -> list[Point]:
    """Return the days of a column, or of one less others, of an answer in rows."""
    schemas = read.at("metadata", "pointSchemas")
    columns = {
        "time" if column.at("is_timestamp").value is True else column.text("slug"): index
        for index, column in enumerate(schemas.rows())
    }
    names = path.split(" - ")
    if not {"time", *names} <= columns.keys():
        raise schemas.unexpected(f"columns with {', '.join(('time', *names))}")
    points = []
    for row in read.rows("data", "points"):
        if all(row.has(columns[name]) for name in names):
            value, *less = (row.number(columns[name]) for name in names)
            end = row.instant(columns["time"], unit="s") + DAY
            points.append(Point(end, value - sum(less)))
    return points


def unlocked_on(day: "Reader") -> float:
    native, dollars = day.at("unlockedInPeriodNative"), day.at("unlockedInPeriodUSD")
    # Null in coins and dollars alike is a day without any; in one alone, something is amiss.
    return 0.0 if native.value is None and dollars.value is None else native.number()
