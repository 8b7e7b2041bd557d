"""`weft metrics`: the canonical metrics, and the providers that bring them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from weft.compose.composition import Composition
from weft.domain.instruments import Scope
from weft.domain.vocabulary import METRICS, Metric
from weft.engine.assembly import compose_settings
from weft.foundation.times import Interval
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.series import SeriesProvider
from weft_app.installed import provider_classes
from weft_app.profile import JsonOption, profile_of
from weft_app.session import settings_of
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Availability:
    """One metric and its providers.

    Attributes:
        metric: the metric.
        available_from: enabled providers that bring it.
        providers: installed providers that can bring it.
        waiting: enabled providers that need another setting first, with the reason.
    """

    metric: Metric
    available_from: list[str]
    providers: list[str]
    waiting: Mapping[str, str]


@app.command()
def metrics(
    context: typer.Context,
    *,
    available: Annotated[
        bool, typer.Option("--available", help="Only metrics that an enabled provider brings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the metrics a layer can use, and which providers bring them."""
    registry = Registry(discover())
    composition, _ = compose_settings(settings_of(profile_of(context)), registry)
    rows = [row for row in _rows(composition, registry) if row.available_from or not available]
    if as_json:
        print_json(orjson.dumps([_as_json(row) for row in rows]))
        return
    console = open_results()
    console.print(_table(rows))
    for row in rows:
        for name, reason in row.waiting.items():
            line = f"{row.metric.name} is not fetched from {name}: {reason}"
            console.print(line, markup=False, soft_wrap=True)


def _rows(composition: Composition, registry: Registry) -> Iterable[Availability]:
    enabled = {p.component.key: p.component for p in composition.providers}
    waiting = {n: p.waiting() for n, p in enabled.items() if isinstance(p, SeriesProvider)}
    providers = _providers(registry)
    for metric in (*METRICS.values(), *_further_metrics(providers)):
        names = providers.get(metric.name, [])
        why = {n: waiting[n][metric.name] for n in names if metric.name in waiting.get(n, {})}
        available = [name for name in names if name in enabled and name not in why]
        yield Availability(metric, available, names, why)


def _as_json(row: Availability) -> dict[str, object]:
    fields = asdict(row)
    return {**fields.pop("metric"), **fields}


def _table(rows: Iterable[Availability]) -> Table:
    rows = list(rows)
    table = Table("metric", "unit", "range", "of", "what it is", "brought by", title_justify="left")
    table.title = f"{sum(1 for row in rows if row.available_from)} of {len(rows)} available"
    group = ""
    for row in rows:
        metric = row.metric
        if metric.group != group:
            group = metric.group
            table.add_section()
        names = [
            f"[{'green' if name in row.available_from else 'dim'}]{escape(name)}[/]"
            for name in row.providers
        ]
        table.add_row(
            escape(metric.name),
            escape(metric.unit),
            escape(metric.range),
            metric.scope.value,
            escape(metric.meaning),
            ", ".join(names),
        )
    return table


def _providers(registry: Registry) -> dict[str, list[str]]:
    """Return the providers that can bring each metric, without those that cannot be imported."""
    providers: dict[str, list[str]] = {}
    for name, cls in provider_classes(registry):
        for metric in (*cls.metrics, *cls.streamed_metrics):
            providers.setdefault(metric, []).append(name)
    return providers


def _further_metrics(providers: Mapping[str, object]) -> list[Metric]:
    """Return the metrics that providers bring beyond the canonical ones."""
    names = sorted(providers.keys() - METRICS.keys())
    return [
        Metric(n, "", Scope.ASSET, "as its provider says", "others", Interval.parse("1d"))
        for n in names
    ]
