"""`weft models`: what was trained, what is in use, and changing that by hand."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import to_json
from weft.engine.model_status import ModelStatus, model_status
from weft.foundation.errors import ArtifactError, LearningError
from weft.foundation.times import iso
from weft.learning.artifacts import Artifacts
from weft.learning.champions import Promotion
from weft_app.commands.train import find_keys
from weft_app.session import open_answer, open_engine, print_json


def show_list(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print each component that is trained, and the artifact it uses."""
    engine = open_engine(config, overrides)
    try:
        states = model_status(engine)
    finally:
        engine.close()
    if as_json:
        print_json(to_json(states))
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("component", "in use", "trust", "trained through", "used since"):
        table.add_column(name, no_wrap=True)
    for one in states:
        table.add_row(*_cells(one))
    answer = open_answer()
    answer.print(table)
    for one in states:
        if one.training:
            answer.print(f"[green]{escape(one.key)}[/]: {escape(one.training)}", soft_wrap=True)
        elif one.problem:
            answer.print(f"[yellow]{escape(one.key)}[/]: {escape(one.problem)}", soft_wrap=True)
        elif one.last_training:
            counts = f"{one.promotions} of {one.trainings} trainings promoted"
            told = escape(f"{one.key}: {one.last_training}; {counts}")
            answer.print(f"[dim]{told}", soft_wrap=True)


def _cells(one: ModelStatus) -> list[str]:
    return [
        escape(one.key),
        one.artifact[:8] if one.artifact else "",
        "" if one.trust is None else f"{one.trust:.2f}",
        _minute(one.trained_through),
        _minute(one.effective_at),
    ]


def _minute(instant: str | None) -> str:
    return "" if instant is None else instant.replace("T", " ")[:16]


def show(name: str, config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print the model card of the artifact a component uses, its promotions and its artifacts.

    Raises:
        WeftError: there is no such component, or it has no artifact.
    """
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        promotions = engine.champions.promotions(key)
        kept = engine.champions.in_use(key, engine.composition.trained[key], sys.maxsize)
        there = list_artifacts(engine.trainer.artifacts, key, {one.digest for one in promotions})
    finally:
        engine.close()
    if kept is None and not there:
        raise LearningError("there is no artifact", where=key, hint=f"Train one: weft train {name}")
    card: dict[str, Any] = {"artifact": None}
    if kept is not None:
        card = {"artifact": kept.digest, **kept.about, "card": kept.artifact.card}
    if as_json:
        print_json(to_json({**card, "artifacts": there}))
        return
    answer = open_answer()
    if kept is None:
        answer.print(f"No artifact of {key} is in use.", markup=False)
    else:
        text = orjson.dumps(orjson.loads(to_json(card)), option=orjson.OPT_INDENT_2).decode()
        answer.print(text, markup=False)
    for one in promotions:
        answer.print(
            f"{iso(one.effective_at)}  {escape(one.digest[:8])}  trust {one.trust:.2f}  "
            f"[dim]{escape(one.why)}"
        )
    answer.print("Artifacts, by the last row each was trained on:")
    for artifact in there:
        through = artifact.trained_through or "its card is damaged"
        word = "promoted" if artifact.promoted else "kept aside"
        answer.print(f"{artifact.digest[:8]}  {through}  {word}", markup=False)


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """An artifact that is there.

    Attributes:
        digest: its own.
        trained_through: last row it was trained on, ISO 8601 UTC; None where its card is damaged.
        promoted: whether it was ever taken into use.
    """

    digest: str
    trained_through: str | None
    promoted: bool


def list_artifacts(
    artifacts: Artifacts, key: str, promoted: Collection[str]
) -> list[ListedArtifact]:
    """Return the artifacts of a component, the one trained on the latest rows last."""
    found = []
    for digest in artifacts.digests(key):
        try:
            through = str(artifacts.about(key, digest)["trained_through"])
        except ArtifactError:
            through = None
        found.append(ListedArtifact(digest, through, digest in promoted))
    return sorted(found, key=lambda one: (one.trained_through or "", one.digest))


def promote(
    name: str, digest: str, config: Path | None, overrides: Sequence[str], *, as_json: bool = False
) -> None:
    """Take an artifact into use, whatever it was judged to be."""
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        made = engine.trainer.promote(key, digest, engine.latest_close(), "promoted by hand")
    finally:
        engine.close()
    _print_promotion(made, "", as_json=as_json)


def roll_back(
    name: str, config: Path | None, overrides: Sequence[str], *, as_json: bool = False
) -> None:
    """Take the artifact into use again that was used before the present one."""
    engine = open_engine(config, overrides)
    try:
        (key,) = find_keys(engine, [name])
        made = engine.trainer.roll_back(key, engine.latest_close())
    finally:
        engine.close()
    _print_promotion(made, "again, ", as_json=as_json)


def _print_promotion(made: Promotion, again: str, *, as_json: bool) -> None:
    since = iso(made.effective_at)
    if as_json:
        print_json(orjson.dumps({"key": made.key, "artifact": made.digest, "effective_at": since}))
        return
    line = f"{made.key} uses {made.digest[:8]} {again}from {since} on."
    open_answer().print(line, markup=False)
