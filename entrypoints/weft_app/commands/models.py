"""`weft models`: list trained models, show their cards, promote and roll back by hand."""

import sys
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer
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
from weft_app.profile import JsonOption, profile_of
from weft_app.session import open_engine
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Its name in config, such as transformer.")]


@app.callback()
def models() -> None:
    """List, inspect and promote trained models."""


@app.command("list")
def list_models(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List the trained components, and the artifact each one uses."""
    with closing(open_engine(profile_of(context))) as engine:
        states = model_status(engine)
    if as_json:
        print_json(to_json(states))
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("component", "in use", "trust", "trained through", "used since"):
        table.add_column(name, no_wrap=True)
    for state in states:
        table.add_row(*_cells(state))
    results = open_results()
    results.print(table)
    for state in states:
        key = escape(state.key)
        if state.training:
            results.print(f"[green]{key}[/]: {escape(state.training)}", soft_wrap=True)
        elif state.problem:
            results.print(f"[yellow]{key}[/]: {escape(state.problem)}", soft_wrap=True)
        elif state.last_training:
            counts = f"{state.promotions} of {state.trainings} trainings promoted"
            line = escape(f"{state.last_training}; {counts}")
            results.print(f"[dim]{key}: {line}", soft_wrap=True)


def _cells(state: ModelStatus) -> list[str]:
    return [
        escape(state.key),
        state.artifact[:8] if state.artifact else "",
        "" if state.trust is None else f"{state.trust:.2f}",
        _minute(state.trained_through),
        _minute(state.effective_at),
    ]


def _minute(instant: str | None) -> str:
    return "" if instant is None else instant.replace("T", " ")[:16]


@app.command()
def show(context: typer.Context, name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Show the model card of the artifact in use, all promotions and all artifacts."""
    with closing(open_engine(profile_of(context))) as engine:
        (key,) = find_keys(engine, [name])
        promotions = engine.champions.promotions(key)
        champion = engine.champions.stored_champion(
            key, engine.composition.trained[key], sys.maxsize
        )
        promoted = {promotion.digest for promotion in promotions}
        artifacts = list_artifacts(engine.trainer.artifacts, key, promoted)
    if champion is None and not artifacts:
        raise LearningError("there is no artifact", where=key, hint=f"Train one: weft train {name}")
    card: dict[str, Any] = {"artifact": None}
    if champion is not None:
        card = {"artifact": champion.digest, **champion.provenance, "card": champion.artifact.card}
    if as_json:
        print_json(to_json({**card, "artifacts": artifacts}))
        return
    results = open_results()
    if champion is None:
        results.print(f"No artifact of {key} is in use.", markup=False)
    else:
        text = orjson.dumps(orjson.loads(to_json(card)), option=orjson.OPT_INDENT_2).decode()
        results.print(text, markup=False)
    for promotion in promotions:
        results.print(
            f"{iso(promotion.effective_at)}  {escape(promotion.digest[:8])}  "
            f"trust {promotion.trust:.2f}  [dim]{escape(promotion.why)}"
        )
    results.print("Artifacts, by the last row of their training data:")
    for artifact in artifacts:
        through = artifact.trained_through or "its card is damaged"
        word = "promoted" if artifact.promoted else "kept aside"
        results.print(f"{artifact.digest[:8]}  {through}  {word}", markup=False)


@dataclass(frozen=True, slots=True)
class ListedArtifact:
    """An artifact on disk.

    Attributes:
        digest: digest of its files.
        trained_through: last row it was trained on, ISO 8601 UTC; None where its card is damaged.
        promoted: whether it was ever in use.
    """

    digest: str
    trained_through: str | None
    promoted: bool


def list_artifacts(
    artifacts: Artifacts, key: str, promoted: Collection[str]
) -> list[ListedArtifact]:
    """Return the artifacts of a component, ordered by the last row they were trained on."""
    listed = []
    for digest in artifacts.digests(key):
        try:
            through = str(artifacts.provenance(key, digest)["trained_through"])
        except ArtifactError:
            through = None
        listed.append(ListedArtifact(digest, through, digest in promoted))
    return sorted(listed, key=lambda artifact: (artifact.trained_through or "", artifact.digest))


@app.command()
def promote(
    context: typer.Context,
    name: NameArgument,
    artifact: Annotated[
        str, typer.Argument(help="Digest of the artifact, or its first characters.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Put an artifact into use, whatever its score."""
    with closing(open_engine(profile_of(context))) as engine:
        (key,) = find_keys(engine, [name])
        row = engine.latest_close()
        promotion = engine.trainer.promote(key, artifact, row, "promoted by hand")
    _print_promotion(promotion, "", as_json=as_json)


@app.command()
def rollback(context: typer.Context, name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Put the previous artifact into use again."""
    with closing(open_engine(profile_of(context))) as engine:
        (key,) = find_keys(engine, [name])
        promotion = engine.trainer.roll_back(key, engine.latest_close())
    _print_promotion(promotion, "again, ", as_json=as_json)


def _print_promotion(promotion: Promotion, again: str, *, as_json: bool) -> None:
    key, digest, since = promotion.key, promotion.digest, iso(promotion.effective_at)
    if as_json:
        print_json(orjson.dumps({"key": key, "artifact": digest, "effective_at": since}))
        return
    open_results().print(f"{key} uses {digest[:8]} {again}from {since} on.", markup=False)
