"""`weft plugins`: the installed components, and which of them are in use."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from weft.components.base import Component
from weft.components.needs import (
    CandleNeed,
    FeatureNeed,
    ForecastNeed,
    MetricNeed,
    Need,
    NewsNeed,
    RegimeNeed,
)
from weft.engine.assembly import compose_settings
from weft.foundation.errors import ConfigError, PluginConflictError, UnknownPluginError, nearest
from weft.foundation.times import DAY
from weft.plugins.discovery import discover
from weft.plugins.records import PluginRecord, Status
from weft.plugins.registry import Registry
from weft_app.profile import JsonOption, profile_of
from weft_app.session import settings_of
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True)

_COLOURS = {Status.ACTIVE: "green", Status.DISCOVERED: "dim", Status.DISABLED: "dim"}


@app.callback()
def plugins() -> None:
    """List what is installed, and what is in use."""


@app.command("list")
def list_plugins(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List every installed component and whether it is used."""
    registry = Registry(discover())
    mistake: ConfigError | None = None
    try:
        composition, make_feature = compose_settings(settings_of(profile_of(context)), registry)
        for need in composition.needs:
            if isinstance(need, FeatureNeed):
                make_feature(need)
    except ConfigError as error:
        # Printed after the list, which helps to correct the mistake.
        mistake = error
    records = registry.records()
    if as_json:
        print_json(orjson.dumps([asdict(record) for record in records]))
    else:
        _print(records)
    if mistake is not None:
        raise mistake


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A component: technical, or layer:technical.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a component is for, what it needs and its options."""
    registry = Registry(discover())
    record = _find(registry.records(), name)
    component = registry.load(record.kind, record.name)
    about = _describe(component, record)
    if as_json:
        print_json(orjson.dumps(about))
        return
    console = open_results()
    component_name = escape(f"{record.kind} {record.name}")
    console.print(f"[bold]{component_name}[/]  {escape(f'{record.dist} {record.version}')}\n")
    console.print(about["description"] + "\n", markup=False)
    if about["needs"]:
        console.print("Needs: " + ", ".join(about["needs"]) + "\n", markup=False)
    table = Table("option", "default", "what it is for", title="Options", title_justify="left")
    for option in about["options"]:
        cells = (option["name"], repr(option["default"]), option["description"])
        table.add_row(*map(escape, cells))
    console.print(table if about["options"] else "It has no options.")


def _print(records: Sequence[PluginRecord]) -> None:
    table = Table("kind", "name", "status", "used as", "from", "import ms", "error")
    for record in records:
        table.add_row(
            escape(record.kind),
            escape(record.name),
            record.status.value,
            escape(", ".join(record.used_as)),
            escape(f"{record.dist} {record.version}"),
            "" if record.import_ms is None else f"{record.import_ms:.0f}",
            escape(record.error or ""),
            style=_COLOURS.get(record.status, "yellow"),
        )
    open_results().print(table)


def _find(records: Sequence[PluginRecord], name: str) -> PluginRecord:
    kind, _, bare = name.rpartition(":")
    matches = [r for r in records if r.name == bare and kind in {"", r.kind}]
    if not matches:
        close = nearest(bare, sorted({r.name for r in records}))
        raise UnknownPluginError(
            f"no component called {name!r} is installed",
            hint=f"Did you mean {close}?" if close else "See `weft plugins list`",
        )
    if len({r.kind for r in matches}) > 1:
        choices = ", ".join(f"{r.kind}:{r.name}" for r in matches)
        raise PluginConflictError(f"{name!r} could be any of {choices}", hint="Name the kind too")
    return matches[0]


def _describe(component: type[Component], record: PluginRecord) -> dict[str, Any]:
    fields = component.Config.model_fields
    return {
        "kind": record.kind,
        "name": record.name,
        "distribution": f"{record.dist} {record.version}",
        "description": inspect.getdoc(component) or "",
        "needs": [_need_text(need) for need in component().needs],
        "options": [
            {
                "name": name,
                "default": _json_value(field.get_default(call_default_factory=True)),
                "description": field.description or "",
            }
            for name, field in fields.items()
        ],
    }


def _json_value(value: object) -> object:
    """Return a default value for JSON; a secret or a path becomes text."""
    return value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)


def _need_text(need: Need) -> str:
    if isinstance(need, MetricNeed):
        return f"metric {need.name}"
    if isinstance(need, NewsNeed):
        return f"texts of the previous {need.reach / DAY:g} days"
    if isinstance(need, ForecastNeed):
        return "forecasts of the models"
    if isinstance(need, RegimeNeed):
        return "market regime"
    interval = need.interval or "decision interval"
    if isinstance(need, CandleNeed):
        counted = "traded before" if need.traded else "before"
        return f"candles of the {interval}, {need.warmup} {counted}"
    options = ", ".join(f"{key}={value}" for key, value in need.params)
    return f"{need.name}({options})"
