"""`weft ledger`: look after the record of every signal."""

import sys
from collections.abc import Sequence
from pathlib import Path

from weft.clock import SystemClock
from weft.config.loading import load_settings
from weft.ledger.ledger import Ledger


def verify(config: Path | None, overrides: Sequence[str], seal: str | None = None) -> None:
    """Check every seal, and print the number of rows and the last seal.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        seal: one that was printed earlier and has to be in the chain still.

    Raises:
        LedgerTamperedError: a row was changed, removed or inserted, or `seal` is gone.
        WeftError: `seal` is no seal.
    """
    ledger = Ledger(load_settings(config, overrides).settings.storage.ledger, SystemClock())
    try:
        rows, last = ledger.verify(seal)
    finally:
        ledger.close()
    sys.stdout.write(f"{rows} rows, every seal holds; the last one is {last}\n")
