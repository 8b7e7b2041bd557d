"""`weft train`: train models on history, judge them on what came after, promote the better."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from weft.domain.signal import to_json
from weft.engine.engine import Engine
from weft.foundation.errors import LearningError, WeftError, nearest
from weft.foundation.times import iso
from weft.learning.judging import FEWEST_SPANS
from weft.learning.records import TrainingResult
from weft_app.progress import phase
from weft_app.session import (
    bring_up_to_date,
    compile_features,
    console,
    open_answer,
    open_engine,
    parse_instant,
    print_json,
)


def run(
    names: Sequence[str],
    as_of: str | None,
    config: Path | None,
    overrides: Sequence[str],
    *,
    fetch: bool,
    as_json: bool = False,
) -> bool:
    """Train components one after the other, and return whether all could be trained.

    Args:
        names: their keys in config, ``models.`` left out or not; empty for all.
        as_of: train as of a past instant; None for the newest close.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        fetch: whether to ask the providers for what is new first.
        as_json: whether to print JSON.

    Raises:
        WeftError: a name is not that of a component that is trained.
    """
    engine = open_engine(config, overrides)
    try:
        find_keys(engine, names)
        if fetch:
            asyncio.run(bring_up_to_date(engine))
        compile_features(engine)
        last = engine.latest_close() if as_of is None else parse_instant(as_of)
        last = engine.composition.interval.floor(last)
        # Only now the rows are known that tell which trainings take least.
        keys = find_keys(engine, names)
        console.print(f"Training as of {iso(last)}; nothing later is looked at.")
        outcomes = []
        for key in keys:
            outcomes.append(_train(engine, key, last))
            if not as_json:
                _print(outcomes[-1])
    finally:
        engine.close()
    if as_json:
        print_json(to_json([_as_json(one) for one in outcomes]))
    return all(one.trial is not None for one in outcomes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training: its result, or why there is none."""

    key: str
    trial: TrainingResult | None
    problem: str | None = None


def find_keys(engine: Engine, names: Sequence[str]) -> list[str]:
    """Return the keys of the components that are meant; of all that are trained for no names.

    Raises:
        WeftError: nothing is trained in this composition, or nothing of that name.
    """
    trained = engine.trainer.cheapest_first()
    if not trained:
        raise WeftError(
            "nothing in this composition is trained",
            where="models",
            hint="Name some under `models` in config.yaml; `weft plugins list` shows what there is",
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
    trial = outcome.trial
    if trial is None:
        return {"key": outcome.key, "artifact": None, "problem": outcome.problem}
    return {
        "key": outcome.key,
        "artifact": trial.digest,
        "promoted": trial.promoted,
        "why": trial.why,
        "trained_through": iso(trial.span.trained_to),
        "rows": trial.span.rows,
        "shadow_rows": trial.span.shadow_rows,
        "skill": trial.skill.gain,
        "skill_t": trial.skill.t,
        "blocks": trial.skill.blocks,
        "trust": trial.trust,
        "seconds": trial.seconds,
    }


def _print(outcome: Outcome) -> None:
    answer, trial = open_answer(), outcome.trial
    if trial is None:
        line = escape(f"{outcome.key}: {outcome.problem}")
        answer.print(f"[red]not trained[/]  {line}", soft_wrap=True)
        return
    colour = "green" if trial.promoted else "yellow"
    span, skill = trial.span, trial.skill
    name = f"[{colour}]{escape(trial.key)} {trial.digest[:8]}[/]"
    few = ", too few to trust" if skill.blocks < FEWEST_SPANS else ""
    answer.print(
        f"{name}: {escape(trial.why)}. Trained on {span.rows:,} rows "
        f"through {iso(span.trained_to)} in {trial.seconds:.0f} s; on the {span.shadow_rows:,} "
        f"rows after that its loss is {_gain(skill.gain)} ({skill.t:+.1f} standard errors over "
        f"{skill.blocks} spans{few}): trust {trial.trust:.2f}.",
        soft_wrap=True,
    )


def _gain(gain: float) -> str:
    if gain > 0.0:
        return f"{gain:.2g} smaller than knowing nothing"
    return f"{-gain:.2g} larger than knowing nothing"
