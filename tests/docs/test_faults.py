"""The table of faults names every row of the catalogue, and tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "faults.md").read_text()
ROWS = [*(f"H{number}" for number in range(1, 19)), *(f"W{number}" for number in range(1, 14))]


def _tests() -> dict[str, str]:
    """Every test by name, with the lines of decorators before it."""
    found = dict[str, str]()
    test = re.compile(r"((?:^[@ )\]].*\n)*)^(?:async )?def (test_\w+)", re.MULTILINE)
    for path in (ROOT / "tests").rglob("test_*.py"):
        found |= {name: above for above, name in test.findall(path.read_text())}
    return found


def _named() -> list[tuple[str, str]]:
    """Each row of the table: its number, and the rest of it."""
    return re.findall(r"^\| ([HW]\d+) \|(.*)\|$", TABLE, re.MULTILINE)


def test_every_row_stands_in_the_table_in_order() -> None:
    assert list(dict.fromkeys(row for row, _ in _named())) == ROWS


def test_every_test_named_is_there() -> None:
    known = _tests()
    for row, rest in _named():
        names = re.findall(r"`(test_\w+)`", rest)
        assert names, row
        assert [name for name in names if name not in known] == [], row


def test_every_test_of_a_row_is_named_in_it() -> None:
    by_row: dict[str, str] = {}
    for row, rest in _named():
        by_row[row] = by_row.get(row, "") + rest
    for name in _tests():
        prefix = re.match(r"test((?:_[hw]\d+)+)_", name)
        for row in re.findall(r"[hw]\d+", prefix[1]) if prefix else ():
            assert f"`{name}`" in by_row[row.upper()], (row, name)


def test_what_is_open_is_marked_in_the_table_and_in_the_test() -> None:
    known = _tests()
    for _, rest in _named():
        for name in re.findall(r"`(test_\w+)`", rest):
            assert ("xfail" in known[name]) is ("**open**" in rest), name
