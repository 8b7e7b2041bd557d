"""The HTTP API. Answers are bytes that were serialised once, when they were composed."""

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

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
_STATUS = {UnknownSymbolError: 404, NoDataError: 422, LookAheadError: 422}
"""Statuses of what is wrong with the question; all else is wrong with Weft."""


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str
    message: str


class ProviderHealth(BaseModel):
    """What a provider brought in the latest round."""

    name: str
    new: int
    restated: int
    problems: int
    error: str | None


_LONGEST_CLOSURE = 5 * DAY
"""Time for which a market with sessions may be closed: a long weekend and a holiday."""


class Health(BaseModel):
    """Whether the engine is composing, on fresh candles and with all of its layers.

    `status` is `starting`, `ok`, `stale` (no market pauses for as long as the newest candles are
    old) or `degraded` (a round failed, or layers are missing). `missing_layers` says which layers
    the newest signals lack, and why. `installation` differs wherever lake or composition do.
    `behind_seconds` is the time since the newest decision row: more than one interval means that
    no new candle has come. `awaited` names the symbols whose candle had not come when the signals
    were composed.
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
        token: what every request must carry as ``Authorization: Bearer``; None for no check.
        allowed_hosts: names a request may address the server by. Without such a list a web page
            could reach a server on loopback through a name that resolves to it.
        plugins: what is installed, for ``GET /plugins``.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title="Weft",
        version=weft.__version__,
        description="Signals composed from many strands of evidence. Times are ISO 8601 UTC.",
        lifespan=lifespan,
        responses={500: {"model": Problem, "description": "Weft failed, for the reason told"}},
    )
    app.add_exception_handler(WeftError, _failed)
    if token is not None:
        app.middleware("http")(_require(token))
    # The last one that is added is asked first.
    app.middleware("http")(_expect_host(allowed_hosts))
    _add_signals(app, service)
    _add_risk(app, service)
    _add_status(app, service, plugins)
    return app


def _add_signals(app: FastAPI, service: LiveService) -> None:
    problems: dict[int | str, dict[str, Any]] = {
        404: {"model": Problem, "description": "No such symbol, or no signal for it now"},
        503: {"model": Problem, "description": "Nothing was composed yet"},
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
        found = find_spelling(symbol, published.by_symbol)
        if found is None:
            return _no_signal(published, symbol)
        return Response(published.by_symbol[found], media_type=_JSON)


@dataclass(slots=True)
class _Risk:
    """What the positions of one composition can lose together, measured when first asked for."""

    of: Published | None = None
    body: bytes = b""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def body_of(self, published: Published, service: LiveService) -> bytes:
        async with self.lock:
            if self.of is not published:
                engine, report = service.engine, published.report
                held, as_of = positions_of(report.signals), parse_time(report.as_of)
                # Streams store nothing meanwhile: the market must not change under a view.
                async with engine.collector.turn:
                    measured = await asyncio.to_thread(report_portfolio, engine, held, as_of)
                self.of, self.body = published, to_json(measured)
            return self.body


def _add_risk(app: FastAPI, service: LiveService) -> None:
    measured = _Risk()
    problems: dict[int | str, dict[str, Any]] = {
        404: {"model": Problem, "description": "A symbol held that no provider has brought"},
        422: {"model": Problem, "description": "Too little is known to measure the positions"},
        503: {"model": Problem, "description": "Nothing was composed yet"},
    }

    @app.get("/risk", response_model=RiskReport, responses=problems)
    async def risk() -> Response:
        """Return what the positions of the newest signals can lose together."""
        published = service.published
        if published is None:
            return _starting()
        return Response(await measured.body_of(published, service), media_type=_JSON)


def _add_status(app: FastAPI, service: LiveService, plugins: Sequence[PluginRecord]) -> None:
    @app.get("/health")
    def health(response: Response) -> Health:
        """Return whether the engine is composing; 503 until it has."""
        published = service.published
        if published is None:
            response.status_code = 503
        return _health(service, published)

    @app.get("/providers/status")
    def providers_status() -> list[ProviderState]:
        """Return how each provider is doing: state, latency, quota left, freshness, error."""
        streams = service.stream_status()
        return [ProviderState.of(one, streams) for one in provider_status(service.engine)]

    @app.get("/models/status")
    def models_status() -> list[ModelStatus]:
        """Return what each trained component uses, since when, and how far it is trusted."""
        return model_status(service.engine)

    @app.get("/plugins")
    def list_plugins() -> list[dict[str, Any]]:
        """Return every installed component and what became of it."""
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
    """Return how old the newest candles may be before they are stale, in microseconds."""
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
                name=c.provider,
                new=c.new,
                restated=c.restated,
                problems=len(c.problems),
                error=c.error,
            )
            for c in service.collected
        ],
    )


async def _failed(request: Request, error: Exception) -> JSONResponse:
    """Answer what was raised on purpose as the problem it is."""
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if not isinstance(error, tuple(_STATUS)):
        log.error("%s %s failed: %s", request.method, request.url.path, error)
    problem = Problem(error=type(error).__name__.removesuffix("Error"), message=str(error))
    return JSONResponse(problem.model_dump(), status)


def _starting() -> JSONResponse:
    problem = Problem(error="Starting", message="nothing was composed yet; try again in a moment")
    return JSONResponse(problem.model_dump(), 503, headers={"Retry-After": "2"})


def _no_signal(published: Published, symbol: str) -> JSONResponse:
    omitted = published.report.omitted
    found = find_spelling(symbol, omitted)
    if found is not None:
        why = omitted[found]
        message = f"{found} has no signal at {published.report.as_of}: {why}"
        return JSONResponse(Problem(error="NoSignal", message=message).model_dump(), 404)
    close = nearest(symbol, list(published.by_symbol))
    hint = f". Did you mean {close}?" if close else ". GET /signals lists all there are"
    problem = Problem(error="UnknownSymbol", message=f"no provider has brought {symbol!r}{hint}")
    return JSONResponse(problem.model_dump(), 404)


def _expect_host(
    allowed: Sequence[str],
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Return a check of the name by which a request addresses the server.

    Args:
        allowed: the names, in lower case; ``*.example.com`` for all below a domain, ``*`` for any.
    """

    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        # Without its port; an IPv6 address stands in brackets.
        named = re.sub(r":\d*$", "", request.headers.get("host", "")).lower()
        if any(one in (named, "*") or _is_below(named, one) for one in allowed):
            return await call_next(request)
        message = (
            f"this server does not answer to the name {named!r}; "
            "add the name to server.allowed_hosts in config.yaml"
        )
        return JSONResponse(Problem(error="InvalidHost", message=message).model_dump(), 400)

    return check


def _is_below(host: str, pattern: str) -> bool:
    return pattern.startswith("*.") and host.endswith(pattern[1:])


def _require(token: str) -> Callable[..., Awaitable[Response]]:
    expected = f"Bearer {token}".encode()

    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("authorization", "").encode()
        if hmac.compare_digest(given, expected):
            return await call_next(request)
        problem = Problem(error="Unauthorised", message="send Authorization: Bearer <server.token>")
        return JSONResponse(problem.model_dump(), 401, headers={"WWW-Authenticate": "Bearer"})

    return check
