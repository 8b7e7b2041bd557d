"""The layout of the packages: mistakes that an editable install hides until a user meets them."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = dict(
    path.split("/") for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
)
"""The package of each root folder."""


@pytest.mark.parametrize(("root", "package"), PACKAGES.items())
def test_each_root_contains_only_its_package(root: str, package: str) -> None:
    entries = {p.name for p in (ROOT / root).iterdir()} - {"__pycache__"}
    assert entries <= {package, "README.md"}


@pytest.mark.parametrize(("root", "package"), PACKAGES.items())
def test_each_package_is_marked_as_typed(root: str, package: str) -> None:
    assert (ROOT / root / package / "py.typed").is_file()


@pytest.mark.parametrize(("root", "package"), PACKAGES.items())
def test_each_folder_of_modules_is_a_package(root: str, package: str) -> None:
    folders = {p.parent for p in (ROOT / root / package).rglob("*.py")}
    missing = [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()]
    assert not missing


def test_importing_a_root_folder_is_banned() -> None:
    banned = PROJECT["tool"]["ruff"]["lint"]
    assert set(banned["flake8-tidy-imports"]["banned-api"]) == set(PACKAGES)


def test_every_entry_point_can_be_loaded() -> None:
    code = (
        "from importlib.metadata import distribution\n"
        "for e in distribution('weft').entry_points:\n"
        "    assert e.load() is not None, e\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readme_test_command_is_what_ci_calls() -> None:
    assert "make test" in (ROOT / "README.md").read_text()
    commands = [
        line
        for line in (ROOT / ".ci" / "run").read_text().splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test"]
