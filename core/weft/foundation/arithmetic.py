"""The arithmetic of a machine: everything that the last bits of its numbers depend on.

The order of a library's sums and functions such as exp differ in their last bits between processors
and between versions of libraries. Figures of a signal are therefore rounded before they are sealed,
and the ledger notes the arithmetic they were computed under.
"""

import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

SIGNIFICANT_DIGITS: Final = 9
"""Number of digits of every figure of a signal.

Between instruction sets, measured figures differed by up to 6e-15 of their size. Rounded to nine
digits, about one figure in some hundred thousand still differs.
"""

_PACKAGES: Final = ("numpy", "scipy", "numba", "llvmlite", "torch", "xgboost", "xgboost-cpu")
_SETTINGS: Final = (
    "ATEN_CPU_CAPABILITY",
    "GLIBC_TUNABLES",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NUMBA_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_DISABLE_INTEL_SVML",
    "OPENBLAS_CORETYPE",
)
"""Variables of the environment that choose instructions."""
_PROCESSOR: Final = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")


def rounded(value: float) -> float:
    """Return a number with `SIGNIFICANT_DIGITS` digits."""
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


@cache
def own_arithmetic() -> Mapping[str, str]:
    """Return the arithmetic of this process: processor, instructions, libraries and settings."""
    parts = {
        "processor": _processor(),
        "instructions": " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"]),
        "system": " ".join(filter(None, (platform.system(), *platform.libc_ver()))),
        "settings": " ".join(f"{n}={os.environ[n]}" for n in _SETTINGS if os.environ.get(n)),
        **{name: _version(name) for name in _PACKAGES},
    }
    return MappingProxyType({name: text for name, text in parts.items() if text})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Return the model of the processor, by which libraries choose their code."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".strip()
    pairs = (line.partition(":") for line in lines)
    facts = {name.strip(): text.strip() for name, _, text in pairs}
    return " ".join([platform.machine(), *(facts[name] for name in _PROCESSOR if name in facts)])
