"""Fees, revenue, value locked, users and valuation ratios from Token Terminal."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from weft.foundation.times import DAY, iso
from weft.sources.http.api import Api, HeaderKey, RateLimit
from weft.sources.http.errors import UnauthorisedError, UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, Reader

_ERRORS = {403: UnauthorisedError, 404: UnlistedSymbolError}
_PROJECTS = """
    BTC:bitcoin ETH:ethereum BNB:bnb-chain SOL:solana XRP:xrp-ledger DOGE:dogecoin ADA:cardano
    AVAX:avalanche LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap
    ATOM:cosmos-hub NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin
"""


class TokenTerminal(SeriesProvider):
    """Daily fundamentals of projects.

    Token Terminal publishes the row of a day during the next day, at no stated hour, and the row
    may first lack some chains: a day's value is true at the end of the day and counts as known 24
    hours later. History is restated, without vintages, when a chain or product is added to a
    project. Price to fees and price to sales are the circulating market cap over the annualised
    fees and revenue of 30 days. A line names a metric that Token Terminal does not have; the others
    are not affected.

    https://tokenterminal.com/docs
    """

    name = "token_terminal"
    web = Api(
        base_url="https://api.tokenterminal.com",
        key=HeaderKey("Authorization", "Bearer "),
        limits=(RateLimit(60, 60.0, per_request=True),),
        classify=lambda status, *_: _ERRORS.get(status),
    )
    series = (
        Series(metric="fees_usd", path="fees", lag="24h"),
        Series(metric="revenue_usd", path="revenue", lag="24h"),
        Series(metric="tvl_usd", path="tvl", lag="24h"),
        Series(metric="active_users", path="user_dau", lag="24h"),
        Series(metric="price_to_fees", path="pf_circulating", lag="24h"),
        Series(metric="price_to_sales", path="ps_circulating", lag="24h"),
        Series(metric="market_cap_usd", path="market_cap_circulating", lag="24h"),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = dict(pair.split(":") for pair in _PROJECTS.split())

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one project together."""
        groups: dict[str, list[Wanted]] = {}
        for one in wanted:
            groups.setdefault(one.own_id, []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one project."""
        project = group[0].own_id
        params = {
            "metric_ids": ",".join(dict.fromkeys(one.series.path for one in group)),
            "start": _day(min(one.since for one in group) - DAY),
            "end": _day(group[0].until),
        }
        read = (await http.get(f"/v2/projects/{project}/metrics", params=params)).read
        unknown = self._unknown_metrics(read, project)
        missing = [one for one in group if one.series.path in unknown]
        if missing:
            names = ", ".join(sorted({one.series.path for one in missing}))
            error = UnlistedSymbolError(f"there is no metric {names}", where=self.name)
            self.give_up(missing, error)
        rows = read.collect("data", read=_total, lost=self.tell)
        for row in rows:
            self._check_name(row, project)
        return {
            one: self.points_in(rows, partial(_parse_row, one.series.path))
            for one in group
            if one not in missing
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    def _unknown_metrics(self, read: "Reader", project: str) -> set[str]:
        """Return the metrics that Token Terminal does not have; note other errors."""
        unknown = set()
        for error in read.rows("errors") if read.has("errors") else []:
            code, field = error.text("code"), error.text("field")
            if (code, field) == ("NOT_FOUND", "metric_ids"):
                unknown.add(error.text("value"))
            else:
                value = str(error.value.get("value"))[:80]
                self.tell(f"{project}: {code} in {field}, {value}", once=True)
        return unknown

    def _check_name(self, row: "Reader", project: str) -> None:
        """Note that a project has a new id; the client has followed the redirect."""
        if row.has("project_id") and (renamed := row.text("project_id")) != project:
            self.tell(f"{project} is now {renamed}: set the new id under ids", once=True)


def _total(row: "Reader") -> "Reader | None":
    """Return a row of all chains and products together; None for a row of some of them."""
    fields = row.fields()
    parts = [fields[name].value for name in ("chain", "business_line", "version") if name in fields]
    return row if all(part in {"all", None} for part in parts) else None


def _parse_row(path: str, row: "Reader") -> Point | None:
    if row.at(path).value is None:
        return None
    return Point(row.instant("timestamp", unit="iso") + DAY, row.number(path))


def _day(instant: int) -> str:
    return iso(instant)[:10]
