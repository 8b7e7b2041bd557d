"""Recorded bodies: answers of real APIs, as their vendors document them or others recorded them.

Ids in them are invented, and nothing in them is about a person.
"""

from pathlib import Path
from typing import Any

import orjson

_BODIES = Path(__file__).parent / "bodies"


def body(name: str) -> Any:
    """Return a recorded body as parsed JSON."""
    return orjson.loads((_BODIES / f"{name}.json").read_bytes())
