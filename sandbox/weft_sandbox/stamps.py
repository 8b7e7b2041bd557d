"""Answers whose times are told in another unit, or by a clock that is wrong."""

import re
from datetime import datetime, timedelta

from weft_sandbox.faults import Fault
from weft_sandbox.protocol import Json

_FIRST_SECOND, _LAST_SECOND = 1.0e9, 2.2e9
"""Seconds of 2001 and 2039: what lies between them, in any unit, is taken for a time."""

_UNITS = (1, 10**3, 10**6, 10**9)
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")


def with_times(data: Json, fault: Fault) -> Json:
    """Return JSON with every time in it times `factor`, or `seconds` later."""
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
