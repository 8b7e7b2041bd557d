"""Types that tests share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """A finished run of the command line."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What was printed, as JSON."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Weft: TypeAlias = Callable[..., Done]
"""Runs the `weft` command with the arguments given, in an empty folder."""
