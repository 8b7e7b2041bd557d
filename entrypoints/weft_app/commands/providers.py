"""`weft providers`: how the sources are doing, and whether each answers."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
import orjson
from rich.markup import escape
from rich.table import Table

from weft.composition import PlacedProvider
from weft.config.loading import LoadedSettings, load_settings
from weft.engine import Engine
from weft.errors import PluginError, WeftError, nearest
from weft.sources import provider_status
from weft.times import DAY, SECOND
from weft_app.addresses import shown
from weft_app.session import console, open_answer, open_engine
from weft_app.status import ProviderState

_DAYS_ASKED = 3
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
        console.print("[dim]No server answers; this is what is stored.")
    if as_json:
        rows = [state.model_dump() for state in states]
        sys.stdout.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    table = Table("provider", "data", "state", "last answer", "latency", "left", "newest")
    table.add_column("error, or the latest problem", overflow="fold")
    for state in states:
        colour = _STATE_COLOURS.get(state.state, "red")
        left = ", ".join(f"{count} ({name})" for name, count in state.left.items())
        latency = "" if state.latency_seconds is None else f"{state.latency_seconds * 1e3:.0f} ms"
        newest = max((t for t in (state.newest_candle, state.newest_fact) if t), default="")
        table.add_row(
            escape(state.name),
            escape(state.kind),
            f"[{colour}]{escape(state.state)}[/]",
            state.last_success or "",
            latency,
            escape(left),
            newest,
            escape(state.error or next(reversed(state.problems), "")),
        )
    open_answer().print(table)


def check(names: Sequence[str], config: Path | None, overrides: Sequence[str]) -> bool:
    """Ask providers for their last three days, store nothing, explain; return whether all answer.

    Args:
        names: which ones; empty for every one that is on.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.

    Raises:
        PluginError: no provider of such a name is on.
    """
    engine = open_engine(config, overrides)
    try:
        placed = {p.provider.name: p for p in engine.composition.providers}
        for name in names:
            _expect(name, list(placed))
        return asyncio.run(_check(engine, [placed[n] for n in names] or list(placed.values())))
    finally:
        engine.close()


def start_over(name: str, config: Path | None, overrides: Sequence[str]) -> None:
    """Begin a new edition of a provider's source, and say what follows from it.

    Args:
        name: which provider.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.

    Raises:
        PluginError: no provider of such a name is on.
    """
    engine = open_engine(config, overrides)
    try:
        placed = {p.provider.name: p for p in engine.composition.providers}
        _expect(name, list(placed))
        number = engine.store.start_over(placed[name].provider.source)
    finally:
        engine.close()
    open_answer().print(
        f"{escape(name)}: edition {number} begins. The next round takes all of it anew; what was "
        "stored before is kept for `weft replay`.\nRestart `weft serve` where it is running.",
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


async def _check(engine: Engine, chosen: Sequence[PlacedProvider]) -> bool:
    fine = True
    async with engine.collector.connections:
        for one in chosen:
            name = one.provider.name
            began = engine.clock.now()
            try:
                told = await engine.collector.probe(one.provider, _DAYS_ASKED * DAY)
            except WeftError as error:
                fine = False
                console.print(f"[red]{escape(name)}[/]: {escape(str(error))}", soft_wrap=True)
                continue
            seconds = (engine.clock.now() - began) / SECOND
            said = escape(f"{told} in {seconds:.1f} s")
            console.print(f"[green]{escape(name)}[/]: {said}", soft_wrap=True)
    return fine


def _from_server(loaded: LoadedSettings) -> list[ProviderState] | None:
    """Return what the server of this configuration says; None where none answers."""
    server = loaded.settings.server
    address = f"http://{shown(server.host)}:{server.port}/providers/status"
    headers = {}
    if server.token is not None:
        headers["Authorization"] = f"Bearer {server.token.get_secret_value()}"
    try:
        with httpx.Client(trust_env=False, timeout=2.0) as client:
            answer = client.get(address, headers=headers)
            answer.raise_for_status()
            return [ProviderState.model_validate(row) for row in answer.json()]
    except (httpx.HTTPError, ValueError):
        return None
