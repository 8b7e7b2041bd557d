"""Commits and active developers of each coin's repositories, from GitHub."""

from collections.abc import Mapping, Sequence
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
    # While GitHub computes statistics the answer is 202: they are unknown, not zero.
    if status == 202:
        return UnavailableError
    if status in {204, 404, 409, 451}:
        return UnlistedSymbolError
    limited = headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers
    if status == 403 and (limited or "rate limit" in str(body["message"]).lower()):
        return RateLimitedError
    return None


class GitHub(SeriesProvider):
    """Commits to a coin's repositories per week, and the number of people who made them.

    A week runs from Sunday to Sunday, 00:00 UTC, and counts as known one day after its end, since
    the statistics may lag. History reaches back one year for commits. GitHub leaves out merge
    commits, and lists only the 100 contributors of a repository with most commits; bots and
    contributors whose e-mail belongs to no account are not counted. Git history can be rewritten,
    and a whole branch may arrive on one date: weeks before the first fetch are as GitHub has them
    today.

    GitHub computes statistics on demand: the provider asks again within the round, then in the next
    round. An asset with several repositories has a value once all of them have one.

    Documentation: https://docs.github.com/en/rest/metrics/statistics
    """

    name = "github"
    web: Api = Api(
        base_url="https://api.github.com",
        key=HeaderKey("Authorization", "Bearer "),
        classify=_classify,
        attempts=6,
        deadline_seconds=90.0,
        # Statistics that are not ready do not mean that GitHub is down.
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
            default=("[bot]",),
            description="accounts with any of these in their name are not counted as people",
        )
        fresh_seconds: float = Field(
            default=3_600.0,
            gt=0,
            description="age at which cached statistics expire",
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
        """Return true: GitHub answers without a key, at a lower rate limit."""
        return True

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the weeks that are complete in all repositories of an asset."""
        answers = [
            await http.get(
                f"/repos/{repository.strip()}/stats/{wanted.series.path}",
                headers=_HEADERS,
                ttl=self.config.fresh_seconds,
            )
            for repository in wanted.own_id.split(",")
        ]
        if wanted.series.path == _COMMITS:
            weeks = _sums([self._commits(answer.read) for answer in answers])
        else:
            weeks = _counts([self._developers(answer.read) for answer in answers])
        # A cached answer may be from before the end of its last week.
        until = min([wanted.until, *(answer.given_at for answer in answers)])
        return [Point(week + WEEK, value) for week, value in weeks.items() if week + WEEK <= until]

    def _commits(self, read: "Reader") -> dict[int, float]:
        """Return the commits of each week, by the start of the week."""
        return dict(read.collect(read=_week, lost=self.tell))

    def _developers(self, read: "Reader") -> dict[int, set[str]]:
        """Return the accounts with commits in each week, by the start of the week."""
        developers: dict[int, set[str]] = {}
        unknown: set[int] = set()
        for account, commits in read.collect(read=self._contributor, lost=self.tell):
            for week, count in commits.items():
                accounts = developers.setdefault(week, set())
                if count is None:
                    unknown.add(week)
                elif count > 0 and account is not None:
                    accounts.add(account)
        # A week in which one contributor's commits are unknown has no count of people.
        return {week: names for week, names in developers.items() if week not in unknown}

    def _contributor(self, row: "Reader") -> tuple[str | None, dict[int, float | None]]:
        """Return the account of a row, None for no person, and its commits by week."""
        commits = {
            week.instant("w", unit="s"): week.number("c") if week.has("c") else None
            for week in row.rows("weeks")
        }
        # GitHub has no account for an e-mail address that is not registered.
        if not row.has("author", "login"):
            return None, commits
        account = row.text("author", "login")
        is_bot = row.has("author", "type") and row.text("author", "type") == "Bot"
        if is_bot or any(part in account for part in self.config.bots):
            return None, commits
        return account, commits


def _week(row: "Reader") -> tuple[int, float]:
    return row.instant("week", unit="s"), row.number("total")


def _sums(repositories: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the commits of each week that all repositories have."""
    weeks = set(repositories[0]).intersection(*repositories)
    return {week: sum(commits[week] for commits in repositories) for week in sorted(weeks)}


def _counts(repositories: Sequence[Mapping[int, set[str]]]) -> dict[int, float]:
    """Return the number of people in each week that all repositories have, each counted once."""
    weeks = set(repositories[0]).intersection(*repositories)
    people = {week: set().union(*(names[week] for names in repositories)) for week in sorted(weeks)}
    return {week: float(len(names)) for week, names in people.items()}
