"""`weft replay`: compose recorded signals again, and show that they come out the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from rich.markup import escape

from weft.arithmetic import own_arithmetic
from weft.engine import Engine
from weft.errors import WeftError
from weft.ledger.ledger import Entry
from weft.replay import TOLERANCE, Difference, Outcome, Replayed, replay
from weft_app.session import compile_features, console, open_engine

_MOST_DIFFERENCES = 4


def run(ids: Sequence[str], last: int, config: Path | None, overrides: Sequence[str]) -> bool:
    """Compose recorded signals again, print how each compares, and return whether all agree.

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
        counts = Counter[Outcome]()
        elsewhere: Mapping[str, str] = {}
        largest: Difference | None = None
        for made in replay(engine, entries):
            counts[made.outcome] += 1
            _print_one(made)
            if made.recorded_under not in ({}, own_arithmetic()):
                elsewhere = made.recorded_under
            if made.outcome is Outcome.EQUAL:
                largest = max(filter(None, (largest, made.largest)), key=lambda d: d.gap or 0.0)
        _print_all(counts, elsewhere, largest)
        return counts[Outcome.DIFFERENT] == 0
    finally:
        engine.close()


def _print_one(made: Replayed) -> None:
    label = escape(f"{made.entry.symbol} as of {made.entry.as_of}")
    if made.outcome is Outcome.IDENTICAL:
        console.print(f"[green]same[/]       {label}  [dim]{escape(made.entry.key)}")
    elif made.outcome is Outcome.EQUAL and made.largest is not None:
        console.print(f"[yellow]equal[/]      {label}: {_furthest(made.largest)}")
    elif made.signal is None:
        console.print(f"[red]no signal[/]  {label}")
    else:
        # Another version or configuration is the cause of all other differences.
        causes_first = sorted(made.differences, key=lambda p: not p.startswith("versions"))
        paths = escape(", ".join(causes_first[:_MOST_DIFFERENCES]))
        more = len(made.differences) - _MOST_DIFFERENCES
        console.print(f"[red]differs[/]    {label}: {paths}" + (f" and {more} more" * (more > 0)))


def _print_all(
    counts: Mapping[Outcome, int], elsewhere: Mapping[str, str], largest: Difference | None
) -> None:
    whole = sum(counts.values())
    console.print(f"{counts[Outcome.IDENTICAL]} of {whole} made again to the last byte.")
    if largest is not None:
        console.print(
            f"{counts[Outcome.EQUAL]} equal within the tolerance of {TOLERANCE:g}; "
            f"{_furthest(largest)}."
        )
    if counts[Outcome.DIFFERENT]:
        console.print(f"{counts[Outcome.DIFFERENT]} different.")
    if elsewhere:
        console.print(f"Recorded under another arithmetic: {escape(_changes(elsewhere))}.")


def _furthest(difference: Difference) -> str:
    return escape(f"largest difference {difference.gap:.1g} in {difference.path}")


def _changes(recorded: Mapping[str, str]) -> str:
    """Return what differs between a recorded arithmetic and this process's, in words."""
    here = own_arithmetic()
    return "; ".join(
        f"{name} was {recorded.get(name, 'absent')}, is {here.get(name, 'absent')}"
        for name in sorted({*recorded, *here})
        if recorded.get(name) != here.get(name)
    )


def _find(engine: Engine, name: str) -> Entry:
    entry = engine.ledger.find(name)
    if entry is None:
        raise WeftError(
            f"no signal {name!r} is recorded",
            where="ledger",
            hint="GET /signals and `weft signals --json` show the ids",
        )
    return entry
