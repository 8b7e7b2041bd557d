"""A key that the server echoes in every way appears in no output."""

import base64
import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from tests.core.sources.http.server import NOW, Step, aio, client, reply, serving
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api, HeaderKey, QueryKey
from weft.sources.http.cache import ResponseCache
from weft.sources.http.connection import KeyedTransport
from weft.sources.http.errors import SourceError

CANARY = "cAnArY/+ 7f\"3'=\\x"
FORMS = {CANARY, quote(CANARY, safe=""), json.dumps(CANARY)[1:-1], repr(CANARY.encode())[2:-1]}
FORMS |= {base64.b64encode(CANARY.encode()).decode(), "cAnArY"}

ECHOES: list[Step] = [
    reply({"a": 1}),
    reply({"echo": CANARY}),
    reply({"a": 1}, x_echo=CANARY, etag=f'"{CANARY}"'),
    reply({"error": f"key {CANARY} is wrong"}, 401),
    reply({"error": f"key {CANARY} is wrong"}, 400, x_echo=quote(CANARY, safe="")),
    reply(raw=f"{'x' * 190}{CANARY}".encode(), status=503),
    reply({"error": CANARY}, 429),
    reply({"error": CANARY}, 418),
    reply(raw=f"<html>{CANARY}".encode(), status=200),
    reply(raw=f"broken {CANARY}".encode()),
    reply({}, 302, location=f"https://evil.example/?k={quote(CANARY, safe='')}"),
    reply({}, 302, location=f"/again?k={quote(CANARY, safe='')}"),
    reply({}, 200, content_encoding=CANARY),
    f"HTTP/1.1 200 {CANARY}\r\nbad header {CANARY}\r\n\r\n".encode(),
]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize("place", [HeaderKey("X-Key", "Bearer "), QueryKey("api_key")])
@pytest.mark.parametrize("step", range(len(ECHOES)))
def test_the_key_appears_in_no_output(
    place: HeaderKey | QueryKey,
    step: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    outputs: list[str] = []

    @aio
    async def check() -> None:
        clock = SimulatedClock(NOW)
        async with ResponseCache(tmp_path / "cache") as cache, serving(ECHOES[step]) as server:
            api = Api(base_url=server.url, key=place, attempts=2)
            async with client(server, clock, api=api, key=SecretStr(CANARY), cache=cache) as http:
                for params in ({}, {"symbol": "BTC"}, {"own": CANARY}):
                    try:
                        answer = await http.get("/x", params=params, ttl=60)
                        outputs.extend((repr(answer), repr(answer.headers), answer.what))
                        with pytest.raises(SourceError) as caught:
                            answer.read.number("echo")
                        outputs.append(str(caught.value))
                    except SourceError as error:
                        outputs.extend(traceback.format_exception(error))
                        outputs.extend(f"{item!r} {item}" for item in _chain(error))
                        clock.advance_to(clock.now() + 4_000 * SECOND)
                outputs.extend((repr(http.status()), repr(http), repr(vars(http)), repr(api)))
            key_arrived = server.seen[0].headers.get("x-key", "") + server.seen[0].target
            assert CANARY in key_arrived or quote(CANARY, safe="") in key_arrived

    check()
    outputs.extend(record.getMessage() for record in caplog.records)
    outputs.extend(caplog.text.splitlines())
    for file in (tmp_path / "cache").rglob("*"):
        outputs.append(file.name)
        if file.is_file():
            outputs.append(file.read_bytes().decode("latin-1"))
    assert any("HTTP Request: GET" in text for text in outputs) or step == len(ECHOES) - 1
    leaks = [text for text in outputs for form in FORMS if form.lower() in text.lower()]
    assert not leaks


@aio
async def test_the_key_is_sent_to_no_other_host() -> None:
    async with serving(reply({})) as other, serving(reply({}, 302, location="")) as server:
        server.then(reply({}, 302, location=f"{other.url}/x"))
        api = Api(base_url=server.url, key=HeaderKey("X-Key"))
        async with client(server, api=api, key=SecretStr(CANARY)) as http:
            with pytest.raises(SourceError):
                await http.get("/x")
        assert not other.seen


@aio
async def test_the_transport_adds_the_key_only_for_the_api_origin() -> None:
    seen: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    base, key = httpx.URL("https://vendor.example"), SecretStr(CANARY)
    transport = KeyedTransport(httpx.MockTransport(note), base, HeaderKey("x-key"), key)
    for url in ("https://vendor.example:443/x", "http://vendor.example/x", "https://v.example/x"):
        sent = httpx.Request("GET", url)
        await transport.handle_async_request(sent)
        assert "x-key" not in sent.headers
    await transport.aclose()
    assert [request.headers.get("x-key") for request in seen] == [CANARY, None, None]


@aio
async def test_closing_the_client_removes_its_log_filters() -> None:
    before = list(logging.getLogger("httpx").filters)
    async with serving(reply({})) as server, client(server):
        assert len(logging.getLogger("httpx").filters) == len(before) + 1
    assert logging.getLogger("httpx").filters == before
