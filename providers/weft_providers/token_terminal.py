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

_OWN_MEANING = {403: UnauthorisedError, 404: UnlistedSymbolError}
_PROJECTS = """
    BTC:bitcoin ETH:ethereum BNB:bnb-chain SOL:solana XRP:xrp-ledger DOGE:dogecoin ADA:cardano
    AVAX:avalanche LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap
    ATOM:cosmos-hub NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin
"""


class TokenTerminal(SeriesProvider):
    """Daily fundamentals of projects.

    The row of a day comes in the course of the next one, at an hour that is not stated, and may
    first lack some chains: a day counts from its end, and is taken to be known 24 hours later.
    History is restated without versions where a chain or product is added to a project. Price to
    fees and to sales hold the circulating market cap against the fees and the revenue of 30 days,
    taken for a year. A metric that Token Terminal does not know is told, the others still come.

    https://tokenterminal.com/docs
    """

    name = "token_terminal"
    web = Api(
        base_url="https://api.tokenterminal.com",
        key=HeaderKey("Authorization", "Bearer "),
        limits=(RateLimit(60, 60.0, per_request=True),),
        classify=lambda status, *_: _OWN_MEANING.get(status),
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
        """Return together what is asked of one project."""
        together: dict[str, list[Wanted]] = {}
        for one in wanted:
            together.setdefault(one.own_id, []).append(one)
        return together.values()

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
        unknown = self._errors(read, project)
        lacking = [one for one in group if one.series.path in unknown]
        if lacking:
            names = ", ".join(sorted({one.series.path for one in lacking}))
            error = UnlistedSymbolError(f"there is no metric {names}", where=self.name)
            self.give_up(lacking, error)
        rows = read.collect("data", read=_whole, lost=self.tell)
        for row in rows:
            self._check_name(row, project)
        return {
            one: self.points_in(rows, partial(_point, one.series.path))
            for one in group
            if one not in lacking
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    def _errors(self, read: "Reader", project: str) -> set[str]:
        """Return the metrics that are not known; other errors become a problem each."""
        unknown = set()
        for error in read.rows("errors") if read.has("errors") else []:
            code, field = error.text("code"), error.text("field")
            if (code, field) == ("NOT_FOUND", "metric_ids"):
                unknown.add(error.text("value"))
            else:
                told = f"{project}: {code} in {field}, {str(error.value.get('value'))[:80]}"
                self.tell(told, once=True)
        return unknown

    def _check_name(self, row: "Reader", project: str) -> None:
        """Note a project that has got another id; the client has followed the redirect."""
        if row.has("project_id") and (own := row.text("project_id")) != project:
            told = f"{project} is now called {own}: name it so under ids"
            self.tell(told, once=True)


def _whole(row: "Reader") -> "Reader | None":
    """Return a row of all chains and products together; None for one of a part of them."""
    told = row.fields()
    parts = [told[name].value for name in ("chain", "business_line", "version") if name in told]
    return row if all(part in {"all", None} for part in parts) else None


def _point(path: str, row: "Reader") -> Point | None:
    if row.at(path).value is None:
        return None
    return Point(row.instant("timestamp", unit="iso") + DAY, row.number(path))


def _day(instant: int) -> str:
    return iso(instant)[:10]
