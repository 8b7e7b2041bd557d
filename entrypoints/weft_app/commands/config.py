"""`weft config`: check the configuration."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from weft.assembly import compose_settings
from weft.config.loading import load_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry


def check(config: Path | None, overrides: Sequence[str]) -> None:
    """Check every key and every component, and print what would be composed.

    Raises:
        ConfigError: one line per mistake.
    """
    loaded = load_settings(config, overrides)
    composition, _ = compose_settings(loaded, Registry(discover()))
    console = Console(highlight=False)
    table = Table(title=f"{loaded.path or 'packaged defaults'}: no mistakes", title_justify="left")
    table.add_column("component")
    table.add_column("from", style="dim")
    for name, origin in composition.versions.plugins.items():
        table.add_row(name, origin)
    console.print(table)
    for name, why in composition.missing.items():
        console.print(f"[yellow]layers.{name} will be missing: {why}")
    console.print(
        f"Decides every {composition.interval}, on {composition.data_kind.value} data; "
        f"composition {composition.versions.config}"
    )
