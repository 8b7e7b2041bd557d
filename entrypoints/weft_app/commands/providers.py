"""`weft providers`: how the sources are doing, and whether each answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import orjson
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.components.configured import Configured
from weft.components.provider import Provider
from weft.config.loading import LoadedSettings, load_settings
from weft.engine.assembly import compose_settings
from weft.engine.engine import Engine
from weft.engine.provider_status import provider_status
from weft.foundation.errors import PluginError, WeftError, nearest
from weft.foundation.times import DAY, SECOND
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import shown
from weft_app.progress import Phase, phase
from weft_app.session import console, open_answer, open_engine, print_json, without_name
from weft_app.status import ProviderState, installation

_DAYS_ASKED = 3
_ROOM_FOR_ALL = 140
"""Width from which on all columns of the status have room."""

_STATE_COLOURS = {"ok": "green", "local": "green", "idle": "dim", "degraded": "yellow"}


def status(config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Print how each provider is doing, as the running server says, or else as is stored."""
    loaded = load_settings(config, overrides)
    states = _from_server(loaded)
    if states is None:
        engine = open_engine(config, overrides)
        try:
            engine.collector.read_facts()
            states = [ProviderState.of(one) for one in provider_status(engine)]
        finally:
            engine.close()
    if as_json:
        rows = [state.model_dump() for state in states]
        print_json(orjson.dumps(rows))
        return
    answer = open_answer()
    answer.print(_status_table(states, wide=answer.width >= _ROOM_FOR_ALL))
    for state in states:
        problem = state.error or next(reversed(state.problems), "")
        if problem and answer.width < _ROOM_FOR_ALL:
            answer.print(f"[yellow]{escape(state.name)}[/]: {escape(problem)}", soft_wrap=True)


def _status_table(states: Sequence[ProviderState], *, wide: bool) -> Table:
    """Return how each provider is doing; a narrow table leaves problems and latency out."""
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


def check(
    names: Sequence[str], config: Path | None, overrides: Sequence[str], *, as_json: bool = False
) -> bool:
    """Ask providers for their last three days, store nothing, explain; return whether all answer.

    Args:
        names: which ones; empty for every one that is on.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        PluginError: no provider of such a name is on.
    """
    engine = open_engine(config, overrides)
    try:
        configured = {p.component.key: p for p in engine.composition.providers}
        for name in names:
            _expect(name, list(configured))
        chosen = [configured[name] for name in names] or list(configured.values())
        with phase("Asking", total=len(chosen)) as asking:
            checks = asyncio.run(_check(engine, chosen, asking))
    finally:
        engine.close()
    if as_json:
        print_json(orjson.dumps([asdict(one) for one in checks]))
    else:
        _print_checks(checks)
    return all(one.ok for one in checks)


def start_over(name: str, config: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Begin a new edition of a provider's source, and print what follows from that.

    Args:
        name: which provider.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        PluginError: no provider of such a name is on.
    """
    engine = open_engine(config, overrides)
    try:
        configured = {p.component.key: p for p in engine.composition.providers}
        _expect(name, list(configured))
        number = engine.store.start_over(configured[name].component.source)
    finally:
        engine.close()
    if as_json:
        print_json(orjson.dumps({"provider": name, "edition": number}))
        return
    open_answer().print(
        f"{escape(name)}: edition {number} begins. The next round reads all of the source again; "
        "the rows stored before are kept for `weft replay`.\n"
        "Restart `weft serve` where it is running.",
        soft_wrap=True,
    )


def _expect(name: str, known: Sequence[str]) -> None:
    """Raise where no provider of a name is on."""
    if name not in known:
        close = nearest(name, known)
        raise PluginError(
            f"no provider {name!r} is on; these are: {', '.join(known)}",
            where="providers",
            hint=f"Did you mean {close}?" if close else "Switch it on in config.yaml",
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One provider that was asked, and its answer in words or why there is none."""

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
            name = configured.component.key
            asking.update(note=name)
            began = engine.clock.now()
            try:
                answer, ok = (
                    await engine.collector.probe(configured.component, _DAYS_ASKED * DAY),
                    True,
                )
            except WeftError as error:
                answer, ok = without_name(str(error), name), False
            checks.append(Check(name, ok, answer, (engine.clock.now() - began) / SECOND))
            asking.advance(name)
    return checks


def _print_checks(checks: Sequence[Check]) -> None:
    answer = open_answer()
    for one in checks:
        colour = "green" if one.ok else "red"
        says = escape(f"{one.answer} in {one.seconds:.1f} s" if one.ok else one.answer)
        answer.print(f"[{colour}]{escape(one.provider)}[/]: {says}", soft_wrap=True)


def _from_server(loaded: LoadedSettings) -> list[ProviderState] | None:
    """Return what the server of this configuration says; None where none answers.

    A server of another installation, or of another composition, may listen on the same port; what
    it says is about its own data.
    """
    server = loaded.settings.server
    address = f"http://{shown(server.host)}:{server.port}"
    headers = {}
    if server.token is not None:
        headers["Authorization"] = f"Bearer {server.token.get_secret_value()}"
    try:
        with httpx.Client(trust_env=False, timeout=2.0, headers=headers) as client:
            health = client.get(f"{address}/health").json()
            answer = client.get(f"{address}/providers/status")
            answer.raise_for_status()
            states = [ProviderState.model_validate(row) for row in answer.json()]
    except (httpx.HTTPError, ValueError):
        console.print("[dim]No server answers; this is what is stored.")
        return None
    composition, _ = compose_settings(loaded, Registry(discover()))
    own = installation(loaded.settings.storage.lake, composition)
    if not isinstance(health, dict) or health.get("installation") != own:
        console.print(
            f"[yellow]The server on {escape(address)} is another installation or composition; "
            "this is what is stored here.[/] [dim]Name its --home, --config and --set for its "
            "status.",
            soft_wrap=True,
        )
        return None
    return states
