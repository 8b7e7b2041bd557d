"""`weft replay`: compose recorded signals again, and show that they come out the same."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import orjson
from rich.markup import escape

from weft.engine import Engine
from weft.errors import WeftError
from weft.ledger.ledger import Entry
from weft.replay import Replayed, replay
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
    """Compose recorded signals again, print how each compares, and return whether all are alike.

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
            for outcome in replay(engine, entries):
                outcomes.append(outcome)
                composing.advance(outcome.entry.symbol)
    finally:
        engine.close()
    if as_json:
        print_json(orjson.dumps([_as_json(outcome) for outcome in outcomes]))
    else:
        _print(outcomes)
    return all(outcome.same for outcome in outcomes)


def _as_json(outcome: Replayed) -> dict[str, object]:
    return {
        "id": outcome.entry.key,
        "symbol": outcome.entry.symbol,
        "as_of": outcome.entry.as_of,
        "same": outcome.same,
        "composed": outcome.signal is not None,
        "differences": list(outcome.differences),
    }


def _print(outcomes: Sequence[Replayed]) -> None:
    answer = open_answer()
    for outcome in outcomes:
        label = escape(f"{outcome.entry.symbol} as of {outcome.entry.as_of}")
        if outcome.same:
            answer.print(f"[green]same[/]       {label}  [dim]{escape(outcome.entry.key)}")
        elif outcome.signal is None:
            answer.print(
                f"[red]no signal[/]  {label}: this configuration composes none; was it recorded "
                "with other sources or another universe?"
            )
        else:
            # Another version or configuration is the cause of all other differences.
            causes_first = sorted(outcome.differences, key=lambda p: not p.startswith("versions"))
            paths = escape(", ".join(causes_first[:_MOST_DIFFERENCES]))
            more = len(outcome.differences) - _MOST_DIFFERENCES
            answer.print(
                f"[red]differs[/]    {label}: {paths}" + (f" and {more} more" * (more > 0))
            )
    same = sum(outcome.same for outcome in outcomes)
    answer.print(f"{same} of {len(outcomes)} made again to the last byte.")


def _find(engine: Engine, name: str) -> Entry:
    entry = engine.ledger.find(name)
    if entry is None:
        raise WeftError(
            f"no signal {name!r} is recorded",
            where="ledger",
            hint="GET /signals and `weft signals --json` show the ids",
        )
    return entry
