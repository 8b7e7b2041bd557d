"""Under whatever instructions: rows by themselves, and replays of what another machine recorded."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.arithmetic.composed import train_and_record
from tests.arithmetic.functions import unlike
from tests.arithmetic.settings import PLAINEST, ROOT, SETTINGS, TWO_THREADS, run_under
from weft.engine.replay import TOLERANCE, Outcome
from weft.foundation.arithmetic import own_arithmetic


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder of stores and models, and how many signals were recorded in it."""
    folder = tmp_path_factory.mktemp("recorded")
    return folder, train_and_record(folder)


def compared(recorded: tuple[Path, int], setting: Mapping[str, str]) -> dict[str, Any]:
    folder, count = recorded
    found: dict[str, Any] = json.loads(run_under(setting, "tests.arithmetic.composed", str(folder)))
    assert sum(found["outcomes"].values()) == count
    return found


def expect_agreement(found: Mapping[str, Any]) -> None:
    assert found["apart"] == []
    # A signal may differ where a figure lies on an edge; of these figures none does.
    assert Outcome.DIFFERENT not in found["outcomes"], found["different"]
    assert found["largest"] <= TOLERANCE


def test_functions_do_not_ask_where_an_element_stands() -> None:
    assert list(unlike()) == []


def test_nor_by_the_plainest_instructions() -> None:
    assert run_under(PLAINEST, "tests.arithmetic.functions") == ""


def test_a_machine_with_the_plainest_instructions_replays_what_this_one_recorded(
    recorded: tuple[Path, int],
) -> None:
    expect_agreement(compared(recorded, PLAINEST))


@pytest.mark.slow
def test_threads_change_nothing(recorded: tuple[Path, int]) -> None:
    found = compared(recorded, TWO_THREADS)
    expect_agreement(found)
    assert found["outcomes"] == {Outcome.IDENTICAL: recorded[1]}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting(recorded: tuple[Path, int], name: str) -> None:
    assert run_under(SETTINGS[name], "tests.arithmetic.functions") == ""
    expect_agreement(compared(recorded, SETTINGS[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plainest", "plainest, two threads", "mkl compatible"])
def test_trained_components_keep_to_their_contract(name: str) -> None:
    """All checks of the kit, over fewer rows, over other symbols, in another order."""
    files = ("models/test_transformer.py", "models/test_xgboost.py", "regimes/test_hmm.py")
    chosen = ("-q", "-k", "keeps_to or test_conformance", "-p", "no:cacheprovider")
    paths = [str(ROOT / "tests" / "plugins" / file) for file in files]
    assert " passed" in run_under(SETTINGS[name], "pytest", *chosen, *paths)


def test_an_arithmetic_names_what_the_last_bits_depend_on() -> None:
    own = own_arithmetic()
    assert {"processor", "system", "numpy", "numba"} <= own.keys()
    assert all(own.values())
