"""Functions of NumPy whose value of an element depends on its place in the array."""

import sys
from collections.abc import Callable, Iterator

import numpy as np

from weft.foundation.arrays import Floats

FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    **{
        name: getattr(np, name)
        for name in (
            "exp", "expm1", "log", "log1p", "sqrt", "tanh", "arctanh", "arcsinh", "sin", "cos",
            "square", "abs",
        )
    },
    "divide": lambda values: 1.0 / values,
    "power": lambda values: values**1.7,
    "interp": lambda values: np.interp(values, np.linspace(0.0, 1.0, 9), np.arange(9.0) ** 2),
}  # fmt: skip
"""Functions that components apply to panels element by element."""

MOST = 70
"""Longest array: several of the widest vectors, with every possible remainder."""


def place_dependent() -> Iterator[str]:
    """Yield the cases in which an element among others differs from the single element."""
    values = np.random.default_rng(1).uniform(0.01, 0.99, MOST)
    for name, function in FUNCTIONS.items():
        single = np.array([function(values[place : place + 1])[0] for place in range(MOST)])
        for length in range(1, MOST + 1):
            for first in (0, 1, 3):
                part = slice(first, min(first + length, MOST))
                if (function(values[part]) != single[part]).any():
                    yield f"{name} of {length} elements from the {first}th on"
        grid, expected = values.reshape(10, 7), single.reshape(10, 7)
        for layout, turned in (("columns", grid.T), ("every second", grid[::2, ::3])):
            wanted = expected.T if layout == "columns" else expected[::2, ::3]
            if (function(turned) != wanted).any():
                yield f"{name} of {layout}"


if __name__ == "__main__":
    sys.stdout.write("\n".join(place_dependent()))
