"""`weft config`: check the configuration."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from rich.markup import escape
from rich.table import Table

from weft.compose.composition import Composition
from weft.config.loading import load_settings
from weft.engine.assembly import compose_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.session import open_answer, print_json


def check(config: Path | None, overrides: Sequence[str], *, as_json: bool = False) -> None:
    """Check every key and every component, and print what would be composed.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        ConfigError: one line per mistake.
    """
    loaded = load_settings(config, overrides)
    composition, _ = compose_settings(loaded, Registry(discover()))
    checked = str(loaded.path or "packaged defaults")
    notes = list(notes_on(composition))
    if as_json:
        print_json(
            orjson.dumps(
                {
                    "checked": checked,
                    "components": dict(composition.versions.plugins),
                    "interval": composition.interval.name,
                    "data": composition.data_kind.value,
                    "composition": composition.versions.config,
                    "notes": notes,
                }
            )
        )
        return
    console = open_answer()
    # Not as the title of the table, which would be broken at the table's width.
    console.print(escape(f"{checked}: no mistakes"), soft_wrap=True)
    table = Table()
    table.add_column("component")
    table.add_column("from", style="dim")
    for name, origin in composition.versions.plugins.items():
        table.add_row(escape(name), escape(origin))
    console.print(table)
    for note in notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    console.print(
        f"Decides every {composition.interval}, on {composition.data_kind.value} data; "
        f"composition {composition.versions.config}"
    )


def notes_on(composition: Composition) -> Iterator[str]:
    """Yield what is no mistake in a composition, but hardly what its author wants."""
    if not composition.layers:
        yield "layers: none is on, so that every signal is NEUTRAL"
    elif not any(composition.weights.values()):
        yield "layers: every weight is 0, so that no layer is heard"
    if not any(configured.component.brings_candles for configured in composition.providers):
        names = ", ".join(configured.component.name for configured in composition.providers)
        yield f"providers: none of those that are on brings candles: {names}"
    for configured in composition.providers:
        for option, value in configured.component.config:
            if isinstance(value, Path) and not value.expanduser().exists():
                yield f"providers.{configured.policy.name}.{option}: {value} does not exist"
    for name, why in composition.missing.items():
        yield f"layers.{name} will be missing: {why}"
