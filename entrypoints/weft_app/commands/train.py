"""`weft train`: train models on history, judge them on what came after, promote the better."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from weft.engine import Engine
from weft.errors import LearningError, WeftError, nearest
from weft.learning.judging import FEWEST_SPANS
from weft.learning.records import Trial
from weft.times import iso, parse_time
from weft_app.session import bring_up_to_date, compile_features, console, open_engine


def run(
    names: Sequence[str],
    as_of: str | None,
    config: Path | None,
    overrides: Sequence[str],
    *,
    fetch: bool,
) -> bool:
    """Train components one after the other, and return whether all could be trained.

    Args:
        names: their keys in config, ``models.`` left out or not; empty for all.
        as_of: train as of a past instant; None for the newest close.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        fetch: whether to ask the providers for what is new first.

    Raises:
        WeftError: a name is not that of a component that is trained.
    """
    engine = open_engine(config, overrides)
    try:
        keys = find_keys(engine, names)
        if fetch:
            asyncio.run(bring_up_to_date(engine))
        compile_features(engine)
        last = engine.latest_close() if as_of is None else parse_time(as_of)
        last = engine.composition.interval.floor(last)
        console.print(f"Training as of {iso(last)}; nothing later is looked at.")
        done = [_train(engine, key, last) for key in keys]
        return all(done)
    finally:
        engine.close()


def find_keys(engine: Engine, names: Sequence[str]) -> list[str]:
    """Return the keys of the components that are meant; of all that are trained for no names.

    Raises:
        WeftError: nothing is trained in this composition, or nothing of that name.
    """
    trained = list(engine.composition.trained)
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


def _train(engine: Engine, key: str, last: int) -> bool:
    if not console.is_terminal:
        console.print(f"Training {key} ...", markup=False)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(escape(key), total=None, note="reading history")

        def show(done: float, total: float, **figures: float) -> None:
            note = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            progress.update(task, completed=done, total=total, note=escape(note))

        try:
            trial = engine.trainer.train(key, last, show)
        except LearningError as error:
            told = escape(f"{key}: {_said(error, key)}")
            console.print(f"[red]not trained[/]  {told}", soft_wrap=True)
            return False
    _print(trial)
    return True


def _said(error: LearningError, key: str) -> str:
    return str(error).removeprefix(f"{key}: ")


def _print(trial: Trial) -> None:
    word = "[green]promoted[/]" if trial.promoted else "[yellow]kept aside[/]"
    span, skill = trial.span, trial.skill
    about = f"{trial.key} {trial.digest[:8]}: {trial.why}"
    few = ", too few to trust" if skill.blocks < FEWEST_SPANS else ""
    console.print(
        f"{word}  {escape(about)}. Trained on {span.rows:,} rows "
        f"through {iso(span.trained_to)} in {trial.seconds:.0f} s; on the {span.shadow_rows:,} "
        f"rows after that its loss is {_gain(skill.gain)} ({skill.t:+.1f} standard errors over "
        f"{skill.blocks} spans{few}): trust {trial.trust:.2f}.",
        soft_wrap=True,
        highlight=False,
    )


def _gain(gain: float) -> str:
    if gain > 0.0:
        return f"{gain:.2g} smaller than knowing nothing"
    return f"{-gain:.2g} larger than knowing nothing"
