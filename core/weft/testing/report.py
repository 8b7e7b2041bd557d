"""Running checks: their results, the decorator for pytest, and what every check is built from."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from weft.features.bounds import OutOfBoundsError
from weft.foundation.dependencies import require as require_package
from weft.foundation.errors import WeftError

if TYPE_CHECKING:
    import pytest

Checks: TypeAlias = Mapping[str, Callable[[], None]]
"""Checks of one component by name; each raises where the component fails."""

HEAVY: Final = (
    "pandas",
    "torch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "transformers",
    "matplotlib",
)
"""Packages a component may use, but must not import before it is called."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        name: of the check.
        passed: whether the component passed.
        message: what was expected and what came, empty where the component passed.
        excuse: why a failure is expected; None where it is not.
    """

    name: str
    passed: bool
    message: str = ""
    excuse: str | None = None


@dataclass(frozen=True, slots=True)
class ConformanceReport:
    """The outcomes of all checks of one component."""

    component: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, or failed with an excuse."""
        return all(r.passed or r.excuse is not None for r in self.results)

    def raise_if_failed(self) -> None:
        """Raise an AssertionError that lists every failure without an excuse."""
        lines = [f"{r.name}: {r.message}" for r in self.results if not r.passed and not r.excuse]
        if lines:
            raise AssertionError(
                "\n  ".join([f"{self.component} fails {len(lines)} checks:", *lines])
            )


def run_checks(
    title: str, checks: Checks, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Return the outcomes of the checks of one component.

    A step feature that leaves its arrays would corrupt this process, so the first such failure is
    the last result, under the name `stays_in_bounds`.

    Args:
        title: of the component.
        checks: by name.
        expected_failures: names of checks that fail, and why that is right.
    """
    return ConformanceReport(title, tuple(_results(checks, expected_failures or {})))


def _results(checks: Checks, excuses: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, check in checks.items():
        try:
            check()
        except OutOfBoundsError as error:
            yield CheckResult("stays_in_bounds", passed=False, message=str(error))
            return
        except (AssertionError, WeftError, ValueError, LookupError) as error:
            yield CheckResult(name, passed=False, message=str(error), excuse=excuses.get(name))
        else:
            yield CheckResult(name, passed=True)


def parametrize(
    components: Iterable[tuple[str, Checks]],
    excuses_of: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each component and check.

    Args:
        components: the label and the checks of each.
        excuses_of: returns the checks that fail, and why that is right, by the label.

    Raises:
        MissingDependencyError: pytest is not installed.
    """
    require_package(
        "pytest",
        extra="testing",
        where="decorators of weft.testing",
        otherwise="call check_layer(...).raise_if_failed()",
    )
    import pytest  # noqa: PLC0415  # the kit works without pytest

    cases = []
    for label, checks in components:
        excuses = excuses_of(label)
        for name, check in checks.items():
            expected = name in excuses
            marks = [pytest.mark.xfail(reason=excuses[name], strict=True)] if expected else []
            cases.append(pytest.param(check, id=f"{label}-{name}", marks=marks))
    return pytest.mark.parametrize("check", cases)


def require(condition: bool, message: str) -> None:  # noqa: FBT001  # reads like the assert it is
    """Raise an AssertionError with a message unless a condition is true.

    An assert statement would vanish under `python -O`.
    """
    if not condition:
        raise AssertionError(message)


def require_light_import(module: str) -> None:
    """Require that importing a module, in a process of its own, imports no heavy package.

    Raises:
        AssertionError: the module imports one, or cannot be imported alone.
    """
    process = _import_alone(module)
    problem = f"{module} cannot be imported alone: {process.stderr[-500:]}"
    require(process.returncode == 0, problem)
    imported = process.stdout.split()
    require(not imported, f"{module} imports {', '.join(imported)}")


@cache
def _import_alone(module: str) -> subprocess.CompletedProcess[str]:
    """Return the process that imported a module and printed the heavy packages it imported."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run(  # noqa: S603  # this interpreter, and the name of an imported module
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
