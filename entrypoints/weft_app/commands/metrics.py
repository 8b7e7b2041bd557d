"""`weft metrics`: the canonical metrics, and who brings them here."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.markup import escape
from rich.table import Table

from weft.config.loading import load_settings
from weft.domain.instruments import Scope
from weft.domain.vocabulary import METRICS, Metric
from weft.engine.assembly import compose_settings
from weft.foundation.times import Interval
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.series import SeriesProvider
from weft_app.installed import provider_classes
from weft_app.session import open_answer, print_json


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
    on = {configured.component.key: configured.component for configured in composition.providers}
    waiting = {n: p.waiting() for n, p in on.items() if isinstance(p, SeriesProvider)}
    brought = _brought(registry)
    rows = []
    for metric in (*METRICS.values(), *_own(brought)):
        by = brought.get(metric.name, [])
        why = {n: waiting[n][metric.name] for n in by if metric.name in waiting.get(n, {})}
        here = [name for name in by if name in on and name not in why]
        if not available or here:
            rows.append((metric, here, by, why))
    if as_json:
        told = [
            asdict(metric) | {"available_from": here, "providers": by, "waiting": why}
            for metric, here, by, why in rows
        ]
        print_json(orjson.dumps(told))
        return
    table = Table("metric", "unit", "range", "of", "what it is", "brought by", title_justify="left")
    table.title = f"{sum(1 for _, here, *_ in rows if here)} of {len(rows)} available"
    group = ""
    for metric, here, by, _ in rows:
        if metric.group != group:
            group = metric.group
            table.add_section()
        names = [f"[{'green' if name in here else 'dim'}]{escape(name)}[/]" for name in by]
        table.add_row(
            escape(metric.name),
            escape(metric.unit),
            escape(metric.range),
            metric.scope.value,
            escape(metric.meaning),
            ", ".join(names),
        )
    console = open_answer()
    console.print(table)
    for metric, _, _, why in rows:
        for name, reason in why.items():
            line = f"{metric.name} is not asked of {name}: {reason}"
            console.print(line, markup=False, soft_wrap=True)


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
    return [
        Metric(n, "", Scope.ASSET, "as its provider says", "others", Interval.parse("1d"))
        for n in names
    ]
