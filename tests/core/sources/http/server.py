"""A loopback HTTP server with scripted responses and faults."""

import asyncio
import functools
import json
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ParamSpec

import trustme

from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api
from weft.sources.http.client import Http

NOW = 1_760_000_000 * SECOND
GENEROUS_SECONDS = 30.0
_NOBODY = ssl.create_default_context()

P = ParamSpec("P")
Act = Callable[[asyncio.StreamWriter], Awaitable[None]]
Step = bytes | Act


def aio(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a new event loop, with a time limit."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), GENEROUS_SECONDS))

    return run


def reply(
    body: Any = None,
    status: Any = 200,
    raw: Any = None,
    kind: Any = "application/json",
    **headers: Any,
) -> bytes:
    """Return a raw HTTP response; underscores in header names become dashes."""
    content = json.dumps(body).encode() if raw is None else raw
    fields = {"content-type": kind, "content-length": str(len(content))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + content


@dataclass
class Seen:
    """A received request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Sends the steps in order and repeats the last one; records the requests."""

    steps: list[Step]
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def then(self, *steps: Step) -> None:
        self.steps[:] = steps

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _read(reader):
            self.seen.append(request)
            step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
            if not isinstance(step, bytes):
                await step(writer)
                return
            writer.write(step)
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Seen(
        method, target, headers, await reader.readexactly(int(headers.get("content-length", 0)))
    )


@asynccontextmanager
async def serving(*steps: Step, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(list(steps), scheme="https" if tls else "http")
    open_now: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await server.serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            open_now.discard(task)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)
        await listening.wait_closed()


def client(
    server: Server | str, clock: Clock | None = None, api: Api | None = None, **given: Any
) -> Http:
    """Return a client of the server; arguments that are fields of `Api` are set there."""
    url = server if isinstance(server, str) else server.url
    # Loading the public authorities for each client takes longer than most tests.
    given.setdefault("tls", _NOBODY)
    known = set(Api.__dataclass_fields__) - {"key", "base_url"}
    options = {name: given.pop(name) for name in known & set(given)}
    return Http(
        api or Api(base_url=url, **options),
        name="vendor",
        clock=clock or SimulatedClock(NOW),
        rng=random.Random(7),
        **given,
    )


def trusting(ca: trustme.CA | None) -> ssl.SSLContext:
    """Return the trusted certificates: an authority of a test, or the public ones."""
    context = ssl.create_default_context()
    if ca:
        ca.configure_trust(context)
    return context
