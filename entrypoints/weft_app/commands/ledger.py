"""`weft ledger`: look after the record of every signal."""

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from weft.config.loading import load_settings
from weft.foundation.clock import SystemClock
from weft.ledger.ledger import Ledger
from weft_app.terminal import print_json


def verify(
    config: Path | None,
    overrides: Sequence[str],
    seal: str | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Check every seal, and print the number of rows and the last seal.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        seal: one that was printed earlier and has to be in the chain still.
        as_json: whether to print JSON.

    Raises:
        LedgerTamperedError: a row was changed, removed or inserted, or `seal` is gone.
        WeftError: `seal` is no seal.
    """
    ledger = Ledger(load_settings(config, overrides).settings.storage.ledger, SystemClock())
    try:
        rows, last = ledger.verify(seal)
    finally:
        ledger.close()
    if as_json:
        print_json(orjson.dumps({"rows": rows, "seal": last}))
        return
    sys.stdout.write(f"{rows} rows, every seal holds; the last one is {last}\n")
