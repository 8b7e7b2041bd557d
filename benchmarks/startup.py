"""CPU time of `weft --help`, against a bare interpreter and the imports it avoids."""

import resource
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

RUNS = 7
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "weft --help": ["-m", "weft_app.cli", "--help"],
    "weft plugins info technical": ["-m", "weft_app.cli", "plugins", "info", "technical"],
    "import numba, polars, deltalake": ["-c", "import numba, polars, deltalake"],
}


def main() -> None:
    """Measure and print."""
    table = Table("command", "CPU seconds", "of an interpreter", title="Start")
    costs = {
        name: statistics.median(map(_cpu_seconds, [arguments] * RUNS))
        for name, arguments in COMMANDS.items()
    }
    bare = costs["python -c pass"]
    for name, cost in costs.items():
        table.add_row(name, f"{cost:.3f}", f"{cost / bare:.1f}x")
    Console(highlight=False).print(table)


def _cpu_seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


if __name__ == "__main__":
    main()
