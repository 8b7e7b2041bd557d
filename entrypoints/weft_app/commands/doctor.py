"""`weft doctor`: look for what could keep Weft from working on this machine."""

import errno
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

import weft
from weft.config.loading import LoadedSettings, load_settings
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.features.kernels import is_cached_on_disk
from weft.foundation.clock import SystemClock
from weft.foundation.errors import WeftError
from weft.foundation.times import iso
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import shown, try_to_listen
from weft_app.session import open_answer, print_json

_ENOUGH_BYTES = 1 << 30
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "api": ("fastapi", "uvicorn"),
    "indicators": ("talib",),
    "ml": ("apscheduler", "gymnasium", "hmmlearn", "safetensors", "torch", "xgboost"),
    "news": ("feedparser",),
    "text": ("safetensors", "torch", "transformers"),
}
"""Modules of the extras that the default composition uses."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look came to: fine, worth knowing, or in the way."""

    about: str
    says: str
    level: str = "ok"


def run(config: Path | None, overrides: Sequence[str], *, as_json: bool = False) -> None:
    """Look at everything, print what was found, and leave with 1 where something is in the way."""
    findings = [_machine(), *_extras()]
    try:
        loaded = load_settings(config, overrides)
        engine = assemble(loaded, Registry(discover()))
    except WeftError as error:
        findings.append(Finding("config", str(error), "bad"))
    else:
        looks: list[Callable[[], Finding]] = [
            lambda: _config(loaded, engine),
            lambda: _lake(engine),
            lambda: _ledger(engine),
            lambda: _disk(loaded),
            lambda: _kernels(engine),
            lambda: _candles(engine),
            lambda: _port(loaded),
        ]
        with closing(engine):
            findings += [_look(look) for look in looks]
    if as_json:
        print_json(orjson.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings)
    if any(finding.level == "bad" for finding in findings):
        raise SystemExit(1)


def _print(findings: Sequence[Finding]) -> None:
    console = open_answer()
    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
    for finding in findings:
        console.print(f"{marks[finding.level]} [bold]{finding.about}[/]: ", end="")
        console.print(finding.says, markup=False)


def _look(look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (WeftError, OSError) as error:
        return Finding("error", str(error), "bad")


def _machine() -> Finding:
    says = f"Weft {weft.__version__}, Python {platform.python_version()}, {platform.machine()}"
    return Finding("machine", says)


def _extras() -> list[Finding]:
    return [_extra(extra, modules) for extra, modules in EXTRAS.items()]


def _extra(extra: str, modules: Sequence[str]) -> Finding:
    lacking = ", ".join(module for module in modules if find_spec(module) is None)
    if not lacking:
        return Finding(f"extra {extra}", "installed")
    says = f"{lacking} not installed; pip install 'weft[{extra}]'"
    return Finding(f"extra {extra}", says, "note")


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
    says = f"{free / 1e9:.1f} GB free"
    return Finding("disk", says, "ok" if free > _ENOUGH_BYTES else "note")


def _kernels(engine: Engine) -> Finding:
    features = engine.step_features()
    engine.features.compile(features)
    if is_cached_on_disk():
        return Finding("indicators", f"{len(features)} compiled and kept on disk")
    says = "compile, but no folder can be written to keep them; set NUMBA_CACHE_DIR to one"
    return Finding("indicators", says, "note")


def _candles(engine: Engine) -> Finding:
    last = engine.market.last_close
    if last is None:
        return Finding("candles", "none stored yet; `weft signals` fetches them", "note")
    now = SystemClock().now()
    says = f"{len(engine.market.listings)} symbols, the newest closed at {iso(last)}"
    behind = now - last > 3 * engine.composition.interval.micros
    return Finding("candles", says, "note" if behind else "ok")


def _port(loaded: LoadedSettings) -> Finding:
    server = loaded.settings.server
    try:
        try_to_listen(server.host, server.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            says = f"{server.port} is in use; is Weft running already? Use --port for another"
            return Finding("port", says, "note")
        says = f"cannot listen on {shown(server.host)}:{server.port}: {error.strerror}"
        return Finding("port", says, "bad")
    return Finding("port", f"{shown(server.host)}:{server.port} is free")
