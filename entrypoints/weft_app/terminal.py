"""Writing to stdout and stderr, whatever stands behind them: a terminal, a file, a code page."""

import json
import os
import sys

import orjson
from rich.console import Console

console = Console(stderr=True, highlight=False, emoji=False)
"""Everything that is not the answer goes to stderr, so that stdout can be piped."""

_FULL_WIDTH = 10_000
"""Width where stdout is no terminal: a table takes what it needs, and no line is broken."""


def open_answer() -> Console:
    """Return a console on stdout for the answer; whatever is not our own text is to be escaped.

    A file or a pipe has no width, and is given lines as long as they are, unless ``COLUMNS`` says
    otherwise.
    """
    answer = Console(highlight=False, emoji=False)
    if not answer.is_terminal and "COLUMNS" not in os.environ:
        answer.width = _FULL_WIDTH
    return answer


def print_json(body: bytes) -> None:
    r"""Print JSON as it was serialised, on a terminal with indents.

    Characters that the encoding of stdout lacks are written as ``\u`` escapes.
    """
    if sys.stdout.isatty():
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    text = body.decode()
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        # Only inside strings does JSON hold anything but ASCII.
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    sys.stdout.write(f"{text}\n")
