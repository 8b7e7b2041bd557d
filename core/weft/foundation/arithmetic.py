"""The arithmetic of a machine: what the last bits of its numbers depend on.

Sums that a library takes in another order, and functions such as exp, differ in their last bits
between processors and between versions of the libraries. Figures of a signal are therefore rounded
before they are sealed, and the ledger notes under which arithmetic they were computed.
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
"""Of every figure of a signal.

Between instruction sets, figures were seen to differ by up to 6e-15 of their size. One that is
rounded to nine digits then comes out otherwise once in some hundred thousand times.
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
    """Return what the last bits of this process's numbers depend on, by name."""
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
    """Return the kind of processor: libraries choose by it, even among equal instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}".strip()
    pairs = (line.partition(":") for line in lines)
    facts = {name.strip(): text.strip() for name, _, text in pairs}
    return " ".join([platform.machine(), *(facts[name] for name in _PROCESSOR if name in facts)])
