"""`weft models`: what was trained, what is in use, and changing that by hand."""

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from weft.errors import LearningError
from weft.learning.status import ModelStatus, model_status
from weft.signal import to_json
from weft.times import iso
from weft_app.commands.train import find_keys
from weft_app.session import console, open_engine


def show_list(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print each component that is trained, and the artifact it uses."""
    engine = open_engine(config, overrides)
    try:
        states = model_status(engine)
    finally:
        engine.close()
    if as_json:
        sys.stdout.write(to_json(states).decode() + "\n")
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("component", "in use", "trust", "trained through", "used since"):
        table.add_column(name, no_wrap=True)
    for one in states:
        table.add_row(*_cells(one))
    answer = Console(highlight=False)
    answer.print(table)
    for one in states:
        if one.problem:
            answer.print(f"[yellow]{one.key}[/]: {one.problem}", soft_wrap=True)
        elif one.last_training:
            counts = f"{one.promotions} of {one.trainings} trainings promoted"
            answer.print(f"[dim]{one.key}: {one.last_training}; {counts}", soft_wrap=True)


def _cells(one: ModelStatus) -> list[str]:
    return [
        one.key,
        one.artifact[:8] if one.artifact else "",
        "" if one.trust is None else f"{one.trust:.2f}",
        _minute(one.trained_through),
        _minute(one.effective_at),
    ]


def _minute(instant: str | None) -> str:
    return "" if instant is None else instant.replace("T", " ")[:16]


def show(name: str, config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print the model card of the artifact a component uses, and every promotion before it.

    Raises:
        WeftError: there is no such component, or nothing of it is in use.
    """
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        promotions = engine.champions.promotions(key)
        kept = engine.champions.in_use(key, engine.composition.trained[key], sys.maxsize)
    finally:
        engine.close()
    if kept is None:
        raise LearningError(
            "no artifact is in use", where=key, hint=f"Train one: weft train {name}"
        )
    card = {"artifact": kept.digest, **kept.about, "card": kept.artifact.card}
    if as_json:
        sys.stdout.write(to_json(card).decode() + "\n")
        return
    text = orjson.dumps(orjson.loads(to_json(card)), option=orjson.OPT_INDENT_2).decode()
    Console(highlight=False).print(text, markup=False)
    for one in promotions:
        console.print(
            f"{iso(one.effective_at)}  {one.digest[:8]}  trust {one.trust:.2f}  [dim]{one.why}"
        )


def promote(name: str, digest: str, config: Path | None, overrides: Sequence[str]) -> None:
    """Take an artifact into use, whatever it was judged to be."""
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        made = engine.trainer.promote(key, digest, engine.latest_close(), "promoted by hand")
    finally:
        engine.close()
    console.print(f"{key} uses {made.digest[:8]} from {iso(made.effective_at)} on.")


def roll_back(name: str, config: Path | None, overrides: Sequence[str]) -> None:
    """Take the artifact into use again that was used before the present one."""
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        made = engine.trainer.roll_back(key, engine.latest_close())
    finally:
        engine.close()
    console.print(f"{key} uses {made.digest[:8]} again, from {iso(made.effective_at)} on.")
