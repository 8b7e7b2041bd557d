"""Single rows and replays give the same signals under every set of instructions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.arithmetic.composed import train_and_record
from tests.arithmetic.functions import place_dependent
from tests.arithmetic.settings import PLAINEST, ROOT, SETTINGS, TWO_THREADS, run_under
from weft.engine.replay import TOLERANCE, Outcome
from weft.foundation.arithmetic import own_arithmetic
from weft.testing.conformance import CHECKS


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with stores and models, and the number of signals recorded in it."""
    folder = tmp_path_factory.mktemp("recorded")
    return folder, train_and_record(folder)


def compared(recorded: tuple[Path, int], setting: Mapping[str, str]) -> dict[str, Any]:
    folder, count = recorded
    comparison: dict[str, Any] = json.loads(
        run_under(setting, "tests.arithmetic.composed", str(folder))
    )
    assert sum(comparison["outcomes"].values()) == count
    return comparison


def expect_agreement(comparison: Mapping[str, Any]) -> None:
    assert comparison["apart"] == []
    # A signal may differ where a figure lies on a threshold; none of these figures does.
    assert Outcome.DIFFERENT not in comparison["outcomes"], comparison["different"]
    assert comparison["largest"] <= TOLERANCE


def test_functions_do_not_depend_on_the_place_of_an_element() -> None:
    assert list(place_dependent()) == []


def test_functions_do_not_depend_on_the_place_under_the_oldest_instructions() -> None:
    assert run_under(PLAINEST, "tests.arithmetic.functions") == ""


def test_replay_under_the_oldest_instructions_agrees(
    recorded: tuple[Path, int],
) -> None:
    expect_agreement(compared(recorded, PLAINEST))


@pytest.mark.slow
def test_number_of_threads_changes_no_bit(recorded: tuple[Path, int]) -> None:
    comparison = compared(recorded, TWO_THREADS)
    expect_agreement(comparison)
    assert comparison["outcomes"] == {Outcome.IDENTICAL: recorded[1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_replay_under_every_setting_agrees(recorded: tuple[Path, int], name: str) -> None:
    assert run_under(SETTINGS[name], "tests.arithmetic.functions") == ""
    expect_agreement(compared(recorded, SETTINGS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plainest", "plainest, two threads", "mkl compatible"])
def test_trained_components_keep_to_their_contract(name: str) -> None:
    chosen = ("-q", "-k", " or ".join(CHECKS), "-p", "no:cacheprovider")
    folders = [str(ROOT / "tests" / "plugins" / name) for name in ("models", "regimes")]
    assert " passed" in run_under(SETTINGS[name], "pytest", *chosen, *folders)


def test_arithmetic_names_everything_that_the_last_bits_depend_on() -> None:
    arithmetic = own_arithmetic()
    assert {"processor", "system", "numpy", "numba"} <= arithmetic.keys()
    assert all(arithmetic.values())
