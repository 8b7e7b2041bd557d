"""A shared sandbox: a running server is used, and taken over when it ends."""

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support import PATIENCE_SECONDS
from weft.foundation.errors import WeftError
from weft.foundation.times import parse_time
from weft_sandbox import Sandbox, sharing
from weft_sandbox.ports import SANDBOX_PORTS
from weft_sandbox.sharing import SharedSandbox, is_usual_market


@pytest.fixture
def port() -> int:
    """A free port; the next port is probably free, too."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens without answering."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def _first_close(base: str) -> object:
    """Return a candle from the sandbox at a base URL."""
    query = "symbol=BTCUSDT&interval=1h&startTime=1760000400000&limit=1"
    return httpx.get(f"{base}/binance/api/v3/klines", params=query, trust_env=False).json()


def test_another_process_takes_the_server_over(port: int) -> None:
    with Sandbox(port=port) as first:
        candle = _first_close(first.url())
        with SharedSandbox(port) as second:
            assert second.url() == first.url()
            first.stop()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not is_usual_market(port) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert _first_close(second.url()) == candle
    assert not is_usual_market(port)


def test_a_server_of_another_market_is_not_used(port: int) -> None:
    with Sandbox(port=port, seed=8), SharedSandbox(port) as own:
        assert own.url() != f"http://127.0.0.1:{port}"
        assert is_usual_market(int(own.url().rpartition(":")[2]))


@pytest.mark.parametrize(
    "unusual",
    [
        {"seed": 8},
        {"coins": 21},
        {"speed": 60.0},
        {"start": parse_time("2025-03-01T12:00:00Z")},
        {"faults": [{"kind": "status", "status": 503}]},
    ],
    ids=lambda unusual: next(iter(unusual)),
)
def test_an_unusual_market_is_recognised(unusual: dict[str, object]) -> None:
    with Sandbox(apis=[], **unusual) as sandbox:  # type: ignore[arg-type]  # by keyword, of any type
        assert not is_usual_market(sandbox.port)


def test_a_taken_port_is_skipped(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "_ANSWER_SECONDS", 0.1)
    with SharedSandbox(taken) as own:
        found = int(own.url("binance").removesuffix("/binance").rpartition(":")[2])
        assert taken < found < taken + SANDBOX_PORTS


def test_without_a_free_port_the_config_key_is_named(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(sharing, "SANDBOX_PORTS", 1)
    with pytest.raises(WeftError, match=r"--set sandbox\.port="), SharedSandbox(taken):
        pass
