"""Keys of providers stand in nothing that Weft writes, prints, logs, keeps or raises."""

import asyncio
import base64
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from tests.faults.http.world import NOW, Desk, classes, open_desk, settings
from tests.support import Weft
from weft.config.loading import load_settings
from weft.foundation.errors import WeftError
from weft.plugins.discovery import discover
from weft.sources.http.connection import Reply
from weft.testing.providers.faults import LogLines
from weft.testing.providers.wiretap import Ask, Tap
from weft_app.status import ProviderState
from weft_sandbox import Sandbox

CANARY = "canary+7d1f/93c2=b4a8"
"""A key with characters that are written in many ways."""

_FAULTS = (
    None,
    {"kind": "status", "status": 401},
    {"kind": "status", "status": 403},
    {"kind": "status", "status": 500},
    {"kind": "revoked_key"},
    {"kind": "truncate"},
    {"kind": "list_dict"},
    {"kind": "redirect"},
)


def spellings() -> Iterator[bytes]:
    """Ways in which the key could stand somewhere."""
    yield from (form.encode() for form in {CANARY, quote(CANARY, safe=""), quote_plus(CANARY)})
    yield CANARY.replace("/", "\\/").encode()
    # Encoded, it depends on where in three bytes the key begins.
    for before in ("", "x", "xx"):
        encoded = base64.b64encode(f"{before}{CANARY}".encode()).decode()
        yield encoded[4 if before else 0 : -4].encode()


LEAK = re.compile(b"|".join(re.escape(form) for form in spellings()), re.IGNORECASE)


def require_no_key(text: str | bytes, where: str) -> None:
    raw = text.encode() if isinstance(text, str) else text
    found = LEAK.search(raw)
    assert found is None, f"{where}: ...{raw[max(0, found.start() - 150) : found.end() + 20]!r}"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(start=NOW, speed=0, limits=float("inf")) as served:
        yield served


@pytest.fixture
def desk(tmp_path: Path, sandbox: Sandbox) -> Iterator[Desk]:
    one = open_desk(tmp_path, sandbox, None, CANARY)
    yield one
    one.engine.close()


def echoing(status: int) -> Tap:
    """Answer with the key, as servers do that quote what they were sent."""

    def spoil(_: Ask, reply: Reply) -> Reply:
        body = f'{{"error": "bad key {CANARY}", "message": "{quote(CANARY)}"}}'.encode()
        return replace(reply, status=status, body=body)

    return Tap(spoil=spoil)


def require_silent(one: Desk, log: LogLines, when: str) -> None:
    """Look at everything that tells how the sources are doing."""
    engine = one.engine
    require_no_key("\n".join(one.troubles().values()), f"status after {when}")
    told = [ProviderState.of(status).model_dump_json() for status in one.status().values()]
    told += [repr(status) for status in engine.collector.connections.status()]
    told += [repr(collected) for collected in engine.collector.latest.values()]
    require_no_key("\n".join(told), f"what is told after {when}")
    require_no_key("\n".join(log.lines), f"the log of {when}")


def test_the_key_stands_nowhere_after_every_way_to_fail(
    desk: Desk, sandbox: Sandbox, tmp_path: Path
) -> None:
    with LogLines() as log:
        for fault in _FAULTS:
            sandbox.heal()
            if fault is not None:
                sandbox.fault(fault)
            desk.collect()
            require_silent(desk, log, str(fault))
        sandbox.heal()
        for status in (400, 401, 200):
            with echoing(status).listening():
                desk.collect()
            require_silent(desk, log, f"an echo with HTTP {status}")
        engine = desk.engine
        view = engine.view()
        report = engine.report(engine.compose(view))
        assert engine.record(report, view)
        require_no_key(repr(report), "signals")
    for thing in (engine, engine.composition, engine.collector, vars(engine.collector)):
        require_no_key(repr(thing), f"the repr of {type(thing).__name__}")
    for configured in engine.composition.providers:
        provider = configured.component
        for shown in (provider, provider.config, vars(provider), provider.web):
            require_no_key(f"{shown!r} {shown}", f"the repr of {provider.name}")
    engine.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"cache", "lake"} <= {path.relative_to(tmp_path).parts[0] for path in files}
    for path in files:
        require_no_key(path.name, "a file's name")
        require_no_key(path.read_bytes(), str(path))


@pytest.mark.parametrize("status", [400, 401])
def test_the_key_stands_in_no_traceback(tmp_path: Path, sandbox: Sandbox, status: int) -> None:
    for name, cls in classes().items():
        if cls.web is None or cls.web.key is None:
            continue
        folder = tmp_path / name
        folder.mkdir()
        one = open_desk(folder, sandbox, [name], CANARY, f"providers.{name}.on_error=fail")
        try:
            with echoing(status).listening():
                asyncio.run(one.engine.update())
        except WeftError as error:
            require_no_key("".join(traceback.format_exception(error)), f"traceback of {name}")
            require_no_key(repr(vars(error)), f"the error of {name}")
        finally:
            one.engine.close()


def test_the_key_stands_in_no_settings(sandbox: Sandbox) -> None:
    overrides = list(settings(sandbox, list(classes()), CANARY))
    loaded = load_settings(overrides=overrides, environ={})
    for shown in (loaded, loaded.settings, *loaded.settings.providers.values()):
        require_no_key(f"{shown!r} {shown}", f"the repr of {type(shown).__name__}")


def test_the_key_stands_in_no_command_s_output(
    weft: Weft, sandbox: Sandbox, tmp_path: Path
) -> None:
    registered = {record.name for record in discover() if record.kind == "provider"}
    names = sorted(registered & classes().keys())
    options = []
    for override in settings(sandbox, names, CANARY):
        name = override.partition(".")[2].partition(".")[0]
        if not override.startswith("providers.") or name in registered:
            options += ["--set", override]
    for command in (
        ("config", "check"),
        ("doctor",),
        ("providers", "status", "--json"),
        ("providers", "check"),
        ("plugins", "list"),
    ):
        done = weft(*command, *options)
        require_no_key(done.out, f"what {' '.join(command)} prints")
        require_no_key(done.err, f"what {' '.join(command)} complains of")
