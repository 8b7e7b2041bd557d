"""Net flows and holdings of labelled wallets, from Nansen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import orjson
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import DAY, iso
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    ForbiddenError,
    NotCoveredError,
    RefusedError,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, Reader

_TOKENS = """
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


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the error of an answer."""
    if status == 403:
        # Without credits Nansen refuses every request; a plan lacks single endpoints.
        no_credits = b"credit" in orjson.dumps(body).lower()
        return ForbiddenError if no_credits else NotCoveredError
    return UnlistedSymbolError if status == 404 else None


def _limits(credits_per_day: int) -> tuple[RateLimit, ...]:
    """Return the rate limits of a plan, including credits."""
    return (
        RateLimit(20, 1.0, per_request=True, remaining="x-ratelimit-remaining-second"),
        RateLimit(300, 60.0, per_request=True, reset="ratelimit-reset"),
        RateLimit(credits_per_day, 86_400.0, "credits", remaining="x-nansen-credits-remaining"),
    )


def _series(
    metric: str, kind: str, path: str, field: str, step: str = "5h", lag: str = "1s"
) -> Series:
    extra = {"kind": kind, "field": field}
    return Series(metric=metric, path=path, step=step, lag=lag, extra=extra)


def _call(wanted: Wanted) -> tuple[str, str]:
    """Return the path and the token of a request: series with the same pair share one request."""
    one_token = wanted.series.extra["kind"] != "list"
    return wanted.series.path, wanted.own_id if one_token else ""


def _token(chain: str, address: str) -> tuple[str, str]:
    """Return chain and address of a token in one spelling."""
    # Only on Solana are addresses case-sensitive.
    return chain, address if chain == "solana" else address.lower()


def _present(wanted: Wanted, row: "Reader", known_at: int) -> list[Point]:
    """Return the present value in a row; an empty list where it is null."""
    place = row.at(wanted.series.extra["field"])
    return [] if place.value is None else [Point(wanted.until, place.number(), known_at)]


def _parse_present(wanted: Wanted, known_at: int, row: "Reader") -> Point | None:
    """Return the present value in a row; None where it is null."""
    return next(iter(_present(wanted, row, known_at)), None)


@dataclass(frozen=True, slots=True)
class _Holding:
    """Coins that a group of wallets holds at the end of an hour or day, and the price then."""

    end: int
    coins: float
    price: float


def _parse_holding(row: "Reader") -> _Holding | None:
    """Return the holding in a row; None for a running hour, and where a number is null."""
    numbers = (row.at("token_amount"), row.at("price_usd"))
    if row.at("is_complete").value is not True or any(n.value is None for n in numbers):
        return None
    coins, price = (number.number() for number in numbers)
    return _Holding(row.instant("bucket_end", unit="iso"), coins, price)


_Values = Mapping[Wanted, list[Point]]
_PAGE = 1_000
_GROUPS = "/tgm/flow-intelligence"


class Nansen(SeriesProvider):
    """Net flows of smart money and other groups of wallets, and the number of holders.

    A flow covers the 24 hours up to the fetch: each fetch gives one value, true and known at that
    instant. Labels of wallets change, and history follows today's labels: for that reason no
    history is taken, except that a bridge flow covers the last 24 complete hours, known when it was
    fetched. A token below the threshold of a list has no value, rather than zero. Every call costs
    credits: a value is requested every five hours at most.

    The bridge flow is the amount that leaves wallets with the label of bridges. Nansen documents no
    such label: the flow is requested only if `bridge_label` names a label of the plan.

    https://docs.nansen.ai
    """

    name = "nansen"
    web = Api(
        base_url="https://api.nansen.ai/api/v1",
        key=HeaderKey("apiKey"),
        limits=_limits(1_000),
        classify=_classify,
        read_seconds=45.0,
    )
    series = (
        _series("smart_money_netflow_usd", "list", "/smart-money/netflow", "net_flow_24h_usd"),
        _series("smart_money_holders", "list", "/smart-money/holdings", "holders_count"),
        _series("whale_netflow_usd", "token", _GROUPS, "whale_net_flow_usd"),
        _series("top_trader_netflow_usd", "token", _GROUPS, "top_pnl_net_flow_usd"),
        _series("fresh_wallet_netflow_usd", "token", _GROUPS, "fresh_wallets_net_flow_usd"),
        _series("bridge_netflow_usd", "bridges", "/tgm/flows", "token_amount"),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = dict(line.split(":", 1) for line in _TOKENS.split())

    class Config(SeriesConfig):
        """Options. An id is chain:address of a token; the coin of a chain has a wrapped token."""

        labels: tuple[str, ...] = Field(
            default=("Fund", "Smart Trader"),
            description="labels that count as smart money",
        )
        bridge_label: str = Field(
            default="", description="label of bridges in token flows; empty for none"
        )
        credits_per_call: int = Field(default=5, ge=0, description="credits for one call")
        credits_per_day: int = Field(default=1_000, ge=1, description="most credits in a day")

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        limits = _limits(self.config.credits_per_day)
        self.web = replace(type(self).web, limits=limits)
        self._asked: dict[tuple[str, str], int] = {}

    def waiting(self) -> Mapping[str, str]:
        """Return metrics that need an option, with the reason: the bridge flow without a label."""
        reason = f"Nansen documents no label of bridges: set providers.{self.name}.bridge_label"
        bridges = {} if self.config.bridge_label else {"bridge_netflow_usd": reason}
        return {**super().waiting(), **bridges}

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one call together, if the last call was long enough ago."""
        calls: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            calls.setdefault(_call(one), []).append(one)
        for call, group in calls.items():
            # A token that a list lacks is due in every round, and each call costs credits.
            since_last = group[0].until - self._asked.get(call, 0)
            if since_last >= group[0].series.step_micros // 2:
                yield group

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        """Return the values of a group."""
        ask = {"list": self._smart_money, "bridges": self._bridges}
        values = await ask.get(group[0].series.extra["kind"], self._token_flows)(http, group)
        self._asked[_call(group[0])] = group[0].until
        return values

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _smart_money(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        tokens = {_token(*one.own_id.split(":", 1)): one for one in group}
        body = {
            "chains": sorted({chain for chain, _ in tokens}),
            "filters": {"include_smart_money_labels": list(self.config.labels)},
            "order_by": [{"field": group[0].series.extra["field"], "direction": "DESC"}],
        }
        values: dict[Wanted, list[Point]] = {}
        page, more = 0, True
        while more and len(values) < len(tokens):
            page += 1
            asked = {**body, "pagination": {"page": page, "per_page": _PAGE}}
            read, at = await self._ask(http, group[0].series.path, asked)
            for token, row in read.collect("data", read=_parse_listed, lost=self.tell):
                one = tokens.get(token)
                if one is not None:
                    values[one] = _present(one, row, at)
            pagination = read.at("pagination")
            if pagination.integer("page") != page:
                raise pagination.at("page").unexpected(f"{page}, the requested page")
            more = pagination.at("is_last_page").value is False
        return values

    async def _token_flows(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        chain, address = group[0].own_id.split(":", 1)
        body = {"chain": chain, "token_address": address, "timeframe": "1d"}
        read, at = await self._ask(http, group[0].series.path, body)
        return {
            one: self.points(read, "data", read=partial(_parse_present, one, at))[:1]
            for one in group
        }

    async def _bridges(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        """Return the dollars that left the wallets of bridges in the last 24 complete hours."""
        one = group[0]
        chain, address = one.own_id.split(":", 1)
        # Nansen sends hourly rows for spans of up to seven days, daily rows for longer spans.
        span = {"from": iso(one.until - 2 * DAY)[:10], "to": iso(one.until)[:10]}
        body = {"chain": chain, "token_address": address, "date": span}
        body |= {"label": self.config.bridge_label, "pagination": {"page": 1, "per_page": _PAGE}}
        try:
            read, at = await self._ask(http, one.series.path, body)
        except RefusedError as error:
            label = f"set bridge_label if {self.config.bridge_label!r} is no label there"
            raise RefusedError(f"{error.message}; {label}", where=self.name) from None
        return {one: self._parse_bridges(read, one.until, at)}

    def _parse_bridges(self, read: "Reader", until: int, known_at: int) -> list[Point]:
        rows = read.collect("data", read=_parse_holding, lost=self.tell)
        holdings = {row.end: row for row in rows if row.end <= until}
        last = max(holdings, default=0)
        if last - DAY not in holdings:
            return []
        coins = holdings[last - DAY].coins - holdings[last].coins
        return [Point(last, coins * holdings[last].price, known_at)]

    async def _ask(self, http: "Http", path: str, body: Mapping[str, Any]) -> "tuple[Reader, int]":
        answer = await http.post(path, json=body, cost=self.config.credits_per_call)
        return answer.read, answer.fetched_at


def _parse_listed(row: "Reader") -> "tuple[tuple[str, str], Reader] | None":
    """Return the token of a row and the row; None for a row without an address."""
    if row.at("token_address").value is None:
        return None
    return _token(row.text("chain"), row.text("token_address")), row
