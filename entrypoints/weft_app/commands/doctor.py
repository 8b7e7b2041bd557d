"""`weft doctor`: look for problems that could keep Weft from working on this machine."""

import errno
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory

import orjson
import typer

import weft
from weft.config.loading import LoadedSettings
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.features.kernels import is_cached_on_disk
from weft.foundation.clock import SystemClock
from weft.foundation.errors import WeftError
from weft.foundation.times import iso
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import try_to_listen, url_host
from weft_app.profile import JsonOption, profile_of
from weft_app.session import settings_of
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)

_ENOUGH_BYTES = 1 << 30
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "api": ("fastapi", "fastapi_offline", "uvicorn"),
    "indicators": ("talib",),
    "ml": ("apscheduler", "gymnasium", "hmmlearn", "safetensors", "torch", "xgboost"),
    "news": ("feedparser",),
    "pandas": ("pandas", "pyarrow"),
    "text": ("safetensors", "torch", "transformers"),
}
"""Modules of the extras that the default composition uses."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        about: subject of the check.
        says: the result in words.
        level: ``ok``, ``note`` (works, but worth knowing) or ``bad`` (Weft cannot work).
    """

    about: str
    says: str
    level: str = "ok"


@app.command()
def doctor(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Look for problems that could keep Weft from working on this machine."""
    findings = [_machine(), *_extras()]
    profile = profile_of(context)
    try:
        loaded = settings_of(profile)
        engine = assemble(loaded, Registry(discover()))
    except WeftError as error:
        findings.append(Finding("config", str(error), "bad"))
    else:
        checks: list[Callable[[], Finding]] = [
            lambda: _config(loaded, engine),
            lambda: _lake(engine),
            lambda: _ledger(engine),
            lambda: _disk(loaded),
            lambda: _kernels(engine),
            lambda: _candles(engine),
            lambda: _port(loaded),
        ]
        with closing(engine):
            findings += [_run(check) for check in checks]
    if as_json:
        print_json(orjson.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)


def _print(findings: Sequence[Finding]) -> None:
    console = open_results()
    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
    for finding in findings:
        console.print(f"{marks[finding.level]} [bold]{finding.about}[/]: ", end="")
        console.print(finding.says, markup=False)


def _run(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (WeftError, OSError) as error:
        return Finding("error", str(error), "bad")


def _machine() -> Finding:
    text = f"Weft {weft.__version__}, Python {platform.python_version()}, {platform.machine()}"
    return Finding("machine", text)


def _extras() -> list[Finding]:
    return [_extra(extra, modules) for extra, modules in EXTRAS.items()]


def _extra(extra: str, modules: Sequence[str]) -> Finding:
    lacking = ", ".join(module for module in modules if find_spec(module) is None)
    if not lacking:
        return Finding(f"extra {extra}", "installed")
    text = f"{lacking} not installed; pip install 'weft[{extra}]'"
    return Finding(f"extra {extra}", text, "note")


def _config(loaded: LoadedSettings, engine: Engine) -> Finding:
    names = ", ".join(p.component.key for p in engine.composition.providers)
    return Finding("config", f"{loaded.path or 'packaged defaults'}; providers: {names}")


def _lake(engine: Engine) -> Finding:
    lake = engine.store.lake.url
    if "://" not in lake:
        with TemporaryDirectory(dir=lake):
            pass
    return Finding("lake", f"{lake} can be written")


def _ledger(engine: Engine) -> Finding:
    rows, _ = engine.ledger.verify()
    return Finding("ledger", f"{rows} rows, every seal holds")


def _disk(loaded: LoadedSettings) -> Finding:
    lake = loaded.settings.storage.lake
    free = shutil.disk_usage(lake if "://" not in lake else ".").free
    text = f"{free / 1e9:.1f} GB free"
    return Finding("disk", text, "ok" if free > _ENOUGH_BYTES else "note")


def _kernels(engine: Engine) -> Finding:
    features = engine.step_features()
    engine.features.compile(features)
    if is_cached_on_disk():
        return Finding("indicators", f"{len(features)} compiled and cached on disk")
    text = "compile, but no cache folder is writable; set NUMBA_CACHE_DIR to a writable folder"
    return Finding("indicators", text, "note")


def _candles(engine: Engine) -> Finding:
    last = engine.market.last_close
    if last is None:
        return Finding("candles", "none stored yet; `weft signals` fetches them", "note")
    now = SystemClock().now()
    text = f"{len(engine.market.listings)} symbols, the newest closed at {iso(last)}"
    behind = now - last > 3 * engine.composition.interval.micros
    return Finding("candles", text, "note" if behind else "ok")


def _port(loaded: LoadedSettings) -> Finding:
    server = loaded.settings.server
    try:
        try_to_listen(server.host, server.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            text = f"{server.port} is in use; is Weft running already? Choose another with --port"
            return Finding("port", text, "note")
        text = f"cannot listen on {url_host(server.host)}:{server.port}: {error.strerror}"
        return Finding("port", text, "bad")
    return Finding("port", f"{url_host(server.host)}:{server.port} is free")
