"""`weft ledger verify`, with and without a seal noted earlier."""

from pathlib import Path

import pytest

from tests.core.ledger.places import KNOWN_BY, Place, SQLitePlace, signals
from tests.support import Weft


@pytest.fixture
def place(tmp_path: Path) -> SQLitePlace:
    """Where the command looks by itself."""
    return SQLitePlace(tmp_path / "state" / "ledger.db")


def test_a_seal_noted_earlier_shows_an_end_cut_off(weft: Weft, place: Place) -> None:
    place.opened().record(signals(0, 2), KNOWN_BY)
    before = weft("ledger", "verify")
    assert before.code == 0
    assert all(line.startswith("Loading") for line in before.err.splitlines())
    assert before.out.startswith("2 rows, every seal holds")
    noted = before.out.split()[-1]
    place.opened().record(signals(2, 1), KNOWN_BY)
    assert weft("ledger", "verify", "--seal", noted).out.startswith("3 rows")

    place.unguarded("DELETE FROM entries WHERE seq > 1")
    assert weft("ledger", "verify").code == 0
    after = weft("ledger", "verify", "--seal", noted)
    assert (after.code, after.out) == (1, "")
    assert f"none of the 1 rows has the noted seal {noted}" in after.err
    place.close()


def test_a_seal_mistyped_is_told(weft: Weft) -> None:
    done = weft("ledger", "verify", "--seal", "c0ffee")
    assert done.code == 1
    assert "'c0ffee' is no seal" in done.err
