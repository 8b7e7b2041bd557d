"""`weft metrics`: the canonical metrics, and who brings them here."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from weft.assembly import compose_settings
from weft.config.loading import load_settings
from weft.market.instruments import Scope
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.vocabulary import METRICS, Metric
from weft_app.installed import provider_classes


def run(config: Path | None, overrides: Sequence[str], *, as_json: bool, available: bool) -> None:
    """Print every canonical metric, which providers can bring it, and which of them are on.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.
        available: whether to leave out what no provider that is on brings.
    """
    registry = Registry(discover())
    composition, _ = compose_settings(load_settings(config, overrides), registry)
    on = {placed.provider.name for placed in composition.providers}
    brought = _brought(registry)
    rows = []
    for metric in (*METRICS.values(), *_own(brought)):
        by = brought.get(metric.name, [])
        if not available or on.intersection(by):
            rows.append((metric, [name for name in by if name in on], by))
    if as_json:
        told = [asdict(m) | {"available_from": here, "providers": by} for m, here, by in rows]
        sys.stdout.write(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = Table("metric", "unit", "of", "what it is", "brought by", title_justify="left")
    table.title = f"{sum(1 for _, here, _ in rows if here)} of {len(rows)} available"
    group = ""
    for metric, here, by in rows:
        if metric.group != group:
            group = metric.group
            table.add_section()
        names = [f"[green]{name}[/]" if name in here else f"[dim]{name}[/]" for name in by]
        table.add_row(
            metric.name, metric.unit, metric.scope.value, metric.meaning, ", ".join(names)
        )
    Console(highlight=False).print(table)


def _brought(registry: Registry) -> dict[str, list[str]]:
    """Return which providers can bring each metric; those that cannot be loaded bring none."""
    brought: dict[str, list[str]] = {}
    for name, cls in provider_classes(registry):
        for metric in (*cls.metrics, *cls.streamed_metrics):
            brought.setdefault(metric, []).append(name)
    return brought


def _own(brought: dict[str, list[str]]) -> list[Metric]:
    """Return the metrics that providers bring beside the canonical ones."""
    names = sorted(brought.keys() - METRICS.keys())
    return [Metric(n, "", Scope.ASSET, "as its provider says", "others") for n in names]
