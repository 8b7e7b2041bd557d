"""`weft config`: check the configuration."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from weft.assembly import compose_settings
from weft.config.loading import load_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.session import open_answer


def check(config: Path | None, overrides: Sequence[str]) -> None:
    """Check every key and every component, and print what would be composed.

    Raises:
        ConfigError: one line per mistake.
    """
    loaded = load_settings(config, overrides)
    composition, _ = compose_settings(loaded, Registry(discover()))
    console = open_answer()
    title = escape(f"{loaded.path or 'packaged defaults'}: no mistakes")
    table = Table(title=title, title_justify="left")
    table.add_column("component")
    table.add_column("from", style="dim")
    for name, origin in composition.versions.plugins.items():
        table.add_row(escape(name), escape(origin))
    console.print(table)
    for name, why in composition.missing.items():
        console.print(f"[yellow]{escape(f'layers.{name} will be missing: {why}')}")
    console.print(
        f"Decides every {composition.interval}, on {composition.data_kind.value} data; "
        f"composition {composition.versions.config}"
    )
