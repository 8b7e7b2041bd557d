"""`weft sandbox`: a made-up market behind the real protocols, for trying things out."""

from pathlib import Path

from weft.foundation.dependencies import require
from weft.foundation.times import parse_time
from weft_app.session import console


def run(
    port: int | None,
    seed: int,
    speed: float,
    start: str | None,
    replay: Path | None,
    coins: int = 20,
) -> None:
    """Serve until stopped.

    Args:
        port: where to listen, on loopback; the port of the sandbox if None.
        seed: another seed is another market.
        speed: sandbox seconds a second.
        start: first instant of sandbox time, ISO 8601; now if None.
        replay: folder of real candles to serve in place of made-up prices.
        coins: how many, 20 to 100.

    Raises:
        MissingDependencyError: the packages of the `api` extra are not installed.
        WeftError: the port is taken, or the folder holds no candles.
    """
    require("starlette", "uvicorn", extra="api", where="weft sandbox")
    import weft_sandbox as sandbox  # noqa: PLC0415  # an optional dependency

    port = sandbox.SANDBOX_PORT if port is None else port
    console.print(
        f"[yellow]A made-up market[/] on http://127.0.0.1:{port}/<provider>, for instance "
        f"http://127.0.0.1:{port}/binance/api/v3/time  [dim](faults: /_sandbox/faults; stop with "
        "Ctrl-C)"
    )
    first = None if start is None else parse_time(start)
    sandbox.run(port, seed, speed, replay, start=first, coins=coins)
