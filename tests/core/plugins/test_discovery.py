import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from weft.plugins.discovery import discover
from weft.plugins.records import GROUPS, PluginRecord, Status

Install = Callable[..., Path]


def of(dist: str) -> list[PluginRecord]:
    return [record for record in discover() if record.dist == dist]


def test_a_distributions_plugins_are_listed(install: Install) -> None:
    install("Acme_Signals", {}, {"b": "acme:B", "a": "acme:A"}, version="2.1")
    assert of("acme-signals") == [
        PluginRecord("layer", "a", "acme-signals", "2.1", "acme:A", Status.DISCOVERED),
        PluginRecord("layer", "b", "acme-signals", "2.1", "acme:B", Status.DISCOVERED),
    ]


def test_every_group_is_listed_and_no_other(install: Install) -> None:
    points = "".join(f"[{group}]\nx = acme:X\n" for group in [*GROUPS, "weft.others", "others"])
    install("acme", {}, points)
    assert [record.kind for record in of("acme")] == sorted(GROUPS.values())


def test_the_order_is_kind_name_distribution(install: Install) -> None:
    install("zeta", {}, {"m": "z:M"})
    install("acme", {}, {"m": "a:M", "b": "a:B"})
    found = discover()
    assert list(found) == sorted(found, key=lambda r: (r.kind, r.name, r.dist))


def test_the_built_in_plugins_are_listed_like_any_other() -> None:
    kinds = {(record.kind, record.name) for record in of("weft")}
    assert {("layer", "technical"), ("provider", "files"), ("risk", "atr_levels")} <= kinds


def test_a_distribution_seen_twice_is_one(install: Install, tmp_path: Path) -> None:
    info = install("acme-signals", {}, {"a": "acme:A"}, folder="lib")
    lib64 = tmp_path / "lib64"
    lib64.symlink_to(info.parent, target_is_directory=True)
    sys.path.insert(0, str(lib64))
    try:
        discover.cache_clear()
        assert len(of("acme-signals")) == 1
    finally:
        sys.path.remove(str(lib64))


def test_the_distribution_an_import_would_find_is_the_one_listed(install: Install) -> None:
    install("acme", {}, {"old": "acme:Old"}, version="1.0", folder="behind")
    install("Acme", {}, {"new": "acme:New"}, version="2.0", folder="in_front")
    assert [(record.name, record.version) for record in of("acme")] == [("new", "2.0")]


def test_broken_metadata_hides_no_other_plugin(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("broken", {}, "[weft.layers]\nthis is no entry point\n")
    install("good", {}, {"a": "good:A"})
    assert len(of("good")) == 1
    assert of("broken") == []
    assert "broken" in caplog.text


def test_a_distribution_without_a_name_hides_no_other_plugin(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    info = install("nameless", {}, {"a": "nameless:A"})
    (info / "METADATA").unlink()
    install("good", {}, {"a": "good:A"})
    assert len(of("good")) == 1
    assert "no name" in caplog.text


def test_the_environment_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    discover.cache_clear()
    scans = []
    scan = metadata.distributions

    def counted() -> object:
        scans.append(1)
        return scan()

    monkeypatch.setattr("weft.plugins.discovery.distributions", counted)
    assert discover() is discover()
    assert len(scans) == 1
    discover.cache_clear()


def test_listing_imports_no_plugin(install: Install, tmp_path: Path) -> None:
    install("acme", {"acme_loud": "raise SystemExit('imported')"}, {"a": "acme_loud:A"})
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from weft.plugins.discovery import discover\n"
        "names = [r.name for r in discover() if r.dist == 'acme']\n"
        "loaded = [m for m in sys.modules if m.startswith(('acme', 'weft_p'))]\n"
        "print(names, loaded)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['a'] []"
