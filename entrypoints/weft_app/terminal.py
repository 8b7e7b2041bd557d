"""Results on stdout and messages on stderr: on a terminal, in a file or a pipe, in any encoding.

Only results go to stdout. Plugins run in the same process and may print; `claim_stdout` and
`results_on_stdout` send their output to stderr, so that JSON on stdout stays one document.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TextIO, TypeVar

import orjson
from rich.console import Console

P = ParamSpec("P")
T = TypeVar("T")

console = Console(stderr=True, highlight=False, emoji=False)
"""Prints messages on stderr, so that stdout holds results only and can be piped."""

_FULL_WIDTH = 10_000
"""Width of results where stdout is no terminal: no line is broken, and no column is dropped."""

_STDOUT = 1
_results: TextIO | None = None


def result_stream() -> TextIO:
    """Return the stream that results are written to."""
    return _results or sys.stdout


def claim_stdout() -> None:
    """Move stdout to a file descriptor of its own, and point descriptor 1 to stderr.

    C code and child processes write to descriptor 1, past `sys.stdout`. Does nothing where the
    process was started without stdout or stderr.
    """
    try:
        sys.stdout.flush()
        moved = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), _STDOUT)
    except (AttributeError, OSError):
        return
    encoding, buffering = sys.stdout.encoding, 1 if os.isatty(moved) else -1
    sys.stdout = open(moved, "w", buffering, encoding, "replace", closefd=False)  # noqa: SIM115  # open until the process ends


def results_on_stdout(command: Callable[P, T]) -> Callable[P, T]:
    """Return a command during which `print` writes to stderr; only results reach stdout."""

    @functools.wraps(command)
    def run(*arguments: P.args, **options: P.kwargs) -> T:
        global _results  # streams belong to the process
        stdout = sys.stdout
        _results, sys.stdout = stdout, sys.stderr
        try:
            return command(*arguments, **options)
        finally:
            _results, sys.stdout = None, stdout

    return run


def open_results() -> Console:
    """Return a console on stdout for results. Text from plugins and sources has to be escaped.

    A file or a pipe has no width: its lines are as long as their text, unless the environment
    variable ``COLUMNS`` sets a width.
    """
    stream = result_stream()
    results = Console(file=stream, highlight=False, emoji=False)
    if "COLUMNS" in os.environ:
        return results
    if not results.is_terminal:
        results.width = _FULL_WIDTH
    else:
        # Rich asks the descriptors 0 to 2, none of which need be the terminal of the results.
        with suppress(OSError, ValueError):
            results.width = os.get_terminal_size(stream.fileno()).columns
    return results


def print_json(body: bytes) -> None:
    r"""Print JSON as it was serialised; indented on a terminal.

    Characters that the encoding of stdout lacks are written as ``\u`` escapes.
    """
    stream = result_stream()
    if stream.isatty():
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    text = body.decode()
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        # JSON has characters beyond ASCII only inside strings, where escapes are allowed.
        text = "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)
    stream.write(f"{text}\n")
