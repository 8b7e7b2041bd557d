"""The ASGI application: each provider's API below its folder."""

import importlib
import logging
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import ModuleType

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from weft.foundation.times import SECOND
from weft_sandbox import protocols
from weft_sandbox.admin import admin_routes
from weft_sandbox.faults import Faults
from weft_sandbox.injection import Injection
from weft_sandbox.limits import Meter
from weft_sandbox.protocol import (
    Answer,
    Api,
    Ask,
    Desk,
    Endpoint,
    Problem,
    Refusal,
    SocketHandler,
)
from weft_sandbox.sockets import Session

_LOG = logging.getLogger("weft.sandbox")


def find_apis(package: ModuleType = protocols) -> dict[str, Api]:
    """Return the APIs of a package's modules by name, except modules that begin with ``_``."""
    by_name = {}
    for info in pkgutil.iter_modules(package.__path__):
        if not info.name.startswith("_"):
            api = importlib.import_module(f"{package.__name__}.{info.name}").api
            by_name[api.name] = api
    return by_name


def create_app(desk: Desk, faults: Faults, apis: Iterable[Api] | None = None) -> ASGIApp:
    """Return the sandbox as an ASGI application.

    Args:
        desk: world, clock and limits that all APIs share.
        faults: faults to inject; more may be added while the server runs.
        apis: APIs to serve; None for all of `protocols`.
    """
    served = {api.name: api for api in apis} if apis is not None else find_apis()
    routes: list[BaseRoute] = [
        Mount(f"/{api.name}", routes=_routes(api, desk, faults)) for api in served.values()
    ]
    routes += admin_routes(desk, faults, tuple(served))
    missing, failed = _not_found(served), _failed(served)
    app = Starlette(
        routes=routes, exception_handlers={404: missing, 405: missing, Exception: failed}
    )
    return Injection(app, faults, served)


def _not_found(apis: Mapping[str, Api]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, _: Exception) -> Response:
        name = request.url.path.split("/", 2)[1]
        if name in apis:
            return _response(apis[name].errors(Problem.NOT_FOUND, request.url.path))
        return JSONResponse({"error": "no such path", "apis": sorted(apis)}, 404)

    return handle


def _failed(apis: Mapping[str, Api]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        # A bug of a protocol module: the log shows it, the client gets the API's server error.
        _LOG.error("%s failed", request.url.path, exc_info=error)
        name = request.url.path.split("/", 2)[1]
        if name in apis:
            return _response(apis[name].errors(Problem.SERVER, ""))
        return JSONResponse({"error": "the sandbox failed"}, 500)

    return handle


def _routes(api: Api, desk: Desk, faults: Faults) -> list[BaseRoute]:
    plain: list[BaseRoute] = [
        Route(
            endpoint.path,
            _http(api, endpoint, desk, faults),
            methods=list(endpoint.methods),
            name=endpoint.path,
        )
        for endpoint in api.endpoints
    ]
    sockets = [
        WebSocketRoute(path, _socket(api, handler, desk, faults)) for path, handler in api.sockets
    ]
    return plain + sockets


def _http(
    api: Api, endpoint: Endpoint, desk: Desk, faults: Faults
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        ask = replace(_ask(api, desk, faults, request), body=await request.body())
        try:
            return await run_in_threadpool(_answer, api, endpoint, ask)
        except Refusal as refusal:
            problem = refusal.answer
            if isinstance(problem, Problem):
                return _response(api.errors(problem, refusal.detail))
            return _response(problem)

    return handle


def _answer(api: Api, endpoint: Endpoint, ask: Ask) -> Response:
    _check_key(api, endpoint, ask)
    costs = {n: c(ask) if callable(c) else c for n, c in endpoint.costs.items()}
    meters = ask.desk.usage.charge(api.name, ask.client, api.budgets, costs)
    headers = dict(api.headers(meters)) if meters else {}
    over = [meter for meter in meters.values() if meter.over]
    ignored = ask.desk.usage.ignored(api.name, ask.client, again=bool(over)) if meters else 0
    if over:
        answer = _over(api, over, ignored)
    else:
        try:
            result = endpoint.handler(ask)
        except Refusal as refusal:
            result = refusal.answer
            if isinstance(result, Problem):
                result = api.errors(result, refusal.detail)
        answer = result if isinstance(result, Answer) else Answer(result)
    return _response(replace(answer, headers={**headers, **answer.headers}))


def _over(api: Api, over: list[Meter], ignored: int) -> Answer:
    if api.ban_after is not None and ignored > api.ban_after:
        return api.errors(Problem.BANNED, "120")
    return api.errors(Problem.RATE_LIMITED, str(max(meter.retry_after for meter in over)))


def _check_key(api: Api, endpoint: Endpoint, ask: Ask) -> None:
    if api.key is None:
        return
    if ask.key is None:
        if api.key.required and not endpoint.open:
            raise Refusal(Problem.NO_KEY)
    elif ask.key.startswith("invalid"):
        raise Refusal(Problem.BAD_KEY)
    elif ask.key.startswith("expired"):
        raise Refusal(Problem.EXPIRED_KEY)
    elif ask.key.startswith("free") and endpoint.plan:
        raise Refusal(Problem.PLAN)


def _socket(
    api: Api, handler: SocketHandler, desk: Desk, faults: Faults
) -> Callable[[WebSocket], Awaitable[None]]:
    async def handle(websocket: WebSocket) -> None:
        path = websocket.scope["path"].removeprefix(f"/{api.name}")
        refused = faults.strikes(frozenset({"ws_refuse"}), api.name, path)
        if refused:
            await websocket.send_denial_response(Response(b"", refused[0].fault.status))
            return
        await websocket.accept()
        await handler(Session(websocket, _ask(api, desk, faults, websocket), api, faults))

    return handle


def _ask(api: Api, desk: Desk, faults: Faults, request: HTTPConnection) -> Ask:
    headers = Headers(scope=request.scope)
    query = QueryParams(request.scope["query_string"])
    now = desk.clock.now()
    path = request.scope["path"].removeprefix(f"/{api.name}")
    skew = int(faults.skew_seconds(api.name, path) * SECOND)
    return Ask(
        desk=desk,
        query=query,
        headers=headers,
        path=request.path_params,
        now=now,
        server_now=now + skew,
        key=api.key.read(headers, query) if api.key else None,
        client=request.client.host if request.client else "",
    )


def _response(answer: Answer) -> Response:
    return Response(answer.encoded(), answer.status, dict(answer.headers), answer.media_type)
