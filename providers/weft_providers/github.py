"""How much is developed at each coin's repositories, from GitHub."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weft.foundation.times import WEEK
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    RateLimitedError,
    SourceError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.sources.http import Http, Reader

_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_COMMITS, _DEVELOPERS = "commit_activity", "contributors"


def _classify(status: int, body: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if status == 202:
        # The statistics are being computed: none yet, which is not none at all.
        return UnavailableError
    if status in {204, 404, 409, 451}:
        return UnlistedSymbolError
    limited = headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers
    if status == 403 and (limited or "rate limit" in str(body["message"]).lower()):
        return RateLimitedError
    return None


class GitHub(SeriesProvider):
    """Commits to a coin's repositories a week, and how many people made them.

    A week runs from Sunday to Sunday, 00:00 UTC; it counts as known a day after its end, since the
    statistics may lag. They reach back a year for commits. Merges are left out, and so are bots
    and people whose e-mail belongs to no account. History can be rewritten, and a whole branch may
    arrive on one date: weeks from before the first fetch are as told today.

    While GitHub computes statistics there are none; they are asked for again, and if they do not
    come, in the next round. An asset with several repositories has a value once all have.

    Documentation: https://docs.github.com/en/rest/metrics/statistics
    """

    name = "github"
    web: Api = Api(
        base_url="https://api.github.com",
        key=HeaderKey("Authorization", "Bearer "),
        classify=_classify,
        attempts=6,
        deadline_seconds=90.0,
        # Statistics that are not ready say nothing about those of other repositories.
        failures_to_open=100,
    )
    series = (
        Series(metric="dev_commits", path=_COMMITS, step="1w", lag="1d"),
        Series(metric="active_developers", path=_DEVELOPERS, step="1w", lag="1d"),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = {
        "BTC": "bitcoin/bitcoin",
        "ETH": "ethereum/go-ethereum, ethereum/solidity",
        "BNB": "bnb-chain/bsc",
        "SOL": "anza-xyz/agave",
        "XRP": "XRPLF/rippled",
        "DOGE": "dogecoin/dogecoin",
        "ADA": "IntersectMBO/cardano-node",
        "AVAX": "ava-labs/avalanchego",
        "LINK": "smartcontractkit/chainlink",
        "DOT": "paritytech/polkadot-sdk",
        "LTC": "litecoin-project/litecoin",
        "TRX": "tronprotocol/java-tron",
        "BCH": "bitcoin-cash-node/bitcoin-cash-node",
        "UNI": "Uniswap/v4-core",
        "ATOM": "cosmos/gaia",
        "NEAR": "near/nearcore",
        "AAVE": "aave-dao/aave-v3-origin",
        "ARB": "OffchainLabs/nitro",
        "FIL": "filecoin-project/lotus",
    }

    class Config(SeriesConfig):
        """Options. An id is one repository or several, as ``owner/name, owner/name``."""

        bots: tuple[str, ...] = Field(
            default=("[bot]",), description="parts of the names of accounts that are no people"
        )
        fresh_seconds: float = Field(
            default=3_600.0, gt=0, description="how old kept statistics may be before asking again"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limit = RateLimit(
            5_000 if self.config.api_key else 60,
            3_600,
            remaining="x-ratelimit-remaining",
            reset="x-ratelimit-reset",
        )
        self.web = replace(type(self).web, limits=(limit,))

    def ready(self) -> bool:
        """It needs no key."""
        return True

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the weeks that all repositories of an asset tell of."""
        count = self._commits if wanted.series.path == _COMMITS else self._developers
        weeks: dict[int, float] | None = None
        people: dict[int, set[str]] = {}
        told_at = wanted.until
        for repository in (name.strip() for name in wanted.own_id.split(",")):
            path = f"/repos/{repository}/stats/{wanted.series.path}"
            answer = await http.get(path, headers=_HEADERS, ttl=self.config.fresh_seconds)
            found = count(answer.read, people)
            told_at = min(told_at, answer.given_at)
            weeks = found if weeks is None else _joined(weeks, found)
        if wanted.series.path == _DEVELOPERS:
            weeks = {week: float(len(people.get(week, ()))) for week in weeks or {}}
        # An answer that was kept may be from before the end of its last week.
        return [
            Point(week + WEEK, value)
            for week, value in sorted((weeks or {}).items())
            if week + WEEK <= told_at
        ]

    def _commits(self, read: "Reader", _: dict[int, set[str]]) -> dict[int, float]:
        return {row.instant("week", unit="s"): row.number("total") for row in read.rows()}

    def _developers(self, read: "Reader", people: dict[int, set[str]]) -> dict[int, float]:
        """Note who committed in which week, and return the weeks."""
        weeks: dict[int, float] = {}
        for row in read.rows():
            told = [(w.instant("w", unit="s"), w.number("c")) for w in row.rows("weeks")]
            weeks |= dict.fromkeys((week for week, _ in told), 0.0)
            if not row.at("author").value:
                continue
            name = row.text("author", "login")
            if row.text("author", "type") == "Bot" or any(b in name for b in self.config.bots):
                continue
            for week, commits in told:
                if commits > 0:
                    people.setdefault(week, set()).add(name)
        return weeks


def _joined(one: dict[int, float], other: dict[int, float]) -> dict[int, float]:
    return {week: one[week] + other[week] for week in one.keys() & other.keys()}
