"""The table of faults has every row of the catalogue, and its tests exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "faults.md").read_text()
ROWS = [*(f"H{number}" for number in range(1, 19)), *(f"W{number}" for number in range(1, 14))]


def _tests() -> dict[str, str]:
    """Return the decorators of every test by its name."""
    decorators = dict[str, str]()
    test = re.compile(r"((?:^[@ )\]].*\n)*)^(?:async )?def (test_\w+)", re.MULTILINE)
    for path in (ROOT / "tests").rglob("test_*.py"):
        decorators |= {name: above for above, name in test.findall(path.read_text())}
    return decorators


def _named() -> list[tuple[str, str]]:
    """Return the number and the text of each row of the table."""
    return re.findall(r"^\| ([HW]\d+) \|(.*)\|$", TABLE, re.MULTILINE)


def test_table_has_every_row_in_order() -> None:
    assert list(dict.fromkeys(row for row, _ in _named())) == ROWS


def test_every_test_in_the_table_exists() -> None:
    known = _tests()
    for row, rest in _named():
        names = re.findall(r"`(test_\w+)`", rest)
        assert names, row
        assert [name for name in names if name not in known] == [], row


def test_every_test_of_a_row_is_in_the_table() -> None:
    by_row: dict[str, str] = {}
    for row, rest in _named():
        by_row[row] = by_row.get(row, "") + rest
    for name in _tests():
        prefix = re.match(r"test((?:_[hw]\d+)+)_", name)
        for row in re.findall(r"[hw]\d+", prefix[1]) if prefix else ():
            assert f"`{name}`" in by_row[row.upper()], (row, name)


def test_open_faults_are_marked_in_the_table_and_in_the_test() -> None:
    known = _tests()
    for _, rest in _named():
        for name in re.findall(r"`(test_\w+)`", rest):
            assert ("xfail" in known[name]) is ("**open**" in rest), name
