"""`weft train`: train models on history, judge them on later data, promote the better ones."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.markup import escape

from weft.domain.signal import to_json
from weft.engine.engine import Engine
from weft.foundation.errors import LearningError, WeftError, nearest
from weft.foundation.times import iso, parse_instant
from weft.learning.judging import FEWEST_SPANS
from weft.learning.records import TrainingResult
from weft_app.profile import AsOfOption, JsonOption, profile_of
from weft_app.progress import phase
from weft_app.session import compile_features, fetch_new, open_engine
from weft_app.terminal import console, open_results, print_json

app = typer.Typer(add_completion=False)


@app.command()
def train(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names in config: xgboost_majors, regime, sizer; all by default."),
    ] = None,
    *,
    as_of: AsOfOption = None,
    fetch: Annotated[bool, typer.Option(help="Fetch new data from the providers first.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Train models, judge them on later data, and promote those that are better.

    Exit code 1 if a model could not be trained.
    """
    names = models or ()
    with closing(open_engine(profile_of(context))) as engine:
        find_keys(engine, names)
        if fetch:
            fetch_new(engine)
        compile_features(engine)
        last = engine.latest_close() if as_of is None else parse_instant(as_of)
        last = engine.composition.interval.floor(last)
        # Again, because the order by training time depends on the rows just fetched.
        keys = find_keys(engine, names)
        console.print(f"Training as of {iso(last)}; later data is not used.")
        outcomes = []
        for key in keys:
            outcomes.append(_train(engine, key, last))
            if not as_json:
                _print(outcomes[-1])
    if as_json:
        print_json(to_json([_as_json(outcome) for outcome in outcomes]))
    if any(outcome.result is None for outcome in outcomes):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training.

    Attributes:
        key: the component.
        result: the result; None where it could not be trained.
        problem: why there is no result.
    """

    key: str
    result: TrainingResult | None
    problem: str | None = None


def find_keys(engine: Engine, names: Sequence[str]) -> list[str]:
    """Return the keys of the named components; of all that can be trained where none is named.

    Args:
        engine: the engine of the composition.
        names: keys in config; the prefix ``models.`` is optional.

    Raises:
        WeftError: the composition trains nothing, or nothing of that name.
    """
    trained = engine.trainer.cheapest_first()
    if not trained:
        raise WeftError(
            "nothing in this composition is trained",
            where="models",
            hint="Name models under `models` in config.yaml; `weft plugins list` shows those "
            "installed",
        )
    by_name = {key: key for key in trained} | {key.rpartition(".")[2]: key for key in trained}
    for name in names:
        if name not in by_name:
            close = nearest(name, list(by_name))
            raise WeftError(
                f"nothing called {name!r} is trained",
                where="models",
                hint=f"Did you mean {close}?" if close else f"There are {', '.join(trained)}",
            )
    return [by_name[name] for name in names] or trained


def _train(engine: Engine, key: str, last: int) -> Outcome:
    with phase(f"Training {key}", in_percent=True) as training:
        training.update(note="reading history")

        def show(done: float, total: float, **figures: float) -> None:
            note = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            training.update(done, total, note)

        try:
            return Outcome(key, engine.trainer.train(key, last, show))
        except LearningError as error:
            return Outcome(key, None, str(error).removeprefix(f"{key}: "))


def _as_json(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    if result is None:
        return {"key": outcome.key, "artifact": None, "problem": outcome.problem}
    return {
        "key": outcome.key,
        "artifact": result.digest,
        "promoted": result.promoted,
        "why": result.why,
        "trained_through": iso(result.span.trained_to),
        "rows": result.span.rows,
        "shadow_rows": result.span.shadow_rows,
        "skill": result.skill.gain,
        "skill_t": result.skill.t,
        "blocks": result.skill.blocks,
        "trust": result.trust,
        "seconds": result.seconds,
    }


def _print(outcome: Outcome) -> None:
    results, result = open_results(), outcome.result
    if result is None:
        line = escape(f"{outcome.key}: {outcome.problem}")
        results.print(f"[red]not trained[/]  {line}", soft_wrap=True)
        return
    colour = "green" if result.promoted else "yellow"
    span, skill = result.span, result.skill
    name = f"[{colour}]{escape(result.key)} {result.digest[:8]}[/]"
    few = ", too few to trust" if skill.blocks < FEWEST_SPANS else ""
    results.print(
        f"{name}: {escape(result.why)}. Trained on {span.rows:,} rows "
        f"through {iso(span.trained_to)} in {result.seconds:.0f} s; on the {span.shadow_rows:,} "
        f"rows after that its loss is {_gain(skill.gain)} ({skill.t:+.1f} standard errors over "
        f"{skill.blocks} spans{few}): trust {result.trust:.2f}.",
        soft_wrap=True,
    )


def _gain(gain: float) -> str:
    if gain > 0.0:
        return f"{gain:.2g} smaller than that of a forecast without information"
    return f"{-gain:.2g} larger than that of a forecast without information"
