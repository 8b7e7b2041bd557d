"""The ASGI middleware that injects faults into HTTP requests."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weft_sandbox.corrupt import corrupted, doubled_keys, gzip_bomb
from weft_sandbox.faults import BODY_KINDS, JSON_KINDS, REQUEST_KINDS, Armed, Fault, Faults
from weft_sandbox.protocol import Answer, Api, Problem
from weft_sandbox.wire import WIRE, Wire

_HTML = b"<html><head><title>Maintenance</title></head><body>Please come back later.</body></html>"
_LONG_SECONDS = 3600.0
_BLANKS = b" " * (1 << 16)
_BLANKS_A_MEGABYTE = (1 << 20) // len(_BLANKS)
_SLOW_SECONDS = 1.0


class Injection:
    """ASGI middleware that injects faults into HTTP requests.

    Args:
        app: application without faults.
        faults: faults of the sandbox.
        apis: APIs by name, for their error bodies.
    """

    def __init__(self, app: ASGIApp, faults: Faults, apis: Mapping[str, Api]) -> None:
        self._app, self._faults, self._apis = app, faults, apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        provider, _, rest = str(scope["path"]).removeprefix("/").partition("/")
        path = f"/{rest}"
        api = self._apis.get(provider)
        if api is None:
            await self._app(scope, receive, send)
            return
        for armed in self._faults.strikes(REQUEST_KINDS, provider, path):
            if await self._struck(armed, api, scope, receive, send):
                return
        striking = self._faults.strikes(JSON_KINDS | BODY_KINDS, provider, path)
        if not striking:
            await self._app(scope, receive, send)
            return
        captured = _CapturedResponse()
        await self._app(scope, receive, captured)
        raw = captured.start["headers"]
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in raw}
        answer = _FaultyResponse(captured.body, int(captured.start["status"]), headers)
        for armed in striking:
            await answer.hit(armed, scope["path"])
        await answer.send(scope, receive, send)

    async def _struck(
        self, armed: Armed, api: Api, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        """Inject one fault; return whether the request is finished."""
        fault = armed.fault
        wire: Wire | None = scope.get("extensions", {}).get(WIRE)
        if fault.kind == "latency":
            await asyncio.sleep(_SLOW_SECONDS if fault.seconds is None else fault.seconds)
            return False
        if fault.kind in {"reset", "half_open"}:
            if fault.kind == "half_open":
                limit = _LONG_SECONDS if fault.seconds is None else fault.seconds
                await _until_gone(receive, limit)
            if wire is not None:
                wire.reset()
            await _until_gone(receive, 1.0)
            return True
        await _send(send, _refusal(armed, api))
        return True


class _CapturedResponse:
    """Receives a response instead of the client."""

    def __init__(self) -> None:
        self.start: Message = {}
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        else:
            self.body += message.get("body", b"")


def _refusal(armed: Armed, api: Api) -> Answer:
    fault = armed.fault
    if fault.kind == "redirect":
        return Answer(b"", 302, {"Location": fault.location})
    if fault.kind == "status":
        return Answer(_HTML, fault.status, media_type="text/html")
    problem = {
        "rate_limit": Problem.RATE_LIMITED,
        "ban": Problem.BANNED,
        "revoked_key": Problem.BAD_KEY,
    }[fault.kind]
    wait = fault.retry_after or ""
    answer = api.errors(problem, wait if wait.isdecimal() else "1")
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "retry-after"}
    if fault.retry_after is not None and problem is not Problem.BAD_KEY:
        later = datetime.now(UTC) + timedelta(seconds=2)
        date = format_datetime(later, usegmt=True)
        headers["Retry-After"] = date if fault.retry_after == "date" else fault.retry_after
    return Answer(answer.body, answer.status, headers, answer.media_type)


@dataclass(slots=True)
class _FaultyResponse:
    """A response that faults change one after another."""

    body: bytes
    status: int
    headers: dict[str, str]
    pause_seconds: float | None = None
    breaks_at: int | None = None
    megabytes: int | None = None
    states_length: bool = True

    async def hit(self, armed: Armed, path: str) -> None:
        """Apply one fault."""
        fault = armed.fault
        if fault.kind == "cursor_loop":
            self.body = armed.memory.setdefault(path, self.body)
        elif fault.kind in JSON_KINDS:
            self.body = corrupted(self.body, fault, armed.random)
        elif fault.kind == "gzip_bomb":
            self.body = await asyncio.to_thread(gzip_bomb, fault.size or 200)
            self.headers["content-encoding"] = "gzip"
        else:
            self._hit_bytes(fault)

    def _hit_bytes(self, fault: Fault) -> None:
        match fault.kind:
            case "truncate":
                self.body = self.body[: int(len(self.body) * fault.share)]
            case "reset_body":
                self.breaks_at = max(int(len(self.body) * fault.share), 1)
            case "huge_body" | "endless_body":
                self.megabytes = fault.size or 1_000
                self.states_length = fault.kind == "huge_body"
            case "age":
                self.headers["age"] = f"{0.0 if fault.seconds is None else fault.seconds:.0f}"
            case "duplicate_keys":
                self.body = doubled_keys(self.body)
            case "html":
                self.body, self.status = _HTML, 200
                self.headers["content-type"] = "text/html; charset=utf-8"
            case "content_type":
                self.headers["content-type"] = "text/plain"
            case "bom":
                self.body = b"\xef\xbb\xbf" + self.body
            case "deep":
                levels = fault.size or 100_000
                self.body = b"[" * levels + b"]" * levels
            case _:
                self.pause_seconds = _SLOW_SECONDS if fault.seconds is None else fault.seconds

    async def send(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the changed response."""
        length = len(self.body) if self.megabytes is None else self.megabytes << 20
        self.headers["content-length"] = str(length)
        if not self.states_length:
            del self.headers["content-length"]
        raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        if self.breaks_at is not None:
            part = self.body[: self.breaks_at]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # The reset discards unsent bytes: wait until the written ones are sent.
            await asyncio.sleep(0.02)
            wire: Wire | None = scope.get("extensions", {}).get(WIRE)
            if wire is not None:
                wire.reset()
            await _until_gone(receive, 1.0)
            return
        if self.megabytes is not None:
            for _ in range(self.megabytes * _BLANKS_A_MEGABYTE):
                await send({"type": "http.response.body", "body": _BLANKS, "more_body": True})
            self.body = b""
        if self.pause_seconds is not None:
            for byte in self.body:
                part = bytes([byte])
                await send({"type": "http.response.body", "body": part, "more_body": True})
                await asyncio.sleep(self.pause_seconds)
            self.body = b""
        await send({"type": "http.response.body", "body": self.body})


async def _until_gone(receive: Receive, seconds: float) -> None:
    """Wait until the client has disconnected, at most some seconds."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


async def _send(send: Send, answer: Answer) -> None:
    body = answer.encoded()
    headers = {"Content-Type": answer.media_type, "Content-Length": str(len(body))}
    raw = [(k.encode(), v.encode("latin-1")) for k, v in {**headers, **answer.headers}.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
