"""Faults that change a response body: fields, rows, times, compression."""

import gzip
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson

from weft_sandbox.faults import Fault
from weft_sandbox.protocol import Json

_FIRST_SECOND, _LAST_SECOND = 1.0e9, 2.2e9

"""Seconds of 2001 and 2039: a number between them, in any unit, counts as a time."""


_UNITS = (1, 10**3, 10**6, 10**9)

_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")


def with_times(data: Json, fault: Fault) -> Json:
    """Return JSON with every time multiplied by `factor`, or moved by `seconds`."""
    if isinstance(data, dict):
        return {key: with_times(value, fault) for key, value in data.items()}
    if isinstance(data, list):
        return [with_times(value, fault) for value in data]
    if isinstance(data, str) and data.isdecimal():
        return str(_number(int(data), fault))
    if isinstance(data, str) and _ISO.fullmatch(data) and fault.kind == "stamp_shift":
        return _text(data, fault.seconds or 0.0)
    if isinstance(data, int | float) and not isinstance(data, bool):
        return _number(data, fault)
    return data


def _number(value: float, fault: Fault) -> float:
    for unit in _UNITS:
        if _FIRST_SECOND <= value / unit < _LAST_SECOND:
            moved = value * fault.factor
            if fault.kind == "stamp_shift":
                moved = value + (fault.seconds or 0.0) * unit
            return int(moved) if isinstance(value, int) else moved
    return value


def _text(value: str, seconds: float) -> str:
    try:
        moved = datetime.fromisoformat(value) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return value
    return moved.isoformat().replace("+00:00", "Z" if value.endswith("Z") else "+00:00")


_MEGABYTE = 1 << 20

_DECIMAL = re.compile(r"-?\d+(\.\d+)?")

_HUGE, _HUGE_MARK = "1e400", "a number of 1e400"


def corrupted(body: bytes, fault: Fault, chance: random.Random) -> bytes:
    """Return a JSON body with a fault; a body without a suitable field stays unchanged."""
    try:
        data = orjson.loads(body)
    except ValueError:
        return body
    if fault.kind == "list_dict":
        return _dumped(_turned(data))
    if fault.kind in {"stamp_unit", "stamp_shift"}:
        return _dumped(with_times(data, fault))
    rows, put = _rows(data)
    if fault.kind == "duplicate_rows":
        rows[:] = [row for row in rows for _ in range(2)]
    elif fault.kind == "shuffle_rows":
        chance.shuffle(rows)
    elif fault.kind == "empty_rows":
        rows.clear()
    else:
        change = _scaled(fault.factor) if fault.kind == "scale" else _CHANGES[fault.kind]
        for row in rows:
            _change(row, fault, change, chance)
        if put is not None:
            _change(put, fault, change, chance)
    return _dumped(data)


def _rows(data: Json) -> tuple[list[Any], Any]:
    """Return the longest list of records and None; without a list, None and the record itself."""
    best: list[Any] | None = None
    lists_of_records: list[Any] = []
    waiting = [data]
    while waiting:
        node = waiting.pop()
        inside = node.values() if isinstance(node, dict) else node
        if isinstance(node, list) and node and isinstance(node[0], list | dict):
            lists_of_records.append(node)
        if isinstance(node, dict) or (isinstance(node, list) and len(node) < 50):
            waiting += [child for child in inside if isinstance(child, list | dict)]
    if lists_of_records:
        best = max(lists_of_records, key=len)
        return best, None
    return [], data


def _turned(data: Json) -> Json:
    if isinstance(data, list):
        return {str(index): row for index, row in enumerate(data)}
    return [data]


Change = Callable[[Any, Any], None]

"""Changes one field of a record, given the record and the key or index."""


def _change(row: Json, fault: Fault, change: Change, chance: random.Random) -> None:
    if isinstance(row, dict) and row:
        key: Any = fault.field if fault.field is not None else chance.choice(sorted(row))
        if key in row or fault.kind == "extra_field":
            change(row, key)
    elif isinstance(row, list) and row:
        text = fault.field if fault.field is not None else str(chance.randrange(len(row)))
        if text.isdecimal() and int(text) < len(row):
            change(row, int(text))


def _rename(row: Json, key: Json) -> None:
    if isinstance(row, dict):
        row[f"{key}V2"] = row.pop(key)
    else:
        row.insert(key, row.pop())


def _remove(row: Json, key: Json) -> None:
    del row[key]


def _extra(row: Json, _: Json) -> None:
    if isinstance(row, dict):
        row["unheardOf"] = {"x": 1}
    else:
        row.append("unheard of")


def _swap(row: Json, key: Json) -> None:
    value = row[key]
    if isinstance(value, str):
        try:
            row[key] = json.loads(value)
        except ValueError:
            row[key] = 0
    else:
        row[key] = str(value)


def _put(value: Json) -> Change:
    def change(row: Json, key: Json) -> None:
        # An API that sends numbers as text sends impossible numbers as text, too.
        row[key] = str(value) if isinstance(row[key], str) and value is not None else value

    return change


def _negate(row: Json, key: Json) -> None:
    value = row[key]
    if isinstance(value, str):
        row[key] = value[1:] if value.startswith("-") else f"-{value}"
    elif isinstance(value, int | float):
        row[key] = -value


def _scaled(factor: float) -> Change:
    def change(row: Json, key: Json) -> None:
        value = row[key]
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            row[key] = repr(float(value) * factor)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            row[key] = value * factor

    return change


def _enlarge(row: Json, key: Json) -> None:
    row[key] = _HUGE if isinstance(row[key], str) else _HUGE_MARK


_CHANGES: dict[str, Change] = {
    "rename_field": _rename,
    "missing_field": _remove,
    "extra_field": _extra,
    "swap_type": _swap,
    "null_field": _put(None),
    "nan": _put(float("nan")),
    "huge_number": _enlarge,
    "negative": _negate,
}


def doubled_keys(body: bytes) -> bytes:
    """Return a JSON body in which each key appears twice, first with null."""
    try:
        data = orjson.loads(body)
    except ValueError:
        return body
    return "".join(_doubled(data)).encode()


def _doubled(data: Json) -> Iterator[str]:
    if isinstance(data, dict):
        yield "{"
        for number, (key, value) in enumerate(data.items()):
            name = json.dumps(key)
            yield f"{', ' if number else ''}{name}: null, {name}: "
            yield from _doubled(value)
        yield "}"
    elif isinstance(data, list):
        yield "["
        for number, value in enumerate(data):
            yield ", " if number else ""
            yield from _doubled(value)
        yield "]"
    else:
        yield json.dumps(data)


def _dumped(data: Json) -> bytes:
    # orjson would write NaN as null.
    return json.dumps(data).replace(f'"{_HUGE_MARK}"', _HUGE).encode()


def gzip_bomb(megabytes: int) -> bytes:
    """Return a gzip stream of blanks, a thousand times smaller than its content."""
    blanks = b" " * _MEGABYTE
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush, the piece refers to nothing before and may be repeated.
    piece = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    check = 0
    for _ in range(megabytes):
        check = zlib.crc32(blanks, check)
    end = check.to_bytes(4, "little") + (megabytes * _MEGABYTE % 2**32).to_bytes(4, "little")
    return gzip.compress(b"", mtime=0)[:10] + piece * megabytes + b"\x03\x00" + end
