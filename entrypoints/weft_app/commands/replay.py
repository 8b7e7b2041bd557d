"""`weft replay`: compose recorded signals again, and show that they come out the same."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import orjson
from rich.markup import escape

from weft.engine.engine import Engine
from weft.engine.replay import TOLERANCE, Difference, Outcome, Replayed, replay
from weft.foundation.arithmetic import own_arithmetic
from weft.foundation.errors import WeftError
from weft.ledger.ledger import Entry
from weft_app.progress import phase
from weft_app.session import compile_features, open_answer, open_engine, print_json

_MOST_DIFFERENCES = 4


def run(
    ids: Sequence[str],
    last: int,
    config: Path | None,
    overrides: Sequence[str],
    *,
    as_json: bool = False,
) -> bool:
    """Compose recorded signals again, print how each compares, and return whether all agree.

    Args:
        ids: of the signals, or their first characters; empty for the newest ones.
        last: how many of the newest to take where no ids are given.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        WeftError: an id is not in the ledger.
    """
    engine = open_engine(config, overrides)
    try:
        entries = [_find(engine, i) for i in ids] or list(islice(engine.ledger.entries(), last))
        compile_features(engine)
        with phase("Composing again", total=len(entries)) as composing:
            outcomes = []
            for replayed in replay(engine, entries):
                outcomes.append(replayed)
                composing.advance(replayed.entry.symbol)
    finally:
        engine.close()
    if as_json:
        print_json(orjson.dumps([_as_json(outcome) for outcome in outcomes]))
    else:
        _print(outcomes)
    return all(replayed.outcome is not Outcome.DIFFERENT for replayed in outcomes)


def _as_json(replayed: Replayed) -> dict[str, object]:
    return {
        "id": replayed.entry.key,
        "symbol": replayed.entry.symbol,
        "as_of": replayed.entry.as_of,
        "outcome": replayed.outcome.value,
        "composed": replayed.signal is not None,
        "differences": list(replayed.differences),
    }


def _print(replays: Sequence[Replayed]) -> None:
    answer = open_answer()
    for replayed in replays:
        answer.print(_line(replayed))
    counts = Counter(replayed.outcome for replayed in replays)
    answer.print(f"{counts[Outcome.IDENTICAL]} of {len(replays)} made again to the last byte.")
    if counts[Outcome.EQUAL]:
        largest = [r.largest for r in replays if r.outcome is Outcome.EQUAL and r.largest]
        answer.print(
            f"{counts[Outcome.EQUAL]} equal within the tolerance of {TOLERANCE:g}; "
            f"{_furthest(max(largest, key=lambda difference: difference.gap or 0.0))}."
        )
    if counts[Outcome.DIFFERENT]:
        answer.print(f"{counts[Outcome.DIFFERENT]} different.")
    own = own_arithmetic()
    elsewhere = [r.recorded_under for r in replays if r.recorded_under not in ({}, own)]
    if elsewhere:
        answer.print(f"Recorded under another arithmetic: {escape(_changes(elsewhere[-1]))}.")


def _line(replayed: Replayed) -> str:
    label = escape(f"{replayed.entry.symbol} as of {replayed.entry.as_of}")
    if replayed.outcome is Outcome.IDENTICAL:
        return f"[green]same[/]       {label}  [dim]{escape(replayed.entry.key)}"
    if replayed.outcome is Outcome.EQUAL and replayed.largest is not None:
        return f"[yellow]equal[/]      {label}: {_furthest(replayed.largest)}"
    if replayed.signal is None:
        return (
            f"[red]no signal[/]  {label}: this configuration composes none; was it recorded "
            "with other sources or another universe?"
        )
    # Another version or configuration is the cause of all other differences.
    causes_first = sorted(replayed.differences, key=lambda path: not path.startswith("versions"))
    paths = escape(", ".join(causes_first[:_MOST_DIFFERENCES]))
    more = len(replayed.differences) - _MOST_DIFFERENCES
    return f"[red]differs[/]    {label}: {paths}" + (f" and {more} more" * (more > 0))


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
