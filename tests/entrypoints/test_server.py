"""The HTTP API of a real server on loopback."""

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import TypeAdapter

from tests.support import ALONE, make_engine
from weft.domain.signal import Report, Signal
from weft_app.live import LiveService
from weft_app.server import create_app


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A running `weft serve` on synthetic data."""
    state = tmp_path_factory.mktemp("server")
    port = free_port()
    command = [sys.executable, "-m", "weft_app.cli", "serve", "--port", str(port)]
    command += ["--set", f"storage.lake={state}/lake", "--set", "training.scheduled=false"]
    command += ["--set", f"storage.ledger=sqlite:///{state}/ledger.db"]
    log = (state / "log").open("w")
    process = subprocess.Popen(command, cwd=state, stdout=log, stderr=log)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
    try:
        _wait(client, process, state / "log")
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(20)
        log.close()


def _wait(client: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            client.get("/health")
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the server did not answer in time")


def test_all_signals_follow_their_schema(server: httpx.Client) -> None:
    answer = server.get("/signals")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    report = TypeAdapter(Report).validate_json(answer.content)
    assert report.data == "synthetic"
    assert len(report.signals) == 8


def test_one_signal(server: httpx.Client) -> None:
    answer = server.get("/signals/BTCUSDT")
    signal = TypeAdapter(Signal).validate_json(answer.content)
    assert signal.symbol == "BTCUSDT"
    assert signal.data.kind == "synthetic"
    for spelling in ("btcusdt", "BTC%2FUSDT", "btc/usdt", "BTC-USDT"):
        assert server.get(f"/signals/{spelling}").content == answer.content


def test_an_unknown_symbol_suggests_one(server: httpx.Client) -> None:
    answer = server.get("/signals/BTCUSD")
    assert answer.status_code == 404
    assert "Did you mean BTCUSDT?" in answer.json()["message"]


def test_health_reports_the_age_of_the_candles(server: httpx.Client) -> None:
    health = server.get("/health").json()
    assert health["status"] == "ok"
    assert health["signals"] == 8
    assert 0 <= health["behind_seconds"] < 3700


def test_the_schema_describes_the_signal(server: httpx.Client) -> None:
    schema = server.get("/openapi.json").json()
    fields = schema["components"]["schemas"]["Signal"]["properties"]
    assert {"direction", "confidence", "stop_loss", "layers", "missing_layers"} <= set(fields)


def test_plugins_are_listed(server: httpx.Client) -> None:
    rows = server.get("/plugins").json()
    assert any(r["name"] == "technical" and r["status"] == "active" for r in rows)


def test_a_request_by_a_foreign_name_is_refused(server: httpx.Client) -> None:
    answer = server.get("/signals", headers={"host": "attacker.example"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "InvalidHost"
    assert "server.allowed_hosts" in answer.json()["message"]
    assert server.get("/signals", headers={"host": "LOCALHOST:1"}).status_code == 200


@pytest.mark.parametrize("path", ["/signals/..%2f..%2fetc%2fpasswd", "/signals/%00", "/nothing"])
def test_malformed_paths_give_404(server: httpx.Client, path: str) -> None:
    assert server.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "error", "message"),
    [
        ("GET", "/nothing", 404, "NotFound", "there is no /nothing"),
        ("POST", "/signals", 405, "MethodNotAllowed", "/signals does not take POST, only GET"),
        ("GET", "/signals?symbol=BTCUSDT", 400, "UnknownParameter", "GET /signals/BTCUSDT"),
    ],
)
def test_every_refusal_is_a_problem_in_json(
    server: httpx.Client, method: str, path: str, status: int, error: str, message: str
) -> None:
    answer = server.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert message in answer.json()["message"]


def test_signals_are_compressed_for_clients_that_accept_it(server: httpx.Client) -> None:
    packed = server.get("/signals", headers={"accept-encoding": "gzip"})
    plain = server.get("/signals", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()


HOSTS = re.compile(r"""(?:src|href|@import|url)\s*[=(:]?\s*["'(]?\s*(?:https?:)?//""")


def test_the_docs_page_loads_nothing_from_another_host(server: httpx.Client) -> None:
    page = server.get("/docs")
    assert page.status_code == 200
    assert not HOSTS.search(page.text)
    assets = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert {Path(asset).suffix for asset in assets} == {".css", ".js", ".png"}
    for asset in assets:
        answer = server.get(asset)
        assert answer.status_code == 200
        assert len(answer.content) > 1_000
    styles = next(server.get(asset).text for asset in assets if asset.endswith(".css"))
    assert not HOSTS.search(styles)


def test_with_a_token_a_browser_can_open_the_docs_and_send_the_token(tmp_path: Path) -> None:
    engine = make_engine(tmp_path, *ALONE)
    api = create_app(LiveService(engine), token="a-token", allowed_hosts=["test"])

    async def statuses(*paths: str, **headers: str) -> list[int]:
        transport = httpx.ASGITransport(api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [(await client.get(path, headers=headers)).status_code for path in paths]

    script = "/docs/assets/swagger-ui-bundle.js"
    assert asyncio.run(statuses("/docs", "/openapi.json", script)) == [200, 200, 200]
    closed = ("/plugins", "/signals", "/docs/../plugins", "/docs/assets/../../plugins")
    assert set(asyncio.run(statuses(*closed))) <= {401, 404}
    assert asyncio.run(statuses("/plugins", Authorization="Bearer a-token")) == [200]
    assert asyncio.run(statuses("/plugins", Authorization="Bearer b-token")) == [401]
    # Swagger UI shows the button for the token where the schema has a security scheme.
    schemes = api.openapi()["components"]["securitySchemes"]
    assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]
    engine.close()


def serve(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "weft_app.cli", "serve", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_an_open_address_needs_a_token(tmp_path: Path) -> None:
    done = serve("--host", "0.0.0.0", cwd=tmp_path)
    assert done.returncode == 2
    assert "server.token" in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = serve("--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 2
    assert "--port" in done.stderr
