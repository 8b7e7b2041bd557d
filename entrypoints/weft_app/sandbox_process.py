"""The process of the sandbox: ``python -m weft_app.sandbox_process PORT``.

A module of its own, because the child process should not import the engine.
"""

import signal
import sys
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from weft.foundation.errors import WeftError

_FIRST_REQUEST = "binance/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1"
_FIRST_SECONDS = 120.0


def serve(port: int) -> None:
    """Run the shared sandbox until stdin is closed; print its port, or the error in one line."""
    # Ctrl-C reaches this process too; the parent ends first, and then closes stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from weft_sandbox.sharing import SharedSandbox  # noqa: PLC0415  # an optional dependency

    try:
        with SharedSandbox(port) as sandbox:
            # The first answer draws the hours of ten years; all requests would wait for that.
            with suppress(httpx.HTTPError):
                httpx.get(sandbox.url(_FIRST_REQUEST), timeout=_FIRST_SECONDS, trust_env=False)
            sys.stdout.write(f"{urlsplit(sandbox.url()).port}\n")
            sys.stdout.flush()
            sys.stdin.read()
    except WeftError as error:
        sys.stdout.write(f"{str(error).removeprefix('sandbox: ')}\n")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
