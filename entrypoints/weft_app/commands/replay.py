"""`weft replay`: compose recorded signals again, and compare."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Annotated

import orjson
import typer
from rich.markup import escape

from weft.engine.engine import Engine
from weft.engine.replay import TOLERANCE, Difference, Outcome, Replayed, replay
from weft.foundation.arithmetic import own_arithmetic
from weft.foundation.errors import WeftError
from weft.ledger.ledger import Entry
from weft_app.profile import JsonOption, profile_of
from weft_app.progress import phase
from weft_app.session import compile_features, open_engine
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)

_MAX_DIFFERENCES = 4


@app.command("replay")
def replay_signals(
    context: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of signals, or their first characters; the newest if none."),
    ] = None,
    *,
    last: Annotated[int, typer.Option(help="Number of newest signals to replay.", min=1)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Compose recorded signals again, and compare.

    Each signal is composed from the data known when it was recorded. The result is identical,
    equal within a tolerance (where another processor or library recorded it), or different; a
    different one gives exit code 1.
    """
    with closing(open_engine(profile_of(context))) as engine:
        newest = islice(engine.ledger.entries(), last)
        entries = [_find(engine, i) for i in ids or ()] or list(newest)
        compile_features(engine)
        with phase("Composing again", total=len(entries)) as composing:
            replays = []
            for replayed in replay(engine, entries):
                replays.append(replayed)
                composing.advance(replayed.entry.symbol)
    if as_json:
        print_json(orjson.dumps([_as_json(replayed) for replayed in replays]))
    else:
        _print(replays)
    if any(replayed.outcome is Outcome.DIFFERENT for replayed in replays):
        raise typer.Exit(1)


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
    results = open_results()
    for replayed in replays:
        results.print(_line(replayed))
    counts = Counter(replayed.outcome for replayed in replays)
    results.print(f"{counts[Outcome.IDENTICAL]} of {len(replays)} identical to the last byte.")
    if counts[Outcome.EQUAL]:
        largest = [r.largest for r in replays if r.outcome is Outcome.EQUAL and r.largest]
        results.print(
            f"{counts[Outcome.EQUAL]} equal within the tolerance of {TOLERANCE:g}; "
            f"{_largest(max(largest, key=lambda difference: difference.gap or 0.0))}."
        )
    if counts[Outcome.DIFFERENT]:
        results.print(f"{counts[Outcome.DIFFERENT]} different.")
    here = own_arithmetic()
    elsewhere = [r.recorded_under for r in replays if r.recorded_under not in ({}, here)]
    if elsewhere:
        results.print(f"Recorded under another arithmetic: {escape(_changes(elsewhere[-1]))}.")


def _line(replayed: Replayed) -> str:
    label = escape(f"{replayed.entry.symbol} as of {replayed.entry.as_of}")
    if replayed.outcome is Outcome.IDENTICAL:
        return f"[green]same[/]       {label}  [dim]{escape(replayed.entry.key)}"
    if replayed.outcome is Outcome.EQUAL and replayed.largest is not None:
        return f"[yellow]equal[/]      {label}: {_largest(replayed.largest)}"
    if replayed.signal is None:
        return (
            f"[red]no signal[/]  {label}: this configuration composes none; was it recorded "
            "with other sources or another universe?"
        )
    # Another version or configuration is the cause of all other differences.
    causes_first = sorted(replayed.differences, key=lambda path: not path.startswith("versions"))
    paths = escape(", ".join(causes_first[:_MAX_DIFFERENCES]))
    more = len(replayed.differences) - _MAX_DIFFERENCES
    return f"[red]differs[/]    {label}: {paths}" + (f" and {more} more" * (more > 0))


def _largest(difference: Difference) -> str:
    return escape(f"largest difference {difference.gap:.1g} in {difference.path}")


def _changes(recorded: Mapping[str, str]) -> str:
    """Return the differences between a recorded arithmetic and that of this process, in words."""
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
