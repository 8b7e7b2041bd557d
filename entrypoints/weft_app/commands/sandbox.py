"""`weft sandbox`: a made-up market behind the real protocols."""

from pathlib import Path
from typing import Annotated

import typer

from weft.foundation.dependencies import require
from weft.foundation.times import parse_time
from weft_app.terminal import console

app = typer.Typer(add_completion=False)


@app.command()
def sandbox(
    *,
    port: Annotated[
        int | None, typer.Option(help="Where to listen, on 127.0.0.1.", show_default="8390")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 7,
    speed: Annotated[float, typer.Option(help="Sandbox seconds per second.", min=0)] = 1.0,
    start: Annotated[
        str | None, typer.Option(help="First instant of its time, ISO 8601; now if left out.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Folder of real candles to serve instead of made-up ones.")
    ] = None,
    coins: Annotated[int, typer.Option(help="Number of coins.", min=20, max=100)] = 20,
) -> None:
    """Serve a made-up market through the protocols of all providers, on loopback."""
    require("starlette", "uvicorn", extra="api", where="weft sandbox")
    import weft_sandbox  # noqa: PLC0415  # an optional dependency

    port = weft_sandbox.SANDBOX_PORT if port is None else port
    console.print(
        f"[yellow]A made-up market[/] on http://127.0.0.1:{port}/<provider>, for instance "
        f"http://127.0.0.1:{port}/binance/api/v3/time  [dim](faults: /_sandbox/faults; stop with "
        "Ctrl-C)"
    )
    first = None if start is None else parse_time(start)
    weft_sandbox.run(port, seed, speed, replay, start=first, coins=coins)
