"""`weft replay`: compose recorded signals again, and show that they come out the same."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.markup import escape

from weft.engine import Engine
from weft.errors import WeftError
from weft.ledger.ledger import Entry
from weft.replay import replay
from weft_app.session import compile_features, console, open_engine

_MOST_DIFFERENCES = 4


def run(ids: Sequence[str], last: int, config: Path | None, overrides: Sequence[str]) -> bool:
    """Compose recorded signals again, print how each compares, and return whether all are alike.

    Args:
        ids: of the signals, or their first characters; empty for the newest ones.
        last: how many of the newest to take where no ids are given.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.

    Raises:
        WeftError: an id is not in the ledger.
    """
    engine = open_engine(config, overrides)
    try:
        entries = [_find(engine, i) for i in ids] or list(islice(engine.ledger.entries(), last))
        compile_features(engine)
        same = 0
        for made in replay(engine, entries):
            same += made.same
            label = escape(f"{made.entry.symbol} as of {made.entry.as_of}")
            if made.same:
                console.print(f"[green]same[/]       {label}  [dim]{escape(made.entry.key)}")
            elif made.signal is None:
                console.print(f"[red]no signal[/]  {label}")
            else:
                # Another version or configuration is the cause of all other differences.
                causes_first = sorted(made.differences, key=lambda p: not p.startswith("versions"))
                paths = escape(", ".join(causes_first[:_MOST_DIFFERENCES]))
                more = len(made.differences) - _MOST_DIFFERENCES
                console.print(
                    f"[red]differs[/]    {label}: {paths}" + (f" and {more} more" * (more > 0))
                )
        console.print(f"{same} of {len(entries)} made again to the last byte.")
        return same == len(entries)
    finally:
        engine.close()


def _find(engine: Engine, name: str) -> Entry:
    entry = engine.ledger.find(name)
    if entry is None:
        raise WeftError(
            f"no signal {name!r} is recorded",
            where="ledger",
            hint="GET /signals and `weft signals --json` show the ids",
        )
    return entry
