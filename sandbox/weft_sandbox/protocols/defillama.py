"""DefiLlama's free API, with its hosts in one folder: no key, no pages, complete histories."""

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import DAY, HOUR, SECOND
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.protocol import Answer, Api, Ask, Json, Problem, Refusal

_CHAINS = {
    "Bitcoin": "BTC",
    "Ethereum": "ETH",
    "BSC": "BNB",
    "Solana": "SOL",
    "XRPL": "XRP",
    "Doge": "DOGE",
    "Cardano": "ADA",
    "Avalanche": "AVAX",
    "Polkadot": "DOT",
    "Litecoin": "LTC",
    "Tron": "TRX",
    "Bitcoincash": "BCH",
    "CosmosHub": "ATOM",
    "Near": "NEAR",
    "Arbitrum": "ARB",
    "Filecoin": "FIL",
}
_PROTOCOLS = {"uniswap": "UNI", "aave": "AAVE"}
_OVERVIEWS = {
    ("fees", "dailyFees"): "fees",
    ("fees", "dailyRevenue"): "revenue",
    ("fees", "dailyHoldersRevenue"): "holders_revenue",
    ("dexs", "dailyVolume"): "dex_volume",
}
_POOLS = 60
_EURO = 0.002
"""Share of stablecoins with a euro peg, and the price of the euro."""
_EURO_PRICE = 1.08


def _errors(problem: Problem, detail: str) -> Answer:
    texts = {
        Problem.NOT_FOUND: (404, b"Not found"),
        Problem.BAD_PARAMETER: (400, b"Bad request"),
        Problem.RATE_LIMITED: (429, b"Too many requests"),
    }
    status, text = texts.get(problem, (500, b"Internal Error"))
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer(text, status, wait, "text/plain")


api = Api("defillama", errors=_errors, budgets=(Budget("minute", 300, 60),))


def _midnights(ask: Ask) -> Times:
    return np.arange(OPENING + DAY, ask.now + 1, DAY)


def _coin(ask: Ask, table: dict[str, str], name: str) -> str:
    coin = table.get(ask.path[name])
    if coin is None or coin not in ask.world.coin:
        text = b"Protocol is not in our database"
        raise Refusal(Answer(text, 404, media_type="text/plain"))
    return coin


@api.get("/protocols")
def protocols(ask: Ask) -> Json:
    """Return all protocols, the largest first."""
    now = np.array([ask.now])
    rows = []
    for number, (slug, coin) in enumerate(_PROTOCOLS.items()):
        locked = float(ask.world.series("tvl", coin, now)[0])
        rows.append(
            {
                "id": str(9001 + number),
                "name": slug.title(),
                "symbol": coin,
                "slug": slug,
                "category": "Dexs",
                "chain": "Multi-Chain",
                "chains": ["Ethereum", "Base"],
                "tvl": locked,
                "chainTvls": {"Ethereum": locked * 0.7, "Base": locked * 0.3, "staking": 1e6},
                "change_1h": 0.04,
                "change_1d": -1.21,
                "change_7d": None,
                "mcap": None,
                "gecko_id": None,
                "parentProtocol": None,
            }
        )
    return sorted(rows, key=lambda row: -float(str(row["tvl"])))


@api.get("/protocol/{slug}")
def protocol(ask: Ask) -> Json:
    """Return a protocol's history; the last point is of the current hour."""
    coin = _coin(ask, _PROTOCOLS, "slug")
    times = np.append(_midnights(ask)[:-1], ask.now // HOUR * HOUR)
    values = ask.world.series("tvl", coin, times)
    rows = [
        {"date": time // SECOND, "totalLiquidityUSD": value}
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
    ]
    chains = {"Ethereum": {"tvl": rows, "tokens": [], "tokensInUsd": []}}
    now = {"Ethereum": rows[-1]["totalLiquidityUSD"]}
    name = ask.path["slug"]
    return {"name": name.title(), "currentChainTvls": now, "chainTvls": chains, "tvl": rows}


@api.get("/tvl/{slug}")
def tvl(ask: Ask) -> Json:
    """Return a protocol's total value locked as a bare number."""
    coin = _coin(ask, _PROTOCOLS, "slug")
    return float(ask.world.series("tvl", coin, np.array([ask.now]))[0])


@api.get("/v2/chains")
def chains(ask: Ask) -> Json:
    """Return all chains."""
    now = np.array([ask.now])
    return [
        {
            "gecko_id": None,
            "tvl": float(ask.world.series("tvl", coin, now)[0]),
            "tokenSymbol": coin,
            "cmcId": None,
            "name": name,
            "chainId": None,
        }
        for name, coin in _CHAINS.items()
        if coin in ask.world.coin
    ]


@api.get("/v2/historicalChainTvl")
@api.get("/v2/historicalChainTvl/{chain}")
def chain_tvl(ask: Ask) -> Json:
    """Return a chain's daily values; the last one is stamped today and of the current hour."""
    coin = _coin(ask, _CHAINS, "chain") if "chain" in ask.path else None
    days = _midnights(ask)
    values = ask.world.series("tvl", coin, np.append(days[:-1], ask.now))
    return [
        {"date": day // SECOND, "tvl": value}
        for day, value in zip(days.tolist(), values.tolist(), strict=True)
    ]


def _daily(ask: Ask, kind: str, coin: str | None) -> Json:
    usual = "dailyVolume" if kind == "dexs" else "dailyFees"
    name = _OVERVIEWS.get((kind, ask.query.get("dataType") or usual))
    if name is None:
        raise Refusal(Problem.BAD_PARAMETER, "dataType")
    days = np.append(_midnights(ask) - DAY, ask.now // DAY * DAY)
    values = ask.world.series(name, coin, np.minimum(days + DAY, ask.now)).tolist()
    # The current day is incomplete.
    values[-1] *= (ask.now - int(days[-1])) / DAY
    chart = [[day // SECOND, value] for day, value in zip(days.tolist(), values, strict=True)]
    if ask.query.get("excludeTotalDataChart") == "true":
        chart = []
    totals = {"total24h": values[-2], "total7d": sum(values[-8:-1]), "change_1d": 0.4}
    return {**totals, "totalDataChart": chart, "totalDataChartBreakdown": [], "protocols": []}


@api.get("/overview/{kind}")
@api.get("/overview/{kind}/{chain}")
def overview(ask: Ask) -> Json:
    """Return fees or volumes of all protocols of a chain; the last row is of the current day."""
    coin = _coin(ask, _CHAINS, "chain") if "chain" in ask.path else None
    return _daily(ask, ask.path["kind"], coin)


@api.get("/summary/{kind}/{slug}")
def summary(ask: Ask) -> Json:
    """Return fees or volumes of one protocol."""
    return {"name": ask.path["slug"]} | _daily(
        ask, ask.path["kind"], _coin(ask, _PROTOCOLS, "slug")
    )


@api.get("/stablecoincharts/all")
def stablecoins(ask: Ask) -> Json:
    """Return the supply of all stablecoins by the currency of their peg; dates are texts."""
    days = _midnights(ask)
    supply = ask.world.series("stablecoin_supply", None, np.append(days[:-1], ask.now))
    rows = []
    for day, totals in zip(days.tolist(), supply.tolist(), strict=True):
        euro = totals * _EURO
        rows.append(
            {
                "date": str(day // SECOND),
                "totalCirculating": {"peggedUSD": totals - euro, "peggedEUR": euro / _EURO_PRICE},
                "totalCirculatingUSD": {"peggedUSD": totals - euro, "peggedEUR": euro},
            }
        )
    return rows


@api.get("/pools")
def pools(ask: Ask) -> Json:
    """Return the current state of all pools; yields are percent."""
    now = np.array([ask.now])
    base = float(ask.world.series("us10y", None, now)[0])
    rows = []
    for number in range(_POOLS):
        stable = number % 2 == 0
        apy = base * (0.4 + number / _POOLS * (1.2 if stable else 8.0))
        rows.append(
            {
                "chain": "Ethereum" if number % 3 else "Base",
                "project": "exampledex",
                "symbol": "USDX-USDY" if stable else "USDX-WETH",
                "tvlUsd": int(1e5 * 1.25 ** (number % 40)),
                "apyBase": apy,
                "apyReward": None,
                "apy": apy if number % 20 else None,
                "pool": f"aaaaaaaa-bbbb-cccc-dddd-{number:012d}",
                "stablecoin": stable,
                "ilRisk": "no" if stable else "yes",
                "exposure": "multi",
                "predictions": {"predictedClass": None},
                "apyMean30d": apy,
            }
        )
    return {"status": "success", "data": rows}
