"""`weft config`: write a config file, or check one."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from weft.compose.composition import Composition
from weft.config.loading import DEFAULT_FILE
from weft.engine.assembly import compose_settings
from weft.foundation.errors import StorageError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.default_config import packaged_text
from weft_app.profile import JsonOption, profile_of
from weft_app.session import settings_of
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def config() -> None:
    """Write a config file, or check one."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to create.")] = DEFAULT_FILE,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a config file with every option, its default and its description."""
    text = packaged_text()
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StorageError(
            "exists already", where=str(path), hint="Name another file, or remove this one first"
        ) from None
    except OSError as error:
        raise StorageError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            hint="Name a file in a folder that exists and can be written",
        ) from error
    if as_json:
        print_json(orjson.dumps({"written": str(path)}))
        return
    results = open_results()
    results.print(f"Wrote every option with its default to {escape(str(path))}.", soft_wrap=True)
    results.print(f"Next: weft config check -c {shlex.quote(str(path))}", markup=False)


@app.command()
def check(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Check every key and every component without composing anything."""
    loaded = settings_of(profile_of(context))
    composition, _ = compose_settings(loaded, Registry(discover()))
    checked = str(loaded.path or "packaged defaults")
    if as_json:
        print_json(
            orjson.dumps(
                {
                    "checked": checked,
                    "components": dict(composition.versions.plugins),
                    "interval": composition.interval.name,
                    "data": composition.data_kind.value,
                    "composition": composition.versions.config,
                    "notes": list(notes_on(composition)),
                }
            )
        )
    else:
        _print(checked, composition)


def _print(checked: str, composition: Composition) -> None:
    console = open_results()
    # Not the title of the table, which rich would break at the table's width.
    console.print(escape(f"{checked}: no mistakes"), soft_wrap=True)
    table = Table()
    table.add_column("component")
    table.add_column("from", style="dim")
    for name, origin in composition.versions.plugins.items():
        table.add_row(escape(name), escape(origin))
    console.print(table)
    for note in notes_on(composition):
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    console.print(
        f"Decides every {composition.interval}, on {composition.data_kind.value} data; "
        f"composition {composition.versions.config}"
    )


def notes_on(composition: Composition) -> Iterator[str]:
    """Yield settings that are valid but that the author hardly wants."""
    if not composition.layers:
        yield "layers: no layer is enabled, so every signal is NEUTRAL"
    elif not any(composition.weights.values()):
        yield "layers: every weight is 0, so no layer counts"
    if not any(configured.component.brings_candles for configured in composition.providers):
        names = ", ".join(configured.component.name for configured in composition.providers)
        yield f"providers: no enabled provider brings candles: {names}"
    for configured in composition.providers:
        for option, value in configured.component.config:
            if isinstance(value, Path) and not value.expanduser().exists():
                yield f"providers.{configured.policy.name}.{option}: {value} does not exist"
    for name, why in composition.missing.items():
        yield f"layers.{name} will be missing: {why}"
