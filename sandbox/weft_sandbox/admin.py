"""The sandbox's admin routes: faults, the clock, and a description. From loopback only."""

import ipaddress
from collections.abc import Awaitable, Callable

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from weft.foundation.times import TimeError, iso, parse_time
from weft_sandbox.faults import Fault, Faults
from weft_sandbox.market.coins import OPENING
from weft_sandbox.market.markets import Revision
from weft_sandbox.protocol import Desk

_Handler = Callable[[Request], Awaitable[Response]]


def admin_routes(desk: Desk, faults: Faults, apis: tuple[str, ...]) -> list[BaseRoute]:
    """Return the routes below ``/_sandbox``.

    ``GET /_sandbox`` describes the sandbox: time, speed, seed, coins, APIs and faults.
    ``POST /_sandbox/faults`` arms one fault or a list, ``GET`` lists them with their counts,
    ``DELETE`` removes all of them and resets all rate limits, or removes one with ``?id=``. ``POST
    /_sandbox/clock`` takes ``now`` (ISO 8601) and ``speed``.
    """

    async def about(_: Request) -> Response:
        clock = desk.clock
        return JSONResponse(
            {
                "now": iso(clock.now()),
                "speed": clock.speed,
                "seed": desk.world.seed,
                "made_up": desk.world.made_up,
                "coins": [coin.name for coin in desk.world.coins],
                "apis": list(apis),
                "faults": faults.report(),
            }
        )

    async def read(_: Request) -> Response:
        return JSONResponse(faults.report())

    async def add(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body())
            wanted = [Fault.model_validate(f) for f in (body if isinstance(body, list) else [body])]
            numbers = [arm(desk, faults, fault) for fault in wanted]
        except (ValidationError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 422)
        return JSONResponse({"ids": numbers}, 201)

    async def remove(request: Request) -> Response:
        text = request.query_params.get("id")
        if text is None:
            desk.world.revise(None)
            desk.usage.reset()
        return JSONResponse({"removed": faults.remove(None if text is None else int(text))})

    async def move(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body())
            to = parse_time(body["now"]) if "now" in body else None
            speed = float(body["speed"]) if "speed" in body else None
        except (ValueError, TypeError, TimeError) as error:
            return JSONResponse({"error": str(error)}, 422)
        desk.clock.move(to, speed)
        return await about(request)

    return [
        Route("/_sandbox", _local(about), methods=["GET"]),
        Route("/_sandbox/faults", _local(read), methods=["GET"]),
        Route("/_sandbox/faults", _local(add), methods=["POST"]),
        Route("/_sandbox/faults", _local(remove), methods=["DELETE"]),
        Route("/_sandbox/clock", _local(move), methods=["POST"]),
    ]


def arm(desk: Desk, faults: Faults, fault: Fault) -> int:
    """Arm a fault; a fault of kind ``restate`` also revises the market's history."""
    if fault.kind == "restate":
        since = OPENING if fault.since is None else parse_time(fault.since)
        until = desk.clock.now() if fault.until is None else parse_time(fault.until)
        desk.world.revise(Revision(fault.coin, since, until, fault.factor))
    return faults.add(fault)


def _local(handler: _Handler) -> _Handler:
    async def guarded(request: Request) -> Response:
        host = request.client.host if request.client else "127.0.0.1"
        try:
            near = ipaddress.ip_address(host).is_loopback
        except ValueError:
            near = False
        # A web page in a browser may post here, too; its requests have an Origin header.
        if not near or "origin" in request.headers:
            return JSONResponse({"error": "only from this machine"}, 403)
        return await handler(request)

    return guarded
