"""Optional packages: what a user reads where one is missing or broken."""

import sys
from pathlib import Path

import pytest

from weft.foundation.dependencies import require
from weft.foundation.errors import MissingDependencyError


def test_installed_packages_are_imported() -> None:
    sys.modules.pop("colorsys", None)
    require("colorsys", "json", extra="ml", where="model nets")
    assert "colorsys" in sys.modules


def test_missing_package_is_named_with_component_and_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError) as caught:
        require("json", "torch", extra="ml", where="model nets")
    assert str(caught.value) == (
        "model nets: needs the package torch, which is not installed. Run `pip install 'weft[ml]'`"
    )


def test_missing_package_of_a_package_is_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "weft_test_outer.py").write_text("import weft_test_inner.deep\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match="needs the package weft_test_inner, which"):
        require("weft_test_outer", extra="ml", where="model nets")


def test_broken_installation_shows_its_error_and_the_alternative(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "weft_test_broken.py").write_text("raise ImportError('libcudart.so.12 is absent')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError) as caught:
        require("weft_test_broken", extra="ml", where="model nets", otherwise="set device: cpu")
    assert str(caught.value) == (
        "model nets: needs the package weft_test_broken, which cannot be imported "
        "(libcudart.so.12 is absent). Run `pip install 'weft[ml]'`, or set device: cpu"
    )
