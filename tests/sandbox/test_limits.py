"""Token buckets, as at Coinbase: ten requests a second and bursts to fifteen."""

import asyncio
import random

from weft.foundation.clock import SimulatedClock
from weft.foundation.times import SECOND, parse_time
from weft.sources.http.limits import Limiter
from weft_providers.coinbase import Coinbase
from weft_sandbox.limits import Usage
from weft_sandbox.protocols.coinbase import api

NOW = parse_time("2024-03-20T12:34:56.7Z")


def refused(usage: Usage) -> bool:
    meters = usage.charge(api.name, "127.0.0.1", api.budgets, {"second": 1})
    return any(meter.over for meter in meters.values())


def test_a_bucket_allows_a_burst_and_its_refill() -> None:
    now = [1_000.0]
    usage = Usage(clock=lambda: now[0])
    assert [refused(usage) for _ in range(17)] == [False] * 15 + [True] * 2
    now[0] += 0.5
    assert [refused(usage) for _ in range(6)] == [False] * 5 + [True]
    now[0] += 60
    assert [refused(usage) for _ in range(16)] == [False] * 15 + [True]
    usage.reset()
    assert not refused(usage)


def test_a_client_within_coinbases_limit_is_never_refused() -> None:
    clock = SimulatedClock(NOW)
    limiter, usage = (
        Limiter("coinbase", Coinbase.web, clock),
        Usage(clock=lambda: clock.now() / SECOND),
    )
    rng, result = random.Random(1), list[bool]()

    async def ask() -> None:
        async with limiter.turn(1):
            result.append(refused(usage))
            await clock.sleep_until(clock.now() + int(rng.uniform(0, 0.2) * SECOND))

    async def ask_all() -> None:
        await asyncio.gather(*(ask() for _ in range(200)))

    asyncio.run(ask_all())
    assert result == [False] * 200
