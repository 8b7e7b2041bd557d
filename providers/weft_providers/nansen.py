"""What labelled wallets buy, sell and hold, from Nansen."""

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


_Found = Mapping[Wanted, list[Point]]
_PAGE = 1_000
_GROUPS = "/tgm/flow-intelligence"


class Nansen(SeriesProvider):
    """Net flows of smart money and other groups of wallets, and how many of them hold a coin.

    Nansen tells the flows of the 24 hours up to now, without history: each fetch gives one value,
    true and known at that instant. Labels change, and past flows told today would follow today's
    labels: for that reason nothing is taken from the past; of bridges, only the last 24 whole
    hours, known from when it was asked. A token below the threshold of a list has no value, not
    zero. Every call costs credits, which is why a value is asked for every five hours at most.

    The flow over bridges is what leaves the wallets labelled as theirs. Nansen documents no such
    label: the flow is asked for only where `bridge_label` names one that the plan has.

    https://docs.nansen.ai
    """

    name = "nansen"
    web = Api(
        base_url="https://api.nansen.ai/api/v1",
        key=HeaderKey("apiKey"),
        limits=limits_of(1_000),
        classify=classify,
        read_seconds=45.0,
    )
    series = (
        credited("smart_money_netflow_usd", "list", "/smart-money/netflow", "net_flow_24h_usd"),
        credited("smart_money_holders", "list", "/smart-money/holdings", "holders_count"),
        credited("whale_netflow_usd", "token", _GROUPS, "whale_net_flow_usd"),
        credited("top_trader_netflow_usd", "token", _GROUPS, "top_pnl_net_flow_usd"),
        credited("fresh_wallet_netflow_usd", "token", _GROUPS, "fresh_wallets_net_flow_usd"),
        credited("bridge_netflow_usd", "bridges", "/tgm/flows", "token_amount"),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = dict(line.split(":", 1) for line in TOKENS.split())

    class Config(SeriesConfig):
        """Options. Ids are chain:address of the token, the wrapped one for a chain's own coin."""

        labels: tuple[str, ...] = Field(
            default=("Fund", "Smart Trader"), description="which wallets count as smart money"
        )
        bridge_label: str = Field(
            default="", description="label of bridges in token flows; empty where there is none"
        )
        credits_per_call: int = Field(default=5, ge=0, description="what the plan charges")
        credits_per_day: int = Field(default=1_000, ge=1, description="how many may be spent")

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        limits = limits_of(self.config.credits_per_day)
        self.web = replace(type(self).web, limits=limits)
        self._asked: dict[tuple[str, str], int] = {}

    def waiting(self) -> Mapping[str, str]:
        """Return metrics that wait for the config: the flow over bridges, without a label."""
        told = f"Nansen documents no label of bridges: set providers.{self.name}.bridge_label"
        own = {} if self.config.bridge_label else {"bridge_netflow_usd": told}
        return {**super().waiting(), **own}

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return together what one list tells of all tokens, and what is told of one token."""
        together: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            together.setdefault(call_of(one), []).append(one)
        for call, group in together.items():
            # What a list lacks is due in each round, and would cost as much again.
            since_last = group[0].until - self._asked.get(call, 0)
            if since_last >= group[0].series.step_micros // 2:
                yield group

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        """Return the values of a group."""
        ask = {"list": self._smart_money, "bridges": self._bridges}
        found = await ask.get(group[0].series.extra["kind"], self._token_flows)(http, group)
        self._asked[call_of(group[0])] = group[0].until
        return found

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _smart_money(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        tokens = {token_of(*one.own_id.split(":", 1)): one for one in group}
        body = {
            "chains": sorted({chain for chain, _ in tokens}),
            "filters": {"include_smart_money_labels": list(self.config.labels)},
            "order_by": [{"field": group[0].series.extra["field"], "direction": "DESC"}],
        }
        found: dict[Wanted, list[Point]] = {}
        page, more = 0, True
        while more and len(found) < len(tokens):
            page += 1
            asked = {**body, "pagination": {"page": page, "per_page": _PAGE}}
            read, at = await self._ask(http, group[0].series.path, asked)
            for token, row in read.collect("data", read=_listed, lost=self.tell):
                one = tokens.get(token)
                if one is not None:
                    found[one] = present(one, row, at)
            told = read.at("pagination")
            if told.integer("page") != page:
                raise told.at("page").unexpected(f"{page}, the page asked for")
            more = told.at("is_last_page").value is False
        return found

    async def _token_flows(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        chain, address = group[0].own_id.split(":", 1)
        body = {"chain": chain, "token_address": address, "timeframe": "1d"}
        read, at = await self._ask(http, group[0].series.path, body)
        return {one: self.points(read, "data", read=partial(now_of, one, at))[:1] for one in group}

    async def _bridges(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        """Return the coins that bridges gave out in the last 24 whole hours: those that came in."""
        one = group[0]
        chain, address = one.own_id.split(":", 1)
        # Spans of up to seven days come by the hour, longer ones by the day.
        span = {"from": iso(one.until - 2 * DAY)[:10], "to": iso(one.until)[:10]}
        body = {"chain": chain, "token_address": address, "date": span}
        body |= {"label": self.config.bridge_label, "pagination": {"page": 1, "per_page": _PAGE}}
        try:
            read, at = await self._ask(http, one.series.path, body)
        except RefusedError as error:
            label = f"set bridge_label if {self.config.bridge_label!r} is no label there"
            raise RefusedError(f"{error.message}; {label}", where=self.name) from None
        rows = read.collect("data", read=holding_of, lost=self.tell)
        held = {row.end: row for row in rows if row.end <= one.until}
        last = max(held, default=0)
        if last - DAY not in held:
            return {one: []}
        dollars = (held[last - DAY].coins - held[last].coins) * held[last].price
        return {one: [Point(last, dollars, at)]}

    async def _ask(self, http: "Http", path: str, body: Mapping[str, Any]) -> "tuple[Reader, int]":
        answer = await http.post(path, json=body, cost=self.config.credits_per_call)
        return answer.read, answer.fetched_at


def _listed(row: "Reader") -> "tuple[tuple[str, str], Reader] | None":
    """Return which token a row of a list is about; None for one without an address."""
    if row.at("token_address").value is None:
        return None
    return token_of(row.text("chain"), row.text("token_address")), row
