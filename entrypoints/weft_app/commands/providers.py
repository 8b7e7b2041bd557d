"""`weft providers`: the state of the data sources, and whether each one answers."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Annotated

import httpx
import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.components.configured import Configured
from weft.components.provider import Provider
from weft.config.loading import LoadedSettings
from weft.engine.assembly import compose_settings
from weft.engine.engine import Engine
from weft.engine.provider_status import provider_status
from weft.foundation.errors import PluginError, WeftError, nearest
from weft.foundation.times import DAY, SECOND
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import url_host
from weft_app.profile import JsonOption, profile_of
from weft_app.progress import Phase, phase
from weft_app.session import open_engine, settings_of, without_name
from weft_app.status import ProviderState, installation
from weft_app.terminal import console, open_results, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True)

_DAYS_CHECKED = 3
_ROOM_FOR_ALL = 140
"""Terminal width from which all columns of the status fit."""

_STATE_COLOURS = {"ok": "green", "local": "green", "idle": "dim", "degraded": "yellow"}


@app.callback()
def providers() -> None:
    """Show and check the data sources."""


@app.command()
def status(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show state, latency, quota left, freshness and errors of each provider.

    Asks the running server; without one, reads the store.
    """
    profile = profile_of(context)
    states = _from_server(settings_of(profile))
    if states is None:
        with closing(open_engine(profile)) as engine:
            engine.collector.read_facts()
            states = [ProviderState.of(state) for state in provider_status(engine)]
    if as_json:
        print_json(orjson.dumps([state.model_dump() for state in states]))
        return
    results = open_results()
    results.print(_status_table(states, wide=results.width >= _ROOM_FOR_ALL))
    for state in states:
        problem = state.error or next(reversed(state.problems), "")
        if problem and results.width < _ROOM_FOR_ALL:
            results.print(f"[yellow]{escape(state.name)}[/]: {escape(problem)}", soft_wrap=True)


def _status_table(states: Sequence[ProviderState], *, wide: bool) -> Table:
    """Return the table of states; a narrow table leaves out problems, latency and limits."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("provider", "data", "state", "last answer"):
        table.add_column(name, no_wrap=True)
    if wide:
        table.add_column("latency", no_wrap=True)
        table.add_column("left", no_wrap=True)
    table.add_column("newest", no_wrap=True)
    if wide:
        table.add_column("error, or the latest problem", overflow="fold")
    for state in states:
        colour = _STATE_COLOURS.get(state.state, "red")
        left = ", ".join(f"{count} ({name})" for name, count in state.left.items())
        latency = "" if state.latency_seconds is None else f"{state.latency_seconds * 1e3:.0f} ms"
        newest = max((t for t in (state.newest_candle, state.newest_fact) if t), default=None)
        problem = state.error or next(reversed(state.problems), "")
        table.add_row(
            escape(state.name),
            escape(state.kind),
            f"[{colour}]{escape(state.state)}[/]",
            _minute(state.last_success),
            *([latency, escape(left)] if wide else []),
            _minute(newest),
            *([escape(problem)] if wide else []),
        )
    return table


def _minute(instant: str | None) -> str:
    return "" if instant is None else instant.replace("T", " ")[:16]


@app.command()
def check(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Providers; all enabled ones if none is named.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Ask each provider once for its last three days; store nothing."""
    with closing(open_engine(profile_of(context))) as engine:
        configured = {p.component.key: p for p in engine.composition.providers}
        for name in names or ():
            _require_enabled(name, list(configured))
        chosen = [configured[name] for name in names or ()] or list(configured.values())
        with phase("Asking", total=len(chosen)) as asking:
            checks = asyncio.run(_check(engine, chosen, asking))
    if as_json:
        print_json(orjson.dumps([asdict(result) for result in checks]))
    else:
        _print_checks(checks)
    if not all(result.ok for result in checks):
        raise typer.Exit(1)


@app.command("start-over")
def start_over(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the provider, such as files.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Read a source again from its start, where it differs from what Weft has stored.

    The stored rows stay, for replays of earlier signals; new signals no longer use them.
    """
    with closing(open_engine(profile_of(context))) as engine:
        configured = {p.component.key: p for p in engine.composition.providers}
        _require_enabled(name, list(configured))
        number = engine.store.start_over(configured[name].component.source)
    if as_json:
        print_json(orjson.dumps({"provider": name, "edition": number}))
        return
    open_results().print(
        f"{escape(name)}: edition {number} begins. The next round reads the whole source again; "
        "the rows stored before are kept for `weft replay`.\n"
        "If `weft serve` is running, restart it.",
        soft_wrap=True,
    )


def _require_enabled(name: str, enabled: Sequence[str]) -> None:
    """Raise where no provider of a name is enabled."""
    if name not in enabled:
        close = nearest(name, enabled)
        raise PluginError(
            f"no provider {name!r} is enabled; enabled are: {', '.join(enabled)}",
            where="providers",
            hint=f"Did you mean {close}?" if close else "Enable it in config.yaml",
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One request to a provider.

    Attributes:
        provider: its name.
        ok: whether it answered.
        answer: the answer in words, or why there is none.
        seconds: how long that took.
    """

    provider: str
    ok: bool
    answer: str
    seconds: float


async def _check(
    engine: Engine, chosen: Sequence[Configured[Provider]], asking: Phase
) -> list[Check]:
    checks = []
    async with engine.collector.connections.asking_anew():
        for configured in chosen:
            provider, name = configured.component, configured.component.key
            asking.update(note=name)
            start = engine.clock.now()
            try:
                answer = await engine.collector.probe(provider, _DAYS_CHECKED * DAY)
                ok = True
            except WeftError as error:
                answer, ok = without_name(str(error), name), False
            checks.append(Check(name, ok, answer, (engine.clock.now() - start) / SECOND))
            asking.advance(name)
    return checks


def _print_checks(checks: Sequence[Check]) -> None:
    results = open_results()
    for result in checks:
        colour = "green" if result.ok else "red"
        text = escape(f"{result.answer} in {result.seconds:.1f} s" if result.ok else result.answer)
        results.print(f"[{colour}]{escape(result.provider)}[/]: {text}", soft_wrap=True)


def _from_server(loaded: LoadedSettings) -> list[ProviderState] | None:
    """Return the states from the server of this configuration; None where none answers.

    A server of another installation or composition on the same port is ignored: its states
    describe other data.
    """
    server = loaded.settings.server
    address = f"http://{url_host(server.host)}:{server.port}"
    headers = {}
    if server.token is not None:
        headers["Authorization"] = f"Bearer {server.token.get_secret_value()}"
    try:
        with httpx.Client(trust_env=False, timeout=2.0, headers=headers) as client:
            health = client.get(f"{address}/health").json()
            response = client.get(f"{address}/providers/status")
            response.raise_for_status()
            states = [ProviderState.model_validate(row) for row in response.json()]
    except (httpx.HTTPError, ValueError):
        console.print("[dim]No server answers; the status comes from the store.")
        return None
    composition, _ = compose_settings(loaded, Registry(discover()))
    expected = installation(loaded.settings.storage.lake, composition)
    if not isinstance(health, dict) or health.get("installation") != expected:
        console.print(
            f"[yellow]The server on {escape(address)} is another installation or composition; "
            "the status comes from the store here.[/] [dim]For the server's status, give its "
            "--home, --config and --set.",
            soft_wrap=True,
        )
        return None
    return states
