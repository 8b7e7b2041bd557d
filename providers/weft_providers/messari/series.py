"""Series, and how tables of the Messari API are read."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from weft.foundation.times import DAY, iso
from weft.sources.http.api import Headers
from weft.sources.http.errors import (
    NotCoveredError,
    SourceError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Reader

# What stands after the minus goes to suppliers.
KEPT = "fees24HourUsd - feesSupplySide24HourUsd"
SLUGS = """
    BTC:bitcoin ETH:ethereum BNB:bnb SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano AVAX:avalanche
    LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap ATOM:cosmos
    NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe
"""


def classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error an answer means."""
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
    """Return a series that an endpoint lists for many assets at once."""
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
    """Return the request parameters of the span that a group of series needs."""
    first = min(one.since for one in group) - DAY
    return {"start": iso(first), "end": iso(group[0].until)}


class Columns:
    """Columns of an answer whose rows are lists, by the names in its ``pointSchemas``.

    Args:
        read: the answer.

    Raises:
        SchemaChangedError: it names no columns.
    """

    def __init__(self, read: "Reader") -> None:
        self._schemas = read.at("metadata", "pointSchemas")
        self._places = {
            "time" if column.at("is_timestamp").value is True else column.text("slug"): index
            for index, column in enumerate(self._schemas.rows())
        }

    def lacking(self, path: str) -> list[str]:
        """Return the columns of a path that are not there."""
        return [name for name in path.split(" - ") if name not in self._places]

    def knows_any(self, paths: Iterable[str]) -> bool:
        """Whether any column of some paths is there, so that others were not merely renamed."""
        return any(len(self.lacking(path)) < len(path.split(" - ")) for path in paths)

    def reader(self, path: str) -> "Callable[[Reader], Point | None]":
        """Return what reads the day of a row: of a column, or of one less others.

        Raises:
            SchemaChangedError: a column is not there.
        """
        names = path.split(" - ")
        if not {"time", *names} <= self._places.keys():
            raise self._schemas.unexpected(f"columns with {', '.join(('time', *names))}")
        time, *places = (self._places[name] for name in ("time", *names))

        def read(row: "Reader") -> Point | None:
            if any(row.at(place).value is None for place in places):
                return None
            value, *less = (row.number(place) for place in places)
            return Point(row.instant(time, unit="s") + DAY, value - sum(less))

        return read


def day_of(event: "Reader") -> int:
    """Return the day an event was recorded on, counted from 1970."""
    return event.instant("submissionDate", unit="iso") // DAY


def slugs_of(event: "Reader") -> list[str]:
    """Return the coins an event is about; none for one about no coin in particular."""
    coins = event.at("primaryAssets")
    if coins.value is None and event.at("globalEvent").value is True:
        return []
    return [coin.text("slug") for coin in coins.rows()]


def unlocking(read: "Reader", now: int, until: int) -> float | None:
    """Return the coins that unlock after `now` and up to `until`, by a cumulative schedule.

    Returns:
        None where the schedule does not say what is unlocked now, or ends before `until` with
        coins left to unlock.
    """
    total = 0.0
    for part in read.rows("data", "allocations"):
        days = [
            (
                day.instant("timestamp", unit="iso"),
                day.number("cumulativeUnlockedNative"),
                day.number("unlocksRemainingNative"),
            )
            for day in part.rows("dailySnapshots")
        ]
        before = max((day for day in days if day[0] <= now), default=None)
        after = max((day for day in days if day[0] <= until), default=None)
        if before is None or after is None:
            return None
        if after[0] <= until - DAY and after[2] > 0:
            return None
        total += after[1] - before[1]
    return total
