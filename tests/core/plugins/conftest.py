import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from weft.plugins.discovery import discover

Install: TypeAlias = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts real distributions on the path: modules, METADATA and entry_points.txt."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def make(
        dist: str,
        modules: Mapping[str, str],
        points: Mapping[str, str] | str,
        *,
        group: str = "weft.layers",
        version: str = "1.0",
        metadata: Sequence[str] = (),
        folder: str | None = None,
    ) -> Path:
        place = tmp_path / folder if folder else tmp_path
        place.mkdir(exist_ok=True)
        if folder:
            monkeypatch.syspath_prepend(str(place))
        for module, source in modules.items():
            (place / f"{module}.py").write_text(source)
        info = place / f"{dist.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        head = ["Metadata-Version: 2.1", f"Name: {dist}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*head, *metadata]) + "\n")
        if not isinstance(points, str):
            points = f"[{group}]\n" + "".join(f"{n} = {target}\n" for n, target in points.items())
        (info / "entry_points.txt").write_text(points)
        importlib.invalidate_caches()
        discover.cache_clear()
        return info

    yield make
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    discover.cache_clear()
