"""The documents agree with the code."""

import inspect
import re
from pathlib import Path

import pytest

import weft
from weft.plugins import hookspecs
from weft.plugins.records import GROUPS
from weft.testing import (
    EXECUTOR_CHECKS,
    HOOK_CHECKS,
    PORTFOLIO_RISK_CHECKS,
    PROVIDER_CHECKS,
    SINK_CHECKS,
)
from weft.testing.conformance import CHECKS, TRAINED_CHECKS

ROOT = Path(__file__).parents[2]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text()


def test_every_hook_is_described_with_its_arguments() -> None:
    hooks = {
        f"{name}({', '.join(inspect.signature(function).parameters)})"
        for name, function in vars(hookspecs).items()
        if name.startswith("weft_")
    }
    assert hooks == set(re.findall(r"^\| `(weft_\w+\([^)]*\))`", PLUGINS, re.MULTILINE))


def test_every_entry_point_group_is_described_with_its_kind() -> None:
    rows = re.findall(r"^\| `(weft\.\w+)` \| (\w+) \|", PLUGINS, re.MULTILINE)
    assert dict(rows) == GROUPS


def test_every_base_class_is_public_and_has_its_methods() -> None:
    rows = re.findall(r"^\| `weft\.\w+` \| \w+ \| (.+?) \| (.+?) \|$", PLUGINS, re.MULTILINE)
    assert len(rows) == len(GROUPS)
    for bases, methods in rows:
        classes = [getattr(weft, name) for name in re.findall(r"`weft\.(\w+)`", bases)]
        for name, arguments in re.findall(r"`(?:async def )?(\w+)\(([^)]*)\)`", methods):
            owners = [cls for cls in classes if hasattr(cls, name)]
            assert owners or not classes, name
            for owner in owners:
                given = list(inspect.signature(getattr(owner, name)).parameters)[1:]
                assert ", ".join(given) == arguments, name


def test_every_check_of_the_kit_is_described() -> None:
    section = PLUGINS.partition("## Conformance")[2]
    checks, _, rest = section.partition("### Providers")
    of_providers, _, rest = rest.partition("### Sinks")
    of_sinks, _, rest = rest.partition("### Portfolio risks")
    of_portfolio_risks, _, rest = rest.partition("### Executors")
    of_executors, _, of_hooks = rest.partition("`parametrize_hook_checks")
    tables = {
        checks: (*CHECKS, *TRAINED_CHECKS),
        of_providers: PROVIDER_CHECKS,
        of_sinks: SINK_CHECKS,
        of_portfolio_risks: PORTFOLIO_RISK_CHECKS,
        of_executors: EXECUTOR_CHECKS,
        of_hooks: HOOK_CHECKS,
    }
    for text, names in tables.items():
        assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(names)


@pytest.mark.parametrize(
    "document", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_every_link_has_a_target(document: str) -> None:
    text = (ROOT / document).read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert all((ROOT / document).parent.joinpath(link).exists() for link in links), links


def test_every_public_name_can_be_imported() -> None:
    for name in weft.__all__:
        assert getattr(weft, name) is not None
    assert sorted(weft.__all__) == list(weft.__all__)
