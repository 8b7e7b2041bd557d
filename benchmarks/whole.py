"""Composing 100 symbols with every layer and trained models: time a symbol, and peak memory.

The market is made up, and so is what is told about it: a year of hourly candles, the metrics of the
on-chain layer once a day, and headlines. Models are trained for real on it, with fewer rounds than
by default where that changes nothing about the time of using them.
"""

import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import TypeVar

from weft.times import parse_time

SYMBOLS = 100
ROWS = 24 * 400
STEPS = 10
START = parse_time("2025-01-01T00:00:00Z")
QUICK = (
    "training.shadow_days_most=20",
    "models.transformer.epochs=1",
    "deadline_seconds=600",
)
T = TypeVar("T")


def main() -> None:
    """Fill and train, then measure in a process of its own, so that its memory is composing's."""
    with TemporaryDirectory() as folder:
        for part in ("prepare", "measure"):
            subprocess.run([sys.executable, "-m", "benchmarks.whole", part, folder], check=True)
