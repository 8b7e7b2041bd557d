"""Series, and how answers of the Artemis API are read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from weft.foundation.times import DAY, parse_time
from weft.sources.http.api import Headers
from weft.sources.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.sources.series import Series

if TYPE_CHECKING:
    from weft.sources.http import Http, HttpResponse, Reader
    from weft.sources.http.request import Params

NOT_THERE = ("metric not", "market data not")
NOT_YET = "latest data not"
WEEK_LONG = 7 * DAY
PEERS = {
    "chains": (
        *("BTC", "ETH", "BNB", "SOL", "TRX", "AVAX", "ARB", "OP", "POL", "NEAR", "SUI", "APT"),
        *("ADA", "DOT", "ATOM", "TON", "SEI"),
    ),
    "exchanges": ("UNI", "CAKE", "CRV", "SUSHI", "DYDX"),
    "lending": ("AAVE", "COMP", "MORPHO"),
}
Days = dict[int, float]


def classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error a status means."""
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def daily(metric: str, path: str) -> Series:
    """Return a series of one value a day."""
    return Series(metric=metric, path=path, lag="12h")


def weekly(metric: str, path: str, **extra: Any) -> Series:  # noqa: ANN401  # as the field of `Series`
    """Return a series of one value a week."""
    return Series(metric=metric, path=path, step="1w", lag="12h", extra=extra, confirmed=False)


def share_among(metric: str, path: str) -> Series:
    """Return a series of an asset's share among its peers."""
    return Series(metric=metric, path=path, lag="12h", extra={"share": True})


def values_of(answer: "HttpResponse", place: "Reader") -> "Days | UnlistedSymbolError":
    """Return the days in an answer; an error stands there as a text."""
    if not isinstance(place.value, str):
        return dict(value_in(row, DAY) for row in place.rows() if row.at("val").value is not None)
    if place.value.lower().startswith(NOT_YET):
        return {}
    if place.value.lower().startswith(NOT_THERE):
        told = f"{answer.what}: {answer.redact(place.value)[:80]}"
        return UnlistedSymbolError(told, where=answer.where)
    raise place.unexpected("days, or one of the texts that say there are none")


def share_of(own: Days, others: Sequence[Days], end: int) -> float | None:
    """Return an asset's part of a day's sum; None where the sum is not known."""
    # Of whom nothing came at all it is not known that there was nothing yet.
    parts = [own, *(days for days in others if not days or min(days) <= end)]
    # What is below zero, as revenue after rewards may be, is no part of a whole.
    if len(parts) < 2 or any(days.get(end, -1.0) < 0 for days in parts):
        return None
    whole = sum(days[end] for days in parts)
    return own[end] / whole if whole else None


def named_place(place: "Reader", name: str) -> "Reader":
    """Return a field whose name may be spelled in other cases than it was asked for."""
    fields = place.fields()
    own = next((key for key in fields if key.lower() == name.lower()), name)
    return place.at(own)


def value_in(row: "Reader", length: int) -> tuple[int, float]:
    """Return the end of a row's span and its value."""
    with row.parsing():
        day = parse_time(f"{row.text('date')[:10]}T00:00:00Z")
    return day + length, row.number("val")


def peers_of(peers: Mapping[str, Sequence[str]], entity: str) -> str | None:
    """Return under which name an asset stands among its peers; None where it has none."""
    return next((name for name, those in peers.items() if entity in those), None)


async def weeks_of(
    http: "Http", series: Series, name: str, since: int, until: int
) -> "Days | UnlistedSymbolError":
    """Return the weekly values of an ecosystem, or why there are none."""
    days_back = (until - since) // DAY + 14
    params: Params = {"ecosystem": name.lower(), "includeForks": "false", "daysBack": days_back}
    try:
        answer = await http.get(series.path, params=params)
    except UnlistedSymbolError as error:
        return error
    rows = answer.read.rows() if isinstance(answer.json, list) else answer.read.rows("data")
    return dict(value_in(row, WEEK_LONG) for row in rows if row.at("val").value is not None)
