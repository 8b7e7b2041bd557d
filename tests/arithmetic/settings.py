"""Environment variables that make libraries compute with other instructions.

A library or a processor that does not know a variable ignores it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

ROOT: Final = Path(__file__).parents[2]

_FOUND: Final = " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])
_NUMPY_PLAIN: Final = {"NPY_DISABLE_CPU_FEATURES": _FOUND} if _FOUND else {}
_AVX512: Final = any(name in _FOUND for name in ("X86_V4", "AVX512_SKX"))
_GLIBC_PLAIN: Final = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-FMA,-FMA4"}

PLAINEST: Final[Mapping[str, str]] = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Prescott",
    "OMP_NUM_THREADS": "1",
    **_NUMPY_PLAIN,
    **_GLIBC_PLAIN,
}
"""The oldest instructions of every library."""

TWO_THREADS: Final[Mapping[str, str]] = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}

SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "plainest": PLAINEST,
    "plainest, two threads": {**PLAINEST, **TWO_THREADS},
    "one thread": {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    "two threads": TWO_THREADS,
    "torch plain": {"ATEN_CPU_CAPABILITY": "default"},
    "torch avx2": {"ATEN_CPU_CAPABILITY": "avx2"},
    **({"torch avx512": {"ATEN_CPU_CAPABILITY": "avx512"}} if _AVX512 else {}),
    "mkl sse4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "mkl avx2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "mkl compatible": {"MKL_CBWR": "COMPATIBLE"},
    "mkl reproducible avx2": {"MKL_CBWR": "AVX2,STRICT"},
    "openblas prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "openblas nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "openblas haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "openblas zen": {"OPENBLAS_CORETYPE": "Zen"},
    **({"openblas skylakex": {"OPENBLAS_CORETYPE": "SkylakeX"}} if _AVX512 else {}),
    "numpy plain": _NUMPY_PLAIN,
    "c library plain": _GLIBC_PLAIN,
    "numba generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
"""By name. Settings for instructions that the processor lacks are left out."""


def run_under(setting: Mapping[str, str], module: str, *arguments: str) -> str:
    """Run a module of the tests in a new process, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **setting},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
