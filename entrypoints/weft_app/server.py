"""The HTTP API. Signals are serialised once, when they are composed."""

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

import weft
from weft.domain.instruments import find_spelling
from weft.domain.signal import Report, Signal, to_json
from weft.engine.model_status import ModelStatus, model_status
from weft.engine.provider_status import provider_status
from weft.foundation.errors import (
    LookAheadError,
    NoDataError,
    UnknownSymbolError,
    WeftError,
    nearest,
)
from weft.foundation.times import DAY, SECOND, iso, parse_time
from weft.plugins.records import PluginRecord
from weft_app.live import LiveService, Published
from weft_app.portfolio import RiskReport, positions_of, report_portfolio
from weft_app.status import ProviderState, installation

log = logging.getLogger("weft.server")

_JSON = "application/json"
_MIN_COMPRESSED = 1_000
_STATUS = {UnknownSymbolError: 404, NoDataError: 422, LookAheadError: 422}
"""HTTP status of errors in the request; every other error is a fault of Weft and gives 500."""

_DOCS: Final = "/docs"
_ASSETS: Final = "/docs/assets"
_SCHEMA: Final = "/openapi.json"
"""The page about the API, its scripts and styles, and the schema; they hold no data."""


class Problem(BaseModel):
    """Why a request failed."""

    error: str
    message: str


class ProviderHealth(BaseModel):
    """New and restated rows of a provider in the latest round."""

    name: str
    new: int
    restated: int
    problems: int
    error: str | None


_LONGEST_CLOSURE = 5 * DAY
"""Longest time a market with sessions is closed: a long weekend with a holiday."""


class Health(BaseModel):
    """Whether the engine is composing, on fresh candles and with all layers.

    `status` is `starting`, `ok`, `stale` (the newest candles are older than any pause of the
    market) or `degraded` (a round failed, or layers are missing). `missing_layers` gives the
    reason for each layer that the newest signals lack. `installation` is a digest of lake and
    composition. `behind_seconds` is the time since the newest decision row; more than one interval
    means that no new candle has arrived. `awaited` names the symbols whose candle had not arrived
    when the signals were composed.
    """

    status: str
    version: str
    installation: str
    data: str
    interval: str
    as_of: str | None
    composed_at: str | None
    compose_seconds: float | None
    behind_seconds: float | None
    signals: int
    failure: str | None
    missing_layers: dict[str, str]
    awaited: list[str]
    providers: list[ProviderHealth]


def create_app(
    service: LiveService,
    *,
    token: str | None = None,
    allowed_hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]"),
    plugins: Sequence[PluginRecord] = (),
) -> FastAPI:
    """Return the API over a running service.

    Args:
        service: composes, and holds the latest signals.
        token: token that requests must send as ``Authorization: Bearer``; None for no check. The
            page about the API and the schema need none.
        allowed_hosts: host names that requests may use. Without the list, a web page could reach a
            server on loopback through a name that resolves to it.
        plugins: installed components, for ``GET /plugins``.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPIOffline(
        docs_url=_DOCS,
        redoc_url=None,
        static_url=_ASSETS,
        openapi_url=_SCHEMA,
        title="Weft",
        version=weft.__version__,
        description="Signals composed from many strands of evidence. Times are ISO 8601 UTC.",
        lifespan=lifespan,
        # Gives the page about the API its button for the token; `_require` checks the token.
        dependencies=[] if token is None else [Depends(HTTPBearer(auto_error=False))],
        responses={500: {"model": Problem, "description": "Weft failed; the message says why"}},
    )
    app.add_exception_handler(WeftError, _failed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_middleware(GZipMiddleware, minimum_size=_MIN_COMPRESSED)
    app.middleware("http")(_refuse_parameters)
    if token is not None:
        app.middleware("http")(_require(token))
    # Starlette calls the middleware added last first.
    app.middleware("http")(_expect_host(allowed_hosts))
    _add_signals(app, service)
    _add_risk(app, service)
    _add_status(app, service, plugins)
    return app


def _add_signals(app: FastAPI, service: LiveService) -> None:
    problems: dict[int | str, dict[str, Any]] = {
        404: {"model": Problem, "description": "Unknown symbol, or no signal for it now"},
        503: {"model": Problem, "description": "No signals are composed yet"},
    }

    @app.get("/signals", response_model=Report, responses={503: problems[503]})
    def signals() -> Response:
        """Return all signals of the newest composition."""
        published = service.published
        return _starting() if published is None else Response(published.body, media_type=_JSON)

    @app.get("/signals/{symbol:path}", response_model=Signal, responses=problems)
    def signal(symbol: str) -> Response:
        """Return the signal of one symbol, in any spelling: BTCUSDT, btcusdt or BTC/USDT."""
        published = service.published
        if published is None:
            return _starting()
        name = find_spelling(symbol, published.by_symbol)
        if name is None:
            return _no_signal(published, symbol)
        return Response(published.by_symbol[name], media_type=_JSON)


@dataclass(slots=True)
class _Risk:
    """Risk of the positions of one composition, measured at the first request."""

    measured: Published | None = None
    body: bytes = b""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def body_of(self, published: Published, service: LiveService) -> bytes:
        async with self.lock:
            if self.measured is not published:
                engine, report = service.engine, published.report
                positions, as_of = positions_of(report.signals), parse_time(report.as_of)
                # Streams wait meanwhile: the market must not change while a view is read.
                async with engine.collector.turn:
                    risk = await asyncio.to_thread(report_portfolio, engine, positions, as_of)
                self.measured, self.body = published, to_json(risk)
            return self.body


def _add_risk(app: FastAPI, service: LiveService) -> None:
    cached = _Risk()
    problems: dict[int | str, dict[str, Any]] = {
        404: {"model": Problem, "description": "A position in a symbol that no provider brings"},
        422: {"model": Problem, "description": "Too little history to measure the positions"},
        503: {"model": Problem, "description": "No signals are composed yet"},
    }

    @app.get("/risk", response_model=RiskReport, responses=problems)
    async def risk() -> Response:
        """Return what the positions of the newest signals can lose together."""
        published = service.published
        if published is None:
            return _starting()
        return Response(await cached.body_of(published, service), media_type=_JSON)


def _add_status(app: FastAPI, service: LiveService, plugins: Sequence[PluginRecord]) -> None:
    @app.get("/health")
    def health(response: Response) -> Health:
        """Return whether the engine is composing; 503 before the first signals."""
        published = service.published
        if published is None:
            response.status_code = 503
        return _health(service, published)

    @app.get("/providers/status")
    def providers_status() -> list[ProviderState]:
        """Return state, latency, quota left, freshness and error of each provider."""
        streams = service.stream_status()
        return [ProviderState.of(status, streams) for status in provider_status(service.engine)]

    @app.get("/models/status")
    def models_status() -> list[ModelStatus]:
        """Return the artifact in use, its start and its trust, for each trained component."""
        return model_status(service.engine)

    @app.get("/plugins")
    def list_plugins() -> list[dict[str, Any]]:
        """Return every installed component and its status."""
        return [asdict(record) for record in plugins]

    @app.get("/", include_in_schema=False)
    def root() -> dict[str, str]:
        return {"signals": "/signals", "health": "/health", "plugins": "/plugins", "api": "/docs"}


def _health_status(service: LiveService, published: Published | None, behind: int | None) -> str:
    if published is None or behind is None:
        return "starting"
    if service.failure or published.report.missing_layers:
        return "degraded"
    return "stale" if behind > _longest_pause(service) else "ok"


def _longest_pause(service: LiveService) -> int:
    """Return the age from which the newest candles are stale, in microseconds."""
    always_open = any(instrument.always_open for instrument in service.engine.market.instruments)
    closed = 0 if always_open else _LONGEST_CLOSURE
    return 2 * service.engine.composition.interval.micros + closed


def _health(service: LiveService, published: Published | None) -> Health:
    engine = service.engine
    row = None if published is None else parse_time(published.report.as_of)
    behind = None if row is None else engine.clock.now() - row
    return Health(
        status=_health_status(service, published, behind),
        version=weft.__version__,
        installation=installation(engine.store.lake.url, engine.composition),
        data=engine.composition.data_kind.value,
        interval=engine.composition.interval.name,
        as_of=published.report.as_of if published else None,
        composed_at=iso(published.composed_at) if published else None,
        compose_seconds=published.took_seconds if published else None,
        behind_seconds=None if behind is None else behind / SECOND,
        signals=len(published.report.signals) if published else 0,
        failure=service.failure,
        missing_layers=dict(published.report.missing_layers) if published else {},
        awaited=service.awaited,
        providers=[
            ProviderHealth(
                name=result.provider,
                new=result.new,
                restated=result.restated,
                problems=len(result.problems),
                error=result.error,
            )
            for result in service.collected
        ],
    )


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Return the response for an error of Weft."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if not isinstance(error, tuple(_STATUS)):
        log.error("%s %s failed: %s", request.method, request.url.path, error)
    problem = Problem(error=type(error).__name__.removesuffix("Error"), message=str(error))
    return JSONResponse(problem.model_dump(), status)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    """Return the response for a path or method that the API does not have."""
    if not isinstance(error, HTTPException):
        raise error
    path, method = request.url.path, request.method
    message = {
        404: f"there is no {path}; {_SCHEMA} lists all paths",
        405: f"{path} does not take {method}, only {(error.headers or {}).get('allow', 'GET')}",
    }.get(error.status_code, error.detail)
    name = HTTPStatus(error.status_code).phrase.title().replace(" ", "")
    problem = Problem(error=name, message=message)
    return JSONResponse(problem.model_dump(), error.status_code, headers=error.headers)


async def _refuse_parameters(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """Refuse query parameters, which no path has: ignoring a filter would mislead the client."""
    if not request.url.query or request.url.path.startswith(_DOCS):
        return await call_next(request)
    message = (
        f"{request.url.path} takes no parameters, got {request.url.query!r}; "
        "for one symbol, GET /signals/BTCUSDT"
    )
    return JSONResponse(Problem(error="UnknownParameter", message=message).model_dump(), 400)


def _starting() -> JSONResponse:
    problem = Problem(
        error="Starting", message="no signals are composed yet; try again in a moment"
    )
    return JSONResponse(problem.model_dump(), 503, headers={"Retry-After": "2"})


def _no_signal(published: Published, symbol: str) -> JSONResponse:
    omitted = published.report.omitted
    name = find_spelling(symbol, omitted)
    if name is not None:
        message = f"{name} has no signal at {published.report.as_of}: {omitted[name]}"
        return JSONResponse(Problem(error="NoSignal", message=message).model_dump(), 404)
    close = nearest(symbol, list(published.by_symbol))
    hint = f". Did you mean {close}?" if close else ". GET /signals lists all symbols"
    problem = Problem(error="UnknownSymbol", message=f"no provider brings {symbol!r}{hint}")
    return JSONResponse(problem.model_dump(), 404)


def _expect_host(
    allowed: Sequence[str],
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Return a middleware that refuses requests to unknown host names.

    Args:
        allowed: host names in lower case; ``*.example.com`` allows all subdomains, ``*`` any name.
    """

    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        # The port is cut off; an IPv6 address is in brackets.
        host = re.sub(r":\d*$", "", request.headers.get("host", "")).lower()
        if any(name in (host, "*") or _is_subdomain(host, name) for name in allowed):
            return await call_next(request)
        message = (
            f"this server does not answer to the name {host!r}; "
            "add the name to server.allowed_hosts in config.yaml"
        )
        return JSONResponse(Problem(error="InvalidHost", message=message).model_dump(), 400)

    return check


def _is_subdomain(host: str, pattern: str) -> bool:
    return pattern.startswith("*.") and host.endswith(pattern[1:])


def _is_public(path: str) -> bool:
    """Return whether a path needs no token: a browser cannot send one before it has the page."""
    return path in {_DOCS, _SCHEMA} or path.startswith(f"{_ASSETS}/")


def _require(token: str) -> Callable[..., Awaitable[Response]]:
    """Return a middleware that refuses requests for data without the token."""
    expected = f"Bearer {token}".encode()

    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        sent = request.headers.get("authorization", "").encode()
        if _is_public(request.url.path) or hmac.compare_digest(sent, expected):
            return await call_next(request)
        message = "send the header Authorization: Bearer <server.token>; in a browser, open /docs"
        problem = Problem(error="Unauthorised", message=message)
        return JSONResponse(problem.model_dump(), 401, headers={"WWW-Authenticate": "Bearer"})

    return check
