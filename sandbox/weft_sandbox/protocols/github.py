"""GitHub's REST API: repository statistics, computed on request, and commits.

Every hour has a push; for the next ``github.computing_seconds`` (4 unless the sandbox's options set
another number) requests for a repository's statistics get status 202.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import orjson

from weft.foundation.times import DAY, HOUR, SECOND, WEEK, iso
from weft_sandbox.limits import Budget, Meter
from weft_sandbox.market.coins import OPENING
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_REPOSITORIES = {
    "bitcoin/bitcoin": "BTC",
    "ethereum/go-ethereum": "ETH",
    "ethereum/solidity": "ETH",
    "bnb-chain/bsc": "BNB",
    "anza-xyz/agave": "SOL",
    "XRPLF/rippled": "XRP",
    "dogecoin/dogecoin": "DOGE",
    "IntersectMBO/cardano-node": "ADA",
    "ava-labs/avalanchego": "AVAX",
    "smartcontractkit/chainlink": "LINK",
    "paritytech/polkadot-sdk": "DOT",
    "litecoin-project/litecoin": "LTC",
    "tronprotocol/java-tron": "TRX",
    "bitcoin-cash-node/bitcoin-cash-node": "BCH",
    "Uniswap/v4-core": "UNI",
    "cosmos/gaia": "ATOM",
    "near/nearcore": "NEAR",
    "aave-dao/aave-v3-origin": "AAVE",
    "OffchainLabs/nitro": "ARB",
    "filecoin-project/lotus": "FIL",
}
_DOCS = "https://docs.github.com/rest"
_SUNDAY = 3 * DAY
_WEEKS = 52
_WITHOUT_TOKEN = 83
"""Cost of a call without a token: 5,000 an hour become 60."""


def _errors(problem: Problem, detail: str) -> Answer:
    entries = {
        Problem.NO_KEY: (401, "Requires authentication"),
        Problem.BAD_KEY: (401, "Bad credentials"),
        Problem.EXPIRED_KEY: (401, "Bad credentials"),
        Problem.PLAN: (403, "Resource not accessible by personal access token"),
        Problem.RATE_LIMITED: (403, "API rate limit exceeded for this address."),
        Problem.BANNED: (403, "You have exceeded a secondary rate limit."),
        Problem.BAD_PARAMETER: (422, "Validation Failed"),
        Problem.NOT_FOUND: (404, "Not Found"),
    }
    status, message = entries.get(problem, (502, "Server Error"))
    wait = {"Retry-After": detail} if problem is Problem.BANNED else {}
    body = {"message": message, "documentation_url": _DOCS, "status": str(status)}
    return Answer(body, status, wait)


def _headers(meters: Mapping[str, Meter]) -> dict[str, str]:
    meter = meters["hour"]
    return {
        "x-ratelimit-limit": str(meter.amount),
        "x-ratelimit-remaining": str(meter.left),
        "x-ratelimit-used": str(meter.used),
        "x-ratelimit-reset": str(meter.retry_after),
        "x-ratelimit-resource": "core",
    }


def _cost(ask: Ask) -> int:
    return 1 if ask.key else _WITHOUT_TOKEN


api = Api(
    "github",
    errors=_errors,
    key=Key(header="Authorization", required=False),
    budgets=(Budget("hour", 5_000, 3_600),),
    headers=_headers,
)


def _asset(ask: Ask) -> str:
    coin = _REPOSITORIES.get(f"{ask.path['owner']}/{ask.path['name']}")
    if coin is None or coin not in ask.world.coin:
        raise Refusal(Problem.NOT_FOUND)
    return coin


def _conditional(ask: Ask, body: Json) -> Answer:
    content = orjson.dumps(body)
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    if ask.headers.get("if-none-match") == tag:
        return Answer(b"", 304, {"ETag": tag})
    return Answer(content, headers={"ETag": tag, "Cache-Control": "public, max-age=60"})


def _computing(ask: Ask) -> bool:
    seconds = ask.desk.options.get("github.computing_seconds", 4.0)
    return ask.now % HOUR < seconds * SECOND


def _weekly(ask: Ask, asset: str) -> list[tuple[int, int]]:
    """Return the weeks and their commits, oldest first; the current week up to now."""
    this = (ask.now - _SUNDAY) // WEEK * WEEK + _SUNDAY
    weeks = np.arange(max(this - (_WEEKS - 1) * WEEK, OPENING), this + 1, WEEK)
    name = f"{ask.path['owner']}/{ask.path['name']}"
    share = 0.6 if list(_REPOSITORIES.values()).count(asset) > 1 else 1.0
    share = share if name != "ethereum/solidity" else 0.4
    ends = np.minimum(weeks + WEEK, ask.now)
    commits = np.rint(ask.world.series("developer_activity", asset, ends) * share).astype(int)
    commits[-1] = commits[-1] * (ask.now - this) // WEEK
    return list(zip(weeks.tolist(), commits.tolist(), strict=True))


def _people(commits: int) -> int:
    return 2 + commits // 8


@api.get("/repos/{owner}/{name}/stats/commit_activity", costs={"hour": _cost})
def commit_activity(ask: Ask) -> Json:
    """Return the commits of a year's weeks, the current one last."""
    asset = _asset(ask)
    if _computing(ask):
        return Answer({}, 202)
    rows = []
    for week, commits in _weekly(ask, asset):
        passed = min((ask.now - week) // DAY + 1, 7)
        days = [commits // passed + (day < commits % passed) for day in range(passed)]
        days += [0] * (7 - passed)
        rows.append({"days": days, "total": commits, "week": week // SECOND})
    return _conditional(ask, rows)


@api.get("/repos/{owner}/{name}/stats/participation", costs={"hour": _cost})
def participation(ask: Ask) -> Json:
    """Return the commits of a year's weeks, without dates."""
    asset = _asset(ask)
    if _computing(ask):
        return Answer({}, 202)
    commits = [count for _, count in _weekly(ask, asset)]
    return _conditional(ask, {"all": commits, "owner": [0] * len(commits)})


@api.get("/repos/{owner}/{name}/stats/contributors", costs={"hour": _cost})
def contributors(ask: Ask) -> Json:
    """Return the commits by contributor and week: people, a bot, a person without account."""
    asset = _asset(ask)
    if _computing(ask):
        return Answer({}, 202)
    weeks = _weekly(ask, asset)
    most = max(_people(commits) for _, commits in weeks)
    rows = [
        _row(
            {"login": f"{asset.lower()}-dev-{number}", "id": number, "type": "User"},
            [(w, int(number < _people(c)) * (1 + c // _people(c))) for w, c in weeks],
        )
        for number in range(most)
    ]
    robot = {"login": "renovate[bot]", "id": 900, "type": "Bot"}
    rows.append(_row(robot, [(week, 5) for week, _ in weeks]))
    rows.append(_row(None, [(week, 1) for week, _ in weeks]))
    return _conditional(ask, rows)


def _row(author: Json, weeks: list[tuple[int, int]]) -> Json:
    entries = [{"w": week // SECOND, "a": 10 * c, "d": 4 * c, "c": c} for week, c in weeks]
    return {"author": author, "total": sum(c for _, c in weeks), "weeks": entries}


@api.get("/repos/{owner}/{name}/commits", costs={"hour": _cost})
def commits(ask: Ask) -> Json:
    """Return commits, newest first, in pages that link to each other."""
    asset = _asset(ask)
    since = ask.instant("since", ask.now - 4 * WEEK, unit=None)
    until = min(ask.instant("until", ask.now, unit=None), ask.now)
    size, page = ask.integer("per_page", 30, 1, 100), ask.integer("page", 1, 1)
    times = [
        week + (number + 1) * WEEK // (count + 1)
        for week, count in _weekly(ask, asset)
        for number in range(count)
    ]
    matches = [time for time in reversed(times) if since <= time <= until]
    shown = matches[(page - 1) * size : page * size]
    base = f"https://api.github.com/repos/{ask.path['owner']}/{ask.path['name']}/commits"
    last = max(-(-len(matches) // size), 1)
    links = [(page + 1, "next"), (last, "last")] if page < last else [(1, "first")]
    link = ", ".join(f'<{base}?per_page={size}&page={n}>; rel="{rel}"' for n, rel in links)
    return Answer([_commit(asset, time) for time in shown], headers={"Link": link})


def _commit(asset: str, time: int) -> Json:
    who = {"name": "Dev One", "email": "dev@example.com", "date": iso(time // SECOND * SECOND)}
    sha = hashlib.sha1(f"{asset}{time}".encode(), usedforsecurity=False).hexdigest()
    commit = {"author": who, "committer": who, "message": "fix: rounding", "comment_count": 0}
    author = {"login": f"{asset.lower()}-dev-0", "id": 1, "type": "User"}
    return {"sha": sha, "commit": commit, "author": author, "committer": None, "parents": []}


@api.get("/repos/{owner}/{name}", costs={"hour": _cost})
def repository(ask: Ask) -> Json:
    """Return the description of a repository."""
    _asset(ask)
    name = f"{ask.path['owner']}/{ask.path['name']}"
    pushed = iso(ask.now // HOUR * HOUR)
    return {"full_name": name, "pushed_at": pushed, "archived": False, "default_branch": "master"}
