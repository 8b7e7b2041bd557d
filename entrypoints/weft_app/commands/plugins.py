"""`weft plugins`: what is installed, and what of it is used."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
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
from weft.config.loading import load_settings
from weft.engine.assembly import compose_settings
from weft.foundation.errors import ConfigError, PluginConflictError, UnknownPluginError, nearest
from weft.foundation.times import DAY
from weft.plugins.discovery import discover
from weft.plugins.records import PluginRecord, Status
from weft.plugins.registry import Registry
from weft_app.session import open_answer, print_json

_COLOURS = {Status.ACTIVE: "green", Status.DISCOVERED: "dim", Status.DISABLED: "dim"}


def list_all(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print every installed component, whether it is used, and what became of it."""
    registry = Registry(discover())
    mistake: ConfigError | None = None
    try:
        composition, make_feature = compose_settings(load_settings(config, overrides), registry)
        for need in composition.needs:
            if isinstance(need, FeatureNeed):
                make_feature(need)
    except ConfigError as error:
        # The list is what one needs to mend such a mistake, so it is shown all the same.
        mistake = error
    records = registry.records()
    if as_json:
        rows = [asdict(record) for record in records]
        print_json(orjson.dumps(rows))
    else:
        _print(records)
    if mistake is not None:
        raise mistake


def info(name: str, *, as_json: bool) -> None:
    """Print what a component is for, what it needs and its options.

    Raises:
        UnknownPluginError: nothing of that name is installed.
        PluginConflictError: the name alone does not tell which is meant.
    """
    registry = Registry(discover())
    record = _find(registry.records(), name)
    component = registry.load(record.kind, record.name)
    about = _describe(component, record)
    if as_json:
        print_json(orjson.dumps(about))
        return
    console = open_answer()
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
    open_answer().print(table)


def _find(records: Sequence[PluginRecord], name: str) -> PluginRecord:
    kind, _, bare = name.rpartition(":")
    found = [r for r in records if r.name == bare and kind in {"", r.kind}]
    if not found:
        close = nearest(bare, sorted({r.name for r in records}))
        raise UnknownPluginError(
            f"no component called {name!r} is installed",
            hint=f"Did you mean {close}?" if close else "See `weft plugins list`",
        )
    if len({r.kind for r in found}) > 1:
        choices = ", ".join(f"{r.kind}:{r.name}" for r in found)
        raise PluginConflictError(f"{name!r} could be any of {choices}", hint="Name the kind too")
    return found[0]


def _describe(component: type[Component], record: PluginRecord) -> dict[str, Any]:
    fields = component.Config.model_fields
    return {
        "kind": record.kind,
        "name": record.name,
        "distribution": f"{record.dist} {record.version}",
        "description": inspect.getdoc(component) or "",
        "needs": [_say(need) for need in component().needs],
        "options": [
            {
                "name": name,
                "default": _plain(field.get_default(call_default_factory=True)),
                "description": field.description or "",
            }
            for name, field in fields.items()
        ],
    }


def _plain(value: object) -> object:
    """Return a default as JSON can hold it; a secret or a path as text."""
    return value if isinstance(value, str | int | float | bool | None | list | dict) else str(value)


def _say(need: Need) -> str:
    if isinstance(need, MetricNeed):
        return f"metric {need.name}"
    if isinstance(need, NewsNeed):
        return f"texts of the {need.reach / DAY:g} days before"
    if isinstance(need, ForecastNeed):
        return "forecasts of the models"
    if isinstance(need, RegimeNeed):
        return "state of the market"
    interval = need.interval or "decision interval"
    if isinstance(need, CandleNeed):
        counted = "traded before" if need.traded else "before"
        return f"candles of the {interval}, {need.warmup} {counted}"
    options = ", ".join(f"{key}={value}" for key, value in need.params)
    return f"{need.name}({options})"
