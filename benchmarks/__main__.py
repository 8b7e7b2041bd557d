"""Every benchmark in one run: `make bench`, or `python -m benchmarks [NAME...]`."""

import importlib
import pkgutil
import platform
import sys
from datetime import UTC, datetime

from rich.console import Console

import benchmarks
import weft

NAMES = [
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_")
]


def main(names: list[str]) -> None:
    """Run some benchmarks, or all of them if `names` is empty."""
    console = Console(highlight=False)
    console.print(
        f"Weft {weft.__version__}, Python {platform.python_version()}, "
        f"{platform.processor() or platform.machine()}, {datetime.now(UTC):%Y-%m-%d}.\n"
        "Only the ratios carry over to another machine.\n"
    )
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        sys.exit(f"no benchmark {unknown[0]!r}; choose from {', '.join(NAMES)}")
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
