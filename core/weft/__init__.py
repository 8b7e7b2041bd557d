"""Weft weaves many strands of evidence about a market into one calibrated, explained signal.

The public names for plugin authors and for programs that embed the engine are listed in
``__init__.pyi``. Each is imported at its first use, so that ``import weft`` imports no dependency.
"""

import os

import lazy_loader

# With Intel's vector library installed, numba computes the last elements of an array, which fill no
# vector register, by other functions than the rest: a value would depend on the number of columns.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
