"""`weft ledger`: look after the record of every signal."""

import sys
from collections.abc import Sequence
from pathlib import Path

from weft.clock import SystemClock
from weft.config.loading import load_settings
from weft.ledger.ledger import Ledger


def verify(config: Path | None, overrides: Sequence[str]) -> None:
    """Check every seal, and print the number of rows and the last seal.

    Raises:
        LedgerTamperedError: a row was changed, removed or inserted.
    """
    ledger = Ledger(load_settings(config, overrides).settings.storage.ledger, SystemClock())
    rows, seal = ledger.verify()
    ledger.close()
    sys.stdout.write(f"{rows} rows, every seal holds; the last one is {seal}\n")
