"""`weft ledger`: check the record of all signals."""

from typing import Annotated

import orjson
import typer

from weft.foundation.clock import SystemClock
from weft.ledger.ledger import Ledger
from weft_app.profile import JsonOption, profile_of
from weft_app.session import settings_of
from weft_app.terminal import print_json, result_stream

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def ledger() -> None:
    """Check the record of all signals."""


@app.command()
def verify(
    context: typer.Context,
    *,
    seal: Annotated[
        str | None,
        typer.Option(
            help="A seal printed earlier: checks that no rows were cut off the end since."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no recorded signal was changed, removed or inserted.

    Prints the number of rows and the last seal.
    """
    loaded = settings_of(profile_of(context))
    record = Ledger(loaded.settings.storage.ledger, SystemClock())
    try:
        rows, last = record.verify(seal)
    finally:
        record.close()
    if as_json:
        print_json(orjson.dumps({"rows": rows, "seal": last}))
    else:
        result_stream().write(f"{rows} rows, every seal holds; the last one is {last}\n")
