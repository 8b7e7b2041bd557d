"""Digests of functions, to find out whether their compiled code is still current."""

import hashlib
import types
from typing import Any


def fingerprint(*functions: Any) -> str:  # noqa: ANN401  # plain functions or dispatchers
    """Return a digest of functions' code and of every helper and constant they use.

    The modules of the functions count as well: machine code on disk imports them by name, and fails
    to load once one of them has moved.
    """
    digest = hashlib.sha256()
    fed: set[types.FunctionType] = set()
    for function in functions:
        _feed(digest, _python_of(function), fed)
    return digest.hexdigest()[:16]


def _python_of(value: Any) -> Any:  # noqa: ANN401  # whatever a global may hold
    """Return the Python function behind a dispatcher or an intrinsic; others as they are."""
    return getattr(value, "py_func", None) or getattr(value, "_defn", None) or value


def _feed(digest: Any, function: types.FunctionType, fed: set[types.FunctionType]) -> None:  # noqa: ANN401  # hashlib's object
    if function in fed:
        return
    fed.add(function)
    digest.update(repr(function.__module__).encode())
    names = _feed_code(digest, function.__code__)
    digest.update(repr(function.__defaults__).encode())
    closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    scope = function.__globals__ | {name: cell.cell_contents for name, cell in closure}
    for name in (*names, *function.__code__.co_freevars):
        value = _python_of(scope.get(name))
        digest.update(name.encode())
        if isinstance(value, types.FunctionType):
            _feed(digest, value, fed)
        elif isinstance(value, int | float | str | tuple):
            digest.update(repr(value).encode())


def _feed_code(digest: Any, code: types.CodeType) -> tuple[str, ...]:  # noqa: ANN401  # hashlib's object
    """Feed a code object and those inside it; return the names they look up."""
    names = code.co_names
    digest.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # Its repr holds an address, which would differ at every start.
            names += _feed_code(digest, constant)
        elif isinstance(constant, frozenset):
            # Nor is the order of a set the same at every start.
            digest.update(repr(sorted(map(repr, constant))).encode())
        else:
            digest.update(repr(constant).encode())
    return names
