"""A server on this machine that speaks Binance's protocol, for each test that asks for one."""

import threading
from collections.abc import Iterator

import pytest

from tests.providers.exchange import Exchange


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    server = Exchange()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
